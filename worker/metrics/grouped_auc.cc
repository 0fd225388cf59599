#include "worker/metrics/grouped_auc.h"

#include <limits>

namespace pepnet {

double GroupedAuc(ScoredRows* rows) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  if (rows->HasNanScore()) return kNan;
  const std::span<const ScoredRow> sorted = rows->Sorted();
  double sum = 0;
  int64_t keys = 0;
  for (size_t begin = 0, end = 0; begin < sorted.size(); begin = end) {
    while (end < sorted.size() && sorted[end].key == sorted[begin].key) ++end;
    const std::optional<double> auc = ExactAuc(sorted.subspan(begin, end - begin));
    if (!auc.has_value()) continue;
    sum += *auc;
    ++keys;
  }
  return keys > 0 ? sum / static_cast<double>(keys) : kNan;
}

}  // namespace pepnet

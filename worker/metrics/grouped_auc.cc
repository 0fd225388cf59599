#include "worker/metrics/grouped_auc.h"

#include <limits>

namespace pepnet {

GroupedAucs GroupedAuc(ScoredRows* rows) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  if (rows->HasNanScore()) return {kNan, kNan};
  const std::span<const ScoredRow> sorted = rows->Sorted();
  double sum = 0, weighted = 0;
  int64_t keys = 0, rows_of_keys = 0;
  for (size_t begin = 0, end = 0; begin < sorted.size(); begin = end) {
    while (end < sorted.size() && sorted[end].key == sorted[begin].key) ++end;
    const std::span<const ScoredRow> of_key = sorted.subspan(begin, end - begin);
    const std::optional<double> auc = ExactAuc(of_key);
    if (!auc.has_value()) continue;
    sum += *auc;
    weighted += *auc * static_cast<double>(of_key.size());
    ++keys;
    rows_of_keys += static_cast<int64_t>(of_key.size());
  }
  if (keys == 0) return {kNan, kNan};
  return {sum / static_cast<double>(keys), weighted / static_cast<double>(rows_of_keys)};
}

}  // namespace pepnet

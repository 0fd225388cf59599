#include "worker/metrics/grouped_auc.h"

#include <cmath>
#include <limits>

namespace pepnet {

GroupedAucs GroupedAuc(ScoredRows* rows) { return GroupedAuc(rows->Sorted()); }

// Keys are taken in ascending order, so the sums are added in one order whatever worker held which
// rows (law L2).
GroupedAucs GroupedAuc(std::span<const ScoredRow> sorted) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  double sum = 0, weighted = 0;
  int64_t keys = 0, rows_of_keys = 0;
  for (size_t begin = 0, end = 0; begin < sorted.size(); begin = end) {
    while (end < sorted.size() && sorted[end].key == sorted[begin].key) ++end;
    const std::span<const ScoredRow> of_key = sorted.subspan(begin, end - begin);
    if (std::isnan(of_key.back().score)) return {kNan, kNan};  // they come last
    const std::optional<double> auc = ExactAuc(of_key);
    // Groups of one class have no order to get right; the reference leaves them out as well
    // (docs/spec.md 6.1).
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

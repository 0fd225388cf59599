#include "worker/metrics/grouped_auc.h"

#include <cmath>
#include <limits>

namespace pepnet {

GroupedAucs GroupedAuc(ScoredRows* rows) { return GroupedAuc(rows->Sorted()); }

// Keys are taken in ascending order, so the sums are added in one order whatever worker held which
// rows (law L2).
GroupedAucSums SumGroupedAuc(std::span<const ScoredRow> sorted) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  GroupedAucSums sums;
  for (size_t begin = 0, end = 0; begin < sorted.size(); begin = end) {
    while (end < sorted.size() && sorted[end].key == sorted[begin].key) ++end;
    const std::span<const ScoredRow> of_key = sorted.subspan(begin, end - begin);
    if (std::isnan(of_key.back().score)) return {kNan, kNan, 0, 0};  // they come last
    const std::optional<double> auc = ExactAuc(of_key);
    // Groups of one class have no order to get right; the reference leaves them out as well
    // (docs/spec.md 6.1).
    if (!auc.has_value()) continue;
    sums.aucs += *auc;
    sums.aucs_by_rows += *auc * static_cast<double>(of_key.size());
    ++sums.keys;
    sums.rows += static_cast<int64_t>(of_key.size());
  }
  return sums;
}

GroupedAucs GroupedAuc(std::span<const ScoredRow> sorted) {
  const GroupedAucSums sums = SumGroupedAuc(sorted);
  if (sums.keys == 0) {
    constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
    return {kNan, kNan};
  }
  return {sums.aucs / static_cast<double>(sums.keys),
          sums.aucs_by_rows / static_cast<double>(sums.rows)};
}

}  // namespace pepnet

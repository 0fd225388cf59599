// Exact grouped AUC (spec 6.1): one AUC per key, averaged over the keys that have both classes,
// each counting alike or by its rows.
#pragma once

#include <span>

#include "worker/metrics/scored_rows.h"

namespace pepnet {

// Sums over the keys that have both classes, in ascending order: what is added over windows.
struct GroupedAucSums {
  double aucs = 0;             // of the keys' AUCs
  double aucs_by_rows = 0;     // of those, each times the rows of its key
  int64_t keys = 0, rows = 0;  // keys, and rows of these keys
};
// The AUCs are NaN if a score is. Of rows as SortByKey() orders them.
GroupedAucSums SumGroupedAuc(std::span<const ScoredRow> sorted);

struct GroupedAucs {
  double mean;     // every key counts alike, as in the reference
  double by_rows;  // a key counts as often as it has rows (impressions)
};
// NaN if no key has both classes or a score is NaN. Of rows as SortByKey() orders them.
GroupedAucs GroupedAuc(std::span<const ScoredRow> sorted);
// The same; sorts the rows.
GroupedAucs GroupedAuc(ScoredRows* rows);

}  // namespace pepnet

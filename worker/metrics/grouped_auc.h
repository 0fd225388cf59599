// Exact grouped AUC (spec 6.1): one AUC per key, averaged over the keys that have both classes,
// each counting alike or by its rows.
#pragma once

#include <span>

#include "worker/metrics/scored_rows.h"

namespace pepnet {

struct GroupedAucs {
  double mean;     // every key counts alike, as in the reference
  double by_rows;  // a key counts as often as it has rows (impressions)
};
// Summed over keys in ascending order; NaN if no key has both classes or a score is NaN. Of rows as
// SortByKey() orders them.
GroupedAucs GroupedAuc(std::span<const ScoredRow> sorted);
// The same; sorts the rows.
GroupedAucs GroupedAuc(ScoredRows* rows);

}  // namespace pepnet

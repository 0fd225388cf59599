// Exact grouped AUC (spec 6.1): one AUC per key, averaged without weights over the keys that have both classes.
#pragma once

#include "worker/metrics/scored_rows.h"

namespace pepnet {

// Mean over keys in ascending order; NaN if no key has both classes or a score is NaN. Sorts the rows.
double GroupedAuc(ScoredRows* rows);

}  // namespace pepnet

// What every Collective must do, as bodies that all workers run together (see transport_conformance.h).
#pragma once

#include <vector>

#include "tests/common/net/transport_conformance.h"

namespace pepnet {

// Runs over the first `worker_count` ranks of the transport; the others do nothing. Cases that wait for a missing or
// mismatched peer included.
std::vector<RankCase> CollectiveCases(int worker_count);

}  // namespace pepnet

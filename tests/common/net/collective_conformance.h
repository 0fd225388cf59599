// The contract of every Collective, as bodies that all workers run together (see
// transport_conformance.h).
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/net/collective.h"
#include "tests/common/net/transport_conformance.h"

namespace pepnet {

// The collective under test, and the expectations of it.
struct CollectiveKind {
  // Makes the collective under test over that of the host. Empty: the host's itself is tested.
  std::function<StatusOr<std::unique_ptr<Collective>>(Collective* host)> make;
  // Sums of floats and doubles have the bits of worker order. Else: the same bits on all workers,
  // near that sum.
  bool worker_order = true;
};

// Runs over the first `worker_count` ranks of the transport; the others do nothing. Cases that wait
// for a missing or mismatched peer included.
std::vector<RankCase> CollectiveCases(int worker_count, const CollectiveKind& kind = {});

// Value i of a worker: magnitudes far apart, so that another order of additions gives other bits.
// T: float, double, int64_t.
template <typename T>
T TestValue(int worker, size_t i);

// sums[i] is the sum over c's workers of TestValue(w, i), as exact as `worker_order` asks for. All
// workers call it.
template <typename T>
Status CheckSums(Collective* c, std::span<const T> sums, bool worker_order);

// Makes a collective of the first `workers` ranks over the transport, with this deadline, and runs
// `body` on it; the others do nothing.
RankCase OnWorkers(const std::string& name, int workers, double timeout_s,
                   const CollectiveKind& kind, std::function<Status(Collective*)> body);

}  // namespace pepnet

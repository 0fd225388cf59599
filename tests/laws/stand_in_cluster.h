// A training job with everything but the dense network: real servers, clients and collectives, and
// for the network a few floats whose gradients depend on every row and every order of summation.
// Torch-free and without files, so that thousands of schedules run in seconds.
#pragma once

#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/net/in_process.h"
#include "common/process/fault_plan.h"

namespace pepnet {

struct StandInJob {
  int workers = 3;
  int servers = 1;
  int64_t steps = 5;
  // Seeded delays: messages of different senders overtake each other.
  InProcessOptions network;
  std::vector<Fault> faults = {};  // message faults, by rank: workers first, then servers
  int killed_rank = -1;            // vanishes without a word ...
  int killed_at = 0;               // ... at its n-th receive
  double timeout_s = 60;           // deadline of every wait
};

// The bits of all rows and dense weights after the last step, as text; or what ended the job.
StatusOr<std::string> RunStandIn(const StandInJob& job);

}  // namespace pepnet

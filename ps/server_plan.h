// ServerPlan: what a server is told once, before the first pull (kConfigure), checked and without
// protobuf.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/sparse_optimizer.h"
#include "common/job_config/table.h"

namespace pepnet {

struct ServerPlan {
  std::vector<Table> tables;
  SparseOptimizer optimizer;  // the rate of each step comes with its push
  uint64_t seed = 0;
  int server_index = 0, server_count = 1;
  std::vector<int> worker_ranks;  // by worker index; not empty
  int64_t finished_steps = 0;
  // Must exist here: proof that model_dir is shared; "": not checked.
  std::string shared_file;
  double timeout_s = 0;        // deadline of the next request within the steps; 0: none
  double phase_timeout_s = 0;  // the same while a worker announces a phase
  // Seconds by which a step may move the job's event time on; 0: rows have no time.
  int64_t max_event_time_jump = 0;
  // Buckets of this server: [first_bucket, end_bucket).
  int first_bucket = 0, end_bucket = 0;
};

// From a serialised wire::ServerPlan. InvalidArgument names the field and the value.
StatusOr<ServerPlan> ParseServerPlan(const std::string& body, int rank_count);

}  // namespace pepnet

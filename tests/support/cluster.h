// A whole job inside one test: servers and workers as threads over the in-process transport.
#pragma once

#include <functional>
#include <string>

#include "common/base/status.h"
#include "common/job_config/job_config.h"
#include "common/net/in_process.h"
#include "common/process/fault_plan.h"
#include "tests/support/temporary_directory.h"
#include "worker/context/worker_context.h"
#include "worker/train/trainer.h"

namespace pepnet {

struct ClusterShape {
  int workers = 1;
  int servers = 1;
  InProcessOptions network;        // seeded delays
  std::vector<Fault> faults = {};  // message faults, by rank: workers first, then servers
  bool colocated = false;          // each rank works and serves; `servers` is `workers`
};

// One computing thread, and a deadline that a test can wait for.
RunOptions TestOptions(bool continue_train = false);

// Runs `work` on every worker; stops the servers afterwards.
Status RunCluster(const JobConfig& config, const ClusterShape& shape, const RunOptions& options,
                  const std::function<Status(const WorkerContext&)>& work);

// Trains to the end (Trainer::Run on every worker).
Status Train(const JobConfig& config, const ClusterShape& shape, const RunOptions& options);

// Empty if the two checkpoints hold the same rows, bit by bit (bucket digests), and the same dense
// files; else what differs.
std::string CheckpointDifference(const std::string& a, const std::string& b);

}  // namespace pepnet

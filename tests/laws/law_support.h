// The tests of the laws share this.
#pragma once

#include <string>
#include <vector>

#include "common/checkpoint/checkpoint.h"
#include "common/job_config/job_config.h"
#include "tests/support/cluster.h"

namespace pepnet {

inline RunOptions Continue() { return TestOptions(/*continue_train=*/true); }

// The job with tables of all kinds of values, by turns, and state of 16 bits.
inline JobConfig OfAllValueKinds(JobConfig config) {
  const std::vector<ValueKind> kinds = AllKinds<ValueKind>();
  for (size_t t = 0; t < config.tables.size(); ++t) {
    config.tables[t].value_kind = kinds[t % kinds.size()];
  }
  SparseOptimizer& optimizer = config.train.sparse_optimizer;
  if (StateKindFault(TypeOf(optimizer.kind), ValueKind::kBf16).empty()) {
    optimizer.state_kind = ValueKind::kBf16;
  }
  return config;
}

// The path of the newest checkpoint of a job.
inline std::string Newest(const JobConfig& config) { return *ResolveCheckpoint(config.model_dir); }

}  // namespace pepnet

// The tests of the laws share this.
#pragma once

#include <string>

#include "common/checkpoint/checkpoint.h"
#include "common/job_config/job_config.h"
#include "tests/support/cluster.h"

namespace pepnet {

inline RunOptions Continue() { return TestOptions(/*continue_train=*/true); }

// The path of the newest checkpoint of a job.
inline std::string Newest(const JobConfig& config) { return *ResolveCheckpoint(config.model_dir); }

}  // namespace pepnet

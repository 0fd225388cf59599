// What a training run is about to do, in words, before it does it; and what about its config looks wrong.
#pragma once

#include <string>
#include <vector>

#include "common/job_config/job_config.h"

namespace pepnet {

struct TrainRanks {
  std::vector<int> workers;  // transport ranks by worker index
  int servers = 0;
  int threads = 0;         // computing threads per worker
  bool colocated = false;  // each worker's rank serves, too
};

// Several lines: ranks and roles, every table with rows and bytes, dense parameters, data found, steps, checkpoints. Looks at
// the input files' names and sizes; a data set that is not there is said so, and is an error later.
std::string TrainPlan(const JobConfig& config, const TrainRanks& ranks);

// The same in two lines, for the log of a usual run.
std::vector<std::string> BriefTrainPlan(const JobConfig& config, const TrainRanks& ranks);

// One sentence each: eval data that are train data, no evaluation, no checkpoint before the end.
std::vector<std::string> PlanWarnings(const JobConfig& config);

}  // namespace pepnet

// The plan of a training run, in words, before it starts; and what about its config looks
// wrong.
#pragma once

#include <string>
#include <vector>

#include "common/job_config/job_config.h"
#include "worker/watch/warning.h"

namespace pepnet {

struct TrainRanks {
  std::vector<int> workers;  // transport ranks by worker index
  int servers = 0;
  int threads = 0;         // computing threads per worker
  bool colocated = false;  // each worker's rank serves, too
};

// Several lines: ranks and roles, every table with rows and bytes, dense parameters, data found,
// steps, checkpoints. Looks at the input files' names and sizes; a data set that is not there is
// said so, and is an error later.
std::string TrainPlan(const JobConfig& config, const TrainRanks& ranks);

// The same in two lines, for the log of a usual run; and a third one if there are domains that no
// evaluation tells apart.
std::vector<std::string> BriefTrainPlan(const JobConfig& config, const TrainRanks& ranks);

// Of the config alone: a feature that reads the column of a label.
std::vector<Warning> ConfigWarnings(const JobConfig& config);

// ConfigWarnings(), and: eval data that are train data, by path or by content, no evaluation, no
// checkpoint before the end. Reads up to 256 KiB of each train and eval file that has the size of
// one of the others.
std::vector<Warning> PlanWarnings(const JobConfig& config);

}  // namespace pepnet

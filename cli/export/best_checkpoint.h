// exporter_type: best.
#pragma once

#include <string>

#include "common/base/status.h"
#include "common/job_config/job_config.h"

namespace pepnet {

// The checkpoint in config.model_dir whose evaluation in train_eval_result.txt is the best by
// config.train.best; the earliest of equal ones. Logs which step was the best, and whether its
// checkpoint is there. An error names the metrics that an evaluation has, or says that no evaluated
// checkpoint is left.
StatusOr<std::string> ChooseBestCheckpoint(const JobConfig& config);

}  // namespace pepnet

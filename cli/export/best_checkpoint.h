// exporter_type: best.
#pragma once

#include <string>

#include "common/base/status.h"
#include "common/job_config/train_config.h"

namespace pepnet {

// The checkpoint of model_dir whose evaluation in train_eval_result.txt is best by `config`'s metric; the earliest of equal
// ones. Logs which step was the best, and whether its checkpoint is there. An error names the metrics that are there,
// or says that no evaluated checkpoint is left.
StatusOr<std::string> BestCheckpoint(const std::string& model_dir, const ExportConfig& config);

}  // namespace pepnet

// The numbers that an evaluation writes into train_eval_result.txt.
#pragma once

#include <string>
#include <vector>

#include "common/job_config/model.h"

namespace pepnet {

struct EvaluationMetric {
  std::string name;  // "auc_ctr"
  std::string task;  // name of the tower
  bool larger_is_better = true;
  bool loss = false;
};

// By tower: its metrics, then its losses, in the order of the config.
std::vector<EvaluationMetric> EvaluationMetrics(const Model& model);

}  // namespace pepnet

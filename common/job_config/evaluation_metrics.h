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

// The name of a metric on the rows of the tower's task space alone, those whose
// task_space_indicator_label is > 0: "auc_cvr_in_task_space". "" if there is no such number: of a
// tower without task space, and of metrics that need the rows themselves.
std::string NameInTaskSpace(const Tower& tower, const Metric& metric);

// The name of the mean of a grouped AUC in which a group counts by its rows:
// "grouped_auc_ctr_by_impressions"; "" of other metrics.
std::string NameByImpressions(const Metric& metric);

// The grouped AUC of the tower, whose groups those of its slices are; null: it has none.
const Metric* GroupedAucOf(const Tower& tower);

// By tower: its metrics, those by impressions and in its task space, then its losses, in the order
// of the config.
std::vector<EvaluationMetric> EvaluationMetrics(const Model& model);

}  // namespace pepnet

#include "common/job_config/evaluation_metrics.h"

namespace pepnet {

std::string NameInTaskSpace(const Tower& tower, const Metric& metric) {
  // A tower that learns from the other rows as well is at home there, too; and where a tower learns
  // its own indicator, every label in its space is 1.
  const bool has_space = tower.task_space_indicator >= 0 && tower.out_task_space_weight == 0 &&
                         tower.task_space_indicator != tower.label;
  if (!has_space || TypeOf(metric.kind).needs_rows) return "";
  return metric.name + "_in_task_space";
}

// A grouped AUC is also given as the mean by rows, under a name of its own.
std::string NameByImpressions(const Metric& metric) {
  return metric.kind == MetricKind::kGroupedAuc ? metric.name + "_by_impressions" : "";
}

const Metric* GroupedAucOf(const Tower& tower) {
  const Metric* found = nullptr;
  for (const Metric& metric : tower.metrics) {
    // Two have one name, and a result keeps the last.
    if (metric.kind == MetricKind::kGroupedAuc) found = &metric;
  }
  return found;
}

// Each task has its metrics as configured, then those that follow from them, then its losses. The
// order is that of tables and of the hint for keep_best, which takes the first.
std::vector<EvaluationMetric> EvaluationMetrics(const Model& model) {
  std::vector<EvaluationMetric> metrics;
  for (const Tower& tower : model.towers) {
    for (const Metric& metric : tower.metrics) {
      metrics.push_back(
          {metric.name, tower.name, TypeOf(metric.kind).larger_is_better, /*loss=*/false});
    }
    for (const Metric& metric : tower.metrics) {
      for (const std::string& name : {NameByImpressions(metric), NameInTaskSpace(tower, metric)}) {
        if (!name.empty()) {
          metrics.push_back(
              {name, tower.name, TypeOf(metric.kind).larger_is_better, /*loss=*/false});
        }
      }
    }
    for (const Loss& loss : tower.losses) {
      metrics.push_back({loss.name, tower.name, false, /*loss=*/true});
    }
  }
  return metrics;
}

}  // namespace pepnet

#include "common/job_config/evaluation_metrics.h"

namespace pepnet {

std::vector<EvaluationMetric> EvaluationMetrics(const Model& model) {
  std::vector<EvaluationMetric> metrics;
  for (const Tower& tower : model.towers) {
    for (const Metric& metric : tower.metrics) {
      metrics.push_back({metric.name, tower.name, TypeOf(metric.kind).larger_is_better, /*loss=*/false});
    }
    for (const Loss& loss : tower.losses) metrics.push_back({loss.name, tower.name, false, /*loss=*/true});
  }
  return metrics;
}

}  // namespace pepnet

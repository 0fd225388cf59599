// Metric: what a task tower is judged by, in evaluations and in training.
#pragma once

#include <cstdint>
#include <string>

namespace pepnet {

enum class MetricKind { kAuc, kGroupedAuc, kAccuracy, kMeanAbsoluteError, kMeanSquaredError };
struct Metric {
  MetricKind kind = MetricKind::kAuc;
  std::string name;           // "<metric>_<tower>", e.g. "auc_ctr"
  int thresholds = 200;       // auc
  double threshold = 0.5;     // accuracy
  int grouping_feature = -1;  // grouped_auc: index of the feature whose first id is the key
};

// A metric of the training batches: the rows of each decay_step steps are measured together, and the value moves by
// 1 - decay_rate of the way to that measurement (auc: the counts do).
struct TrainMetric {
  Metric metric;
  double decay_rate = 0.9;
  int64_t decay_step = 100;
};

}  // namespace pepnet

// Metric: what a task tower is judged by, in evaluations and in training, and the description of
// each kind. How rows are counted is in worker/metrics/metric_counts.cc; docs/extending.md shows
// how a kind is added.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "common/job_config/parameter.h"
#include "common/job_config/type_table.h"

namespace pepnet {

enum class MetricKind {
  kAuc,
  kGroupedAuc,
  kAccuracy,
  kMeanAbsoluteError,
  kMeanSquaredError,
  kNormalizedEntropy,
  kPcoc,
  kEce,
  kLogLoss,
  kMulticlassAuc,
  kXauc,
  kGroupedXauc,
};
enum class ClassAverage { kMacro, kWeighted };  // over the classes alike, or by their rows
struct Metric {
  MetricKind kind = MetricKind::kAuc;
  std::string name;        // "<metric>_<tower>", e.g. "auc_ctr"
  int thresholds = 200;    // auc, multiclass_auc
  double threshold = 0.5;  // accuracy
  // Of a metric with a grouping_field: index of the feature whose first id is the key.
  int grouping_feature = -1;
  int top_k = 1;                                // accuracy
  double eta = 1e-12;                           // normalized_entropy
  ClassAverage average = ClassAverage::kMacro;  // multiclass_auc
  bool in_batch = false;                        // xauc
};

// A metric of the training batches: the rows of each decay_step steps are measured together, and
// the value moves by 1 - decay_rate of the way to that measurement (auc: the counts do).
struct TrainMetric {
  Metric metric;
  double decay_rate = 0.9;
  int64_t decay_step = 100;
};

// The output of a tower that a metric reads.
enum class MetricInput {
  kScore,          // the probability of class 1: num_class 1 or 2
  kOneScore,       // the probability of class 1: num_class 1
  kClasses,        // the probabilities of 2 or more classes
  kProbabilities,  // of any number of classes
  kValue,          // of a tower whose loss puts out values
};

struct MetricType {
  // Field of config::MetricConfig (not if train_only), and of config::TrainMetricConfig if training
  // batches can be measured; in names of metrics, so it never changes.
  const char* name;
  MetricInput input;
  std::span<const Parameter<Metric>> parameters;
  // Name of the parameter that names a feature whose first id groups the rows; null: none.
  const char* grouping_field = nullptr;
  bool decays_counts = false;  // in training: the counts decay, not the value
  bool needs_rows = false;     // all of them in one place; the other metrics are sums over rows
  bool larger_is_better = true;
  bool train_only = false;   // evaluations have it of eval_config.slice_by alone
  bool best_at_one = false;  // neither larger nor smaller values are better
};

namespace metric_types {

inline constexpr Parameter<Metric> kThresholds[] = {
    WholeNumber<&Metric::thresholds>("thresholds", {2, true, 1 << 24, true, "2 or more"})};
inline constexpr Parameter<Metric> kAccuracyParameters[] = {
    Number<&Metric::threshold>("threshold", {0, true, 1, true, "a probability"}),
    WholeNumber<&Metric::top_k>("top_k", {1, true, 1 << 20, true, "1 or more"})};
inline constexpr Parameter<Metric> kEta[] = {
    Number<&Metric::eta>("eta", {0, false, 0.5, true, "0 < eta <= 0.5"})};
inline constexpr const char* kClassAverages[] = {"macro", "weighted"};
inline constexpr Parameter<Metric> kMulticlassParameters[] = {
    WholeNumber<&Metric::thresholds>("thresholds", {2, true, 1 << 24, true, "2 or more"}),
    Word<&Metric::average>("average", kClassAverages, "macro or weighted")};
inline constexpr Parameter<Metric> kInBatch[] = {Switch<&Metric::in_batch>("in_batch")};

inline constexpr MetricType kAuc = {"auc", MetricInput::kScore, kThresholds, nullptr, true};
inline constexpr MetricType kGroupedAuc = {
    "grouped_auc", MetricInput::kScore, {}, "grouping_key", false, true};
inline constexpr MetricType kAccuracy = {"accuracy", MetricInput::kProbabilities,
                                         kAccuracyParameters};
// The distance of values from the labels: smaller is better.
constexpr MetricType Distance(const char* name) {
  return {name, MetricInput::kValue, {}, nullptr, false, false, false};
}
inline constexpr MetricType kMeanAbsoluteError = Distance("mean_absolute_error");
inline constexpr MetricType kMeanSquaredError = Distance("mean_squared_error");
inline constexpr MetricType kNormalizedEntropy = {
    "normalized_entropy", MetricInput::kOneScore, kEta, nullptr, false, false, false};
// A measure of probabilities: smaller is better.
constexpr MetricType OfTraining(const char* name, bool best_at_one = false) {
  return {name, MetricInput::kScore, {}, nullptr, false, false, false, true, best_at_one};
}
inline constexpr MetricType kPcoc = OfTraining("pcoc", /*best_at_one=*/true);
inline constexpr MetricType kEce = OfTraining("ece");
inline constexpr MetricType kLogLoss = OfTraining("logloss");
inline constexpr MetricType kMulticlassAuc = {"multiclass_auc", MetricInput::kClasses,
                                              kMulticlassParameters};
inline constexpr MetricType kXauc = {"xauc", MetricInput::kValue, kInBatch, nullptr, false, true};
inline constexpr MetricType kGroupedXauc = {
    "grouped_xauc", MetricInput::kValue, {}, "grouping_key", false, true};

}  // namespace metric_types

constexpr const MetricType* FindType(MetricKind kind) {
  switch (kind) {
    case MetricKind::kAuc:
      return &metric_types::kAuc;
    case MetricKind::kGroupedAuc:
      return &metric_types::kGroupedAuc;
    case MetricKind::kAccuracy:
      return &metric_types::kAccuracy;
    case MetricKind::kMeanAbsoluteError:
      return &metric_types::kMeanAbsoluteError;
    case MetricKind::kMeanSquaredError:
      return &metric_types::kMeanSquaredError;
    case MetricKind::kNormalizedEntropy:
      return &metric_types::kNormalizedEntropy;
    case MetricKind::kPcoc:
      return &metric_types::kPcoc;
    case MetricKind::kEce:
      return &metric_types::kEce;
    case MetricKind::kLogLoss:
      return &metric_types::kLogLoss;
    case MetricKind::kMulticlassAuc:
      return &metric_types::kMulticlassAuc;
    case MetricKind::kXauc:
      return &metric_types::kXauc;
    case MetricKind::kGroupedXauc:
      return &metric_types::kGroupedXauc;
  }
  return nullptr;
}

}  // namespace pepnet

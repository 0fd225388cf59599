// BestRule: by which number the evaluations of a training are compared, and when a training that no
// longer improves ends. worker/checkpoint/best_evaluation.h applies it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pepnet {

// The figures of a slice that have a better direction (predicted over observed is best at 1, so
// it is not here).
enum class SliceMeasure {
  kAuc,
  kLogloss,
  kNormalizedEntropy,
  kCalibrationError,
  kGroupedAuc,  // this and the next: of a task with a grouped_auc
  kGroupedAucByImpressions,
};

struct SliceMeasureType {
  SliceMeasure measure;
  const char* name;  // key of train_eval_slices.jsonl
  bool larger_is_better;
};
inline constexpr SliceMeasureType kSliceMeasures[] = {
    {SliceMeasure::kAuc, "auc", true},
    {SliceMeasure::kLogloss, "logloss", false},
    {SliceMeasure::kNormalizedEntropy, "normalized_entropy", false},
    {SliceMeasure::kCalibrationError, "ece", false},
    {SliceMeasure::kGroupedAuc, "grouped_auc", true},
    {SliceMeasure::kGroupedAucByImpressions, "grouped_auc_by_impressions", true},
};
// The name of a measure of a task: "logloss_ctr", "grouped_auc_ctr_by_impressions".
std::string NameOfMeasure(SliceMeasure measure, const std::string& task);

// One number of an evaluation.
struct BestMetric {
  std::string name;   // "auc_ctr"; in train_eval_result.txt, or NameOfMeasure() of a slice
  double weight = 1;  // finite, not 0
  // Of a slice: a column of EvalConfig::slice_by, its value as the table of slices writes it, and
  // what `name` says.
  std::string slice_by = {}, slice_value = {};  // slice_by "": the whole evaluation
  SliceMeasure measure = SliceMeasure::kAuc;
  std::string task = {};
};

// An evaluation's value is the sum of weight * number over `metrics`.
struct BestRule {
  // empty: no evaluation is better than another, and nothing else here has an effect
  std::vector<BestMetric> metrics;
  bool larger_is_better = true;
  // Training ends behind so many evaluations in a row that improve the value by no more than
  // min_delta. 0: it does not.
  int64_t patience = 0;
  double min_delta = 0;  // >= 0

  bool enabled() const { return !metrics.empty(); }
};

// "auc_ctr", "auc_ctr where tab is 1", "auc_ctr + 0.5 auc_cvr".
std::string NameOf(const BestRule& rule);

}  // namespace pepnet

#include "common/job_config/best_rule.h"

#include <cmath>

#include "absl/strings/str_cat.h"

namespace pepnet {

std::string NameOfMeasure(SliceMeasure measure, const std::string& task) {
  // As the number of the whole evaluation is called (evaluation_metrics.h).
  if (measure == SliceMeasure::kGroupedAucByImpressions) {
    return absl::StrCat("grouped_auc_", task, "_by_impressions");
  }
  for (const SliceMeasureType& type : kSliceMeasures) {
    if (type.measure == measure) return absl::StrCat(type.name, "_", task);
  }
  return "";
}

// A formula such as "auc_ctr - 0.1 logloss_cvr": a weight of 1 is not written, and a sign stands
// between terms.
std::string NameOf(const BestRule& rule) {
  std::string text;
  for (const BestMetric& metric : rule.metrics) {
    const char* const sign =
        metric.weight < 0 ? (text.empty() ? "-" : " - ") : (text.empty() ? "" : " + ");
    const double weight = std::fabs(metric.weight);
    absl::StrAppend(&text, sign, weight == 1 ? "" : absl::StrCat(weight, " "), metric.name);
    if (!metric.slice_by.empty()) {
      absl::StrAppend(&text, " where ", metric.slice_by, " is ", metric.slice_value);
    }
  }
  return text;
}

}  // namespace pepnet

#include "worker/checkpoint/best_evaluation.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/file/file.h"
#include "common/job_config/evaluation_metrics.h"

namespace pepnet {
namespace {

using Lookup = std::function<std::optional<double>(const BestMetric&)>;

std::optional<double> WeightedSum(const BestRule& rule, const Lookup& lookup) {
  double sum = 0;
  for (const BestMetric& metric : rule.metrics) {
    const std::optional<double> value = lookup(metric);
    // A rule of several metrics is only as good as all of them: with one missing the evaluation has
    // no value.
    if (!value.has_value()) return std::nullopt;
    sum += metric.weight * *value;
  }
  if (rule.metrics.empty() || !std::isfinite(sum)) return std::nullopt;
  return sum;
}

std::optional<double> MeasureOf(const SliceQuality& quality, SliceMeasure measure) {
  switch (measure) {
    case SliceMeasure::kAuc:
      return quality.auc;
    case SliceMeasure::kLogloss:
      return quality.logloss;
    case SliceMeasure::kNormalizedEntropy:
      return quality.normalized_entropy;
    case SliceMeasure::kCalibrationError:
      return quality.ece;
    case SliceMeasure::kGroupedAuc:
      return quality.grouped_auc;
    case SliceMeasure::kGroupedAucByImpressions:
      return quality.grouped_auc_by_impressions;
  }
  return std::nullopt;
}

const char* NameOf(SliceMeasure measure) {
  for (const SliceMeasureType& type : kSliceMeasures) {
    if (type.measure == measure) return type.name;
  }
  return "";
}

nlohmann::json Parse(absl::string_view line) {
  // A line that is not whole is no error here: another process may be writing it.
  return nlohmann::json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
}

bool HasStep(const nlohmann::json& json) {
  const auto step = json.is_object() ? json.find("global_step") : json.end();
  return json.is_object() && step != json.end() && step->is_number_integer();
}

std::optional<double> NumberAt(const nlohmann::json& json, const std::string& key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

// The value of a line of train_eval_slices.jsonl as the table of slices writes it; "" for a line of
// another form.
std::string SliceNameIn(const nlohmann::json& json) {
  const auto kind = json.find("slice"), value = json.find("value");
  if (kind == json.end() || !kind->is_string()) return "";
  if (*kind != "value") return absl::StrCat("(", kind->get<std::string>(), ")");
  if (value == json.end() || value->is_null()) return "(none)";
  return value->is_string() ? value->get<std::string>() : "";
}

// step, column, value, task
using SliceKey = std::tuple<int64_t, std::string, std::string, std::string>;

std::map<SliceKey, nlohmann::json> ReadSlices(const std::string& model_dir) {
  const std::string text =
      ReadFile(absl::StrCat(model_dir, "/train_eval_slices.jsonl")).value_or("");
  std::map<SliceKey, nlohmann::json> slices;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    nlohmann::json json = Parse(line);
    if (!HasStep(json)) continue;
    const auto column = json.find("slice_by"), task = json.find("task");
    if (column == json.end() || !column->is_string() || task == json.end() || !task->is_string()) {
      continue;
    }
    const SliceKey key(json["global_step"].get<int64_t>(), column->get<std::string>(),
                       SliceNameIn(json), task->get<std::string>());
    // The calibration curve is large, and no rule asks for it.
    json.erase("calibration");
    slices.emplace(key, std::move(json));
  }
  return slices;
}

}  // namespace

std::vector<EvaluationLine> ReadEvaluations(const std::string& model_dir) {
  const std::string text = ReadFile(absl::StrCat(model_dir, "/train_eval_result.txt")).value_or("");
  std::vector<EvaluationLine> lines;
  std::set<int64_t> seen;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const nlohmann::json json = Parse(line);
    if (!HasStep(json)) continue;
    const int64_t step = json["global_step"];
    if (seen.insert(step).second) lines.push_back({step, std::string(line)});
  }
  return lines;
}

std::optional<double> ValueOf(const BestRule& rule, const std::map<std::string, double>& values,
                              const std::vector<Slice>& slices) {
  return WeightedSum(rule, [&](const BestMetric& metric) -> std::optional<double> {
    if (metric.slice_by.empty()) {
      const auto found = values.find(metric.name);
      return found == values.end() ? std::nullopt : std::optional<double>(found->second);
    }
    for (const Slice& slice : slices) {
      if (slice.column == metric.slice_by && slice.task == metric.task &&
          SliceName(slice) == metric.slice_value) {
        return MeasureOf(slice.quality, metric.measure);
      }
    }
    return std::nullopt;
  });
}

std::string WhyNoValue(const BestRule& rule, const std::map<std::string, double>& values,
                       const std::vector<Slice>& slices) {
  for (const BestMetric& metric : rule.metrics) {
    BestRule alone;
    alone.metrics = {metric};
    if (ValueOf(alone, values, slices).has_value()) continue;
    if (metric.slice_by.empty()) return absl::StrCat(metric.name, " has no value");
    std::vector<std::string> names;
    for (const Slice& slice : slices) {
      if (slice.column != metric.slice_by || slice.task != metric.task) continue;
      names.push_back(SliceName(slice));
      if (names.back() != metric.slice_value) continue;
      std::string reason;
      for (const SliceFigure& figure : FiguresOf(slice.quality)) {
        if (figure.name == absl::string_view(NameOf(metric.measure))) {
          reason = absl::StrCat(": ", figure.why_none);
        }
      }
      return absl::StrCat(metric.name, " has no value where ", metric.slice_by, " is ",
                          metric.slice_value, reason);
    }
    return absl::StrCat("there is no slice '", metric.slice_value, "' of ", metric.slice_by,
                        ", but ", absl::StrJoin(names, ", "));
  }
  return "";
}

std::vector<ValuedStep> ReadValuedSteps(const std::string& model_dir, const BestRule& rule) {
  std::vector<ValuedStep> steps;
  const auto of_slice = [](const BestMetric& metric) { return !metric.slice_by.empty(); };
  std::map<SliceKey, nlohmann::json> slices;
  // The file of slices may be large; it is read only if the rule needs it.
  if (std::any_of(rule.metrics.begin(), rule.metrics.end(), of_slice)) {
    slices = ReadSlices(model_dir);
  }
  for (const EvaluationLine& line : ReadEvaluations(model_dir)) {
    const nlohmann::json json = Parse(line.json);
    const std::optional<double> value =
        WeightedSum(rule, [&](const BestMetric& metric) -> std::optional<double> {
          if (metric.slice_by.empty()) return NumberAt(json, metric.name);
          const auto slice =
              slices.find(SliceKey(line.step, metric.slice_by, metric.slice_value, metric.task));
          return slice == slices.end() ? std::nullopt
                                       : NumberAt(slice->second, NameOf(metric.measure));
        });
    if (value.has_value()) steps.push_back({line.step, *value});
  }
  return steps;
}

// The loop answers two questions, with sign = 1 for metrics that grow and -1 for losses:
//   best      a strict comparison, so the first of equal values stays
//   patience  a gain counts from the last one that counted, so small gains add up
Standing StandingOf(const BestRule& rule, std::span<const ValuedStep> steps) {
  Standing standing;
  const double sign = rule.larger_is_better ? 1 : -1;
  double gained = 0;  // the value of the last improvement by more than min_delta
  for (const ValuedStep& step : steps) {
    if (!standing.best.has_value() || sign * step.value > sign * (gained + sign * rule.min_delta)) {
      gained = step.value;
      standing.waited = 0;
    } else {
      ++standing.waited;
    }
    if (!standing.best.has_value() || sign * step.value > sign * standing.best->value) {
      standing.best = step;
    }
  }
  standing.out_of_patience = rule.patience > 0 && standing.waited >= rule.patience;
  return standing;
}

std::string DescribePeaks(const Model& model, const std::vector<EvaluationLine>& evaluations) {
  std::set<std::string> told;  // towers
  std::set<int64_t> steps;
  std::vector<std::string> peaks;
  for (const EvaluationMetric& metric : EvaluationMetrics(model)) {
    if (!told.insert(metric.task).second) continue;  // the first of its tower
    BestRule rule;
    rule.metrics = {{metric.name}};
    rule.larger_is_better = metric.larger_is_better;
    std::vector<ValuedStep> valued;
    for (const EvaluationLine& line : evaluations) {
      const std::optional<double> value = NumberAt(Parse(line.json), metric.name);
      if (value.has_value()) valued.push_back({line.step, *value});
    }
    const Standing standing = StandingOf(rule, valued);
    if (!standing.best.has_value()) continue;
    steps.insert(standing.best->step);
    peaks.push_back(absl::StrCat(metric.name, " ", MetricText(standing.best->value), " at step ",
                                 standing.best->step));
  }
  return steps.size() < 2 ? "" : absl::StrJoin(peaks, ", ");
}

std::string MetricText(double value) {
  const double size = std::fabs(value);
  if (!std::isfinite(value)) return "-";
  if (size != 0 && (size >= 1000 || size < 0.001)) return absl::StrFormat("%.6g", value);
  return absl::StrFormat("%.4f", value);
}

}  // namespace pepnet

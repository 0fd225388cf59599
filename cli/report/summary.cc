#include "cli/report/summary.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "nlohmann/json.hpp"

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/job_config/evaluation_metrics.h"
#include "worker/checkpoint/best_evaluation.h"
#include "worker/report/run_lines.h"
#include "worker/report/slice_report.h"
#include "worker/watch/warning.h"

namespace pepnet {
namespace {

// RanksFarBelow(): the least difference of AUCs, the least rows of a slice, and the standard
// deviations beyond which chance is no explanation. All three must hold: of many small slices some
// are far below by chance, and of huge ones a tiny difference is beyond it.
constexpr double kFarBelow = 0.05;
constexpr int64_t kLeastRows = 1000;
constexpr char kLearningRate[] = "lr_";  // lr_sparse, lr_dense, lr_part_0, ...
constexpr double kDeviations = 4;

// A guess by name, for runs whose config cannot be read; the config knows better.
bool LooksLikeLoss(const std::string& name) {
  return absl::StrContains(name, "cross_entropy") || absl::StrContains(name, "loss");
}

// Members of metrics.jsonl that are neither losses nor metrics.
bool IsOther(const std::string& name) {
  return name == "total_loss" || absl::StartsWith(name, kLearningRate) ||
         name == "samples_per_second" || absl::EndsWith(name, "gradient_norm");
}

// The name of the train metric whose last window or lifetime `name` would be; "" if it looks like
// neither.
std::string MetricOfWindow(const std::string& name) {
  for (const absl::string_view prefix : {"window_", "lifetime_"}) {
    if (absl::StartsWith(name, prefix)) return name.substr(prefix.size());
  }
  return "";
}

// The last window or the lifetime of a train metric that the same line or the config has.
bool IsWindow(const std::string& name, const Figures& values, const std::set<std::string>& known) {
  const std::string metric = MetricOfWindow(name);
  return values.count(metric) > 0 || known.count(metric) > 0;
}

// The task whose name ends the figure's; "" if none does. The longest name wins, since a task's
// name may end in another's: of the tasks "ctr" and "long_ctr", "auc_long_ctr" belongs to the
// latter.
std::string TaskIn(const std::string& name, const std::vector<std::string>& tasks) {
  std::string longest;
  for (const std::string& task : tasks) {
    if (absl::EndsWith(name, "_" + task) && task.size() > longest.size()) longest = task;
  }
  return longest;
}

Remark RemarkOfWarning(std::string text) { return {true, std::move(text)}; }
Remark Note(std::string text) { return {false, std::move(text)}; }

// The warnings are computed from the slices that are shown and not taken from warnings.jsonl, which
// keeps each subject once, from the evaluation that first gave it: a slice that is fine by now
// would still be warned of.
void AddSliceRemarks(const RunRecord& run, std::vector<Remark>* remarks) {
  const SlicedEvaluation* const shown = ShownSlices(run);
  if (shown == nullptr) return;
  for (const Warning& warning : SliceWarnings(shown->slices)) {
    remarks->push_back(RemarkOfWarning(absl::StrCat("step ", shown->step, ", ", warning.text)));
  }
  for (const Slice& all : shown->slices) {
    if (all.kind != Slice::Kind::kAll) continue;
    for (const Slice& slice : shown->slices) {
      if (slice.column != all.column || slice.task != all.task || !RanksFarBelow(slice, all)) {
        continue;
      }
      // Not a fault in itself: all rows also have pairs of rows of different slices, which may be
      // easier to order.
      remarks->push_back(Note(absl::StrFormat(
          "step %d, %s where %s is %s (%d rows): auc %.4f among themselves, %.4f over all rows",
          shown->step, slice.task, slice.column, SliceName(slice), slice.quality.rows,
          *slice.quality.auc, *all.quality.auc)));
    }
  }
}

// A best checkpoint that is missing, what keep_best would have kept where it is not set, and the
// steps at which the tasks were best.
void AddBestRemarks(const RunRecord& run, std::vector<Remark>* remarks) {
  if (run.best.has_value()) {
    bool is_there = false;
    for (const CheckpointRecord& checkpoint : run.checkpoints) {
      is_there |= checkpoint.step == run.best->step;
    }
    if (!is_there) {
      remarks->push_back(RemarkOfWarning(
          absl::StrCat("best_checkpoint.json names ", run.best->path, ", which is not there")));
    }
  }
  if (!run.config.has_value() || run.evaluations.empty()) return;
  // The lines are written again as JSON, because the rules of best checkpoints read them in that
  // form.
  std::vector<EvaluationLine> lines;
  for (const LoggedEvaluation& evaluation : run.evaluations) {
    lines.push_back({evaluation.step, nlohmann::json(evaluation.values).dump()});
  }
  if (!run.best.has_value()) {
    const std::string hint = KeepBestHint(EvaluationMetrics(run.config->model), lines);
    if (!hint.empty()) remarks->push_back(Note(hint));
  }
  const std::string peaks = DescribePeaks(run.config->model, lines);
  if (!peaks.empty()) remarks->push_back(Note("the tasks were best at different steps: " + peaks));
}

// The seconds of each stage between two lines. A run that was continued counts from 0 again.
Figures StageSecondsSince(const LoggedStep& before, const LoggedStep& step) {
  Figures since;
  for (const auto& [stage, seconds] : step.stage_seconds) {
    const auto found = before.stage_seconds.find(stage);
    const bool goes_on = found != before.stage_seconds.end() && found->second <= seconds;
    since[stage] = goes_on ? seconds - found->second : seconds;
  }
  return since;
}

}  // namespace

std::vector<FigureName> FigureNames(const std::vector<RunRecord>& runs) {
  std::vector<FigureName> figures;
  std::vector<std::string> tasks;
  // The config comes first, since it knows tasks and directions.
  std::set<std::string> known;
  for (const RunRecord& run : runs) {
    if (!run.config.has_value()) continue;
    for (const Tower& tower : run.config->model.towers) {
      if (std::find(tasks.begin(), tasks.end(), tower.name) == tasks.end()) {
        tasks.push_back(tower.name);
      }
    }
    for (const EvaluationMetric& metric : EvaluationMetrics(run.config->model)) {
      if (!known.insert(metric.name).second) continue;
      figures.push_back({metric.name, metric.task, metric.larger_is_better, metric.loss});
    }
  }
  // Behind the evaluations' of all runs, whose direction is the same where both have a metric.
  for (const RunRecord& run : runs) {
    if (!run.config.has_value()) continue;
    for (const Tower& tower : run.config->model.towers) {
      for (const TrainMetric& train_metric : tower.train_metrics) {
        const Metric& metric = train_metric.metric;
        const MetricType& type = TypeOf(metric.kind);
        for (const std::string& name : {metric.name, NameByImpressions(metric)}) {
          if (name.empty() || !known.insert(name).second) continue;
          figures.push_back({name, tower.name, type.larger_is_better, /*loss=*/false,
                             /*rule=*/false, type.best_at_one});
        }
      }
    }
  }
  // Metrics of training batches that no evaluation has, and everything without a config.
  const auto add = [&](const Figures& values) {
    for (const auto& [name, value] : values) {
      if (IsOther(name) || IsWindow(name, values, known) || !known.insert(name).second) continue;
      const bool loss = LooksLikeLoss(name);
      figures.push_back({name, TaskIn(name, tasks), !loss, loss});
    }
  };
  std::set<std::string> seen;
  for (const RunRecord& run : runs) {
    for (const LoggedEvaluation& evaluation : run.evaluations) {
      add(evaluation.values);
      for (const auto& [name, value] : evaluation.values) seen.insert(name);
    }
    for (const LoggedStep& step : run.steps) {
      add(step.values);
      for (const auto& [name, value] : step.values) seen.insert({name, MetricOfWindow(name)});
    }
  }
  // A metric of the config that no file has a value of has no curve either.
  figures.erase(
      std::remove_if(figures.begin(), figures.end(),
                     [&seen](const FigureName& figure) { return seen.count(figure.name) == 0; }),
      figures.end());
  // Figures are grouped by task in the order of the towers; those of no task stand behind, since
  // find() gives the end for them. Within a task the order is that in which figures were met.
  if (tasks.empty()) tasks.push_back("");
  std::stable_sort(figures.begin(), figures.end(),
                   [&tasks](const FigureName& a, const FigureName& b) {
                     const auto place = [&tasks](const FigureName& figure) {
                       return std::find(tasks.begin(), tasks.end(), figure.task) - tasks.begin();
                     };
                     return place(a) < place(b);
                   });
  for (const RunRecord& run : runs) {
    if (run.ruled.empty() || !run.config.has_value()) continue;
    const BestRule& rule = run.config->train.best;
    FigureName figure{NameOf(rule), "", rule.larger_is_better, false, /*rule=*/true};
    if (known.insert(figure.name).second) figures.push_back(std::move(figure));
  }
  return figures;
}

const char* DirectionOf(const FigureName& figure) {
  if (figure.loss) return "loss";
  if (figure.best_at_one) return "1 is calibrated";
  return figure.larger_is_better ? "larger is better" : "smaller is better";
}

std::vector<ValuedStep> EvaluatedValues(const RunRecord& run, const FigureName& figure) {
  if (figure.rule) {
    // Two runs with different rules have two figures, each with the values of one run.
    const bool same = run.config.has_value() && NameOf(run.config->train.best) == figure.name;
    return same ? run.ruled : std::vector<ValuedStep>();
  }
  std::vector<ValuedStep> values;
  for (const LoggedEvaluation& evaluation : run.evaluations) {
    const auto found = evaluation.values.find(figure.name);
    if (found != evaluation.values.end()) values.push_back({evaluation.step, found->second});
  }
  return values;
}

std::optional<ResultAt> BestResult(const RunRecord& run, const FigureName& figure) {
  std::optional<ResultAt> best;
  // A later evaluation must be better, not as good: of equal ones the first is the best
  // (docs/spec.md 6.1).
  for (const auto& [step, value] : EvaluatedValues(run, figure)) {
    if (!best.has_value() ||
        (figure.larger_is_better ? value > best->value : value < best->value)) {
      best = {step, value};
    }
  }
  return best;
}

std::optional<ResultAt> LastResult(const RunRecord& run, const FigureName& figure) {
  const std::vector<ValuedStep> values = EvaluatedValues(run, figure);
  if (values.empty()) return std::nullopt;
  return ResultAt{values.back().step, values.back().value};
}

std::vector<bool> BestOf(const std::vector<std::optional<ResultAt>>& results,
                         bool larger_is_better) {
  std::vector<bool> is_best(results.size());
  std::optional<double> best;
  int values = 0;
  for (const auto& result : results) {
    if (!result.has_value()) continue;
    ++values;
    if (!best.has_value() || (larger_is_better ? result->value > *best : result->value < *best)) {
      best = result->value;
    }
  }
  for (size_t i = 0; values > 1 && i < results.size(); ++i) {
    // Equal values are all marked. They are compared exactly, since they come from files and not
    // from arithmetic here.
    is_best[i] = results[i].has_value() && results[i]->value == *best;
  }
  return is_best;
}

// Steps are logged only now and then, so an evaluation or a checkpoint may be further.
int64_t LastStep(const RunRecord& run) {
  int64_t last = 0;
  if (!run.steps.empty()) last = std::max(last, run.steps.back().step);
  if (!run.evaluations.empty()) last = std::max(last, run.evaluations.back().step);
  if (!run.checkpoints.empty()) last = std::max(last, run.checkpoints.back().step);
  return last;
}

int64_t LastEpoch(const RunRecord& run) { return run.steps.empty() ? 0 : run.steps.back().epoch; }

// The median, because the first steps of a run are slow and would pull a mean down.
std::optional<double> MedianSpeed(const RunRecord& run) {
  std::vector<double> speeds;
  for (const LoggedStep& step : run.steps) {
    const auto found = step.values.find("samples_per_second");
    if (found != step.values.end()) speeds.push_back(found->second);
  }
  if (speeds.empty()) return std::nullopt;
  const auto middle = speeds.begin() + static_cast<int64_t>(speeds.size() / 2);
  std::nth_element(speeds.begin(), middle, speeds.end());
  return *middle;
}

// Logs have running sums of seconds, so each line less the one before is the time of the steps
// between them; the first counts from step 0. A line that repeats a step has no time per step.
std::vector<std::pair<int64_t, Figures>> StageTimesPerStep(const RunRecord& run) {
  std::vector<std::pair<int64_t, Figures>> times;
  const LoggedStep first;
  const LoggedStep* before = &first;
  for (const LoggedStep& step : run.steps) {
    const int64_t steps = step.step - before->step;
    Figures per_step;
    for (const auto& [stage, seconds] : StageSecondsSince(*before, step)) {
      if (steps > 0) per_step[stage] = 1e3 * seconds / static_cast<double>(steps);
    }
    if (!per_step.empty()) times.emplace_back(step.step, std::move(per_step));
    before = &step;
  }
  return times;
}

Figures StageTotals(const RunRecord& run) {
  Figures totals;
  // The sums over all starts of a run that was continued.
  const LoggedStep first;
  const LoggedStep* before = &first;
  for (const LoggedStep& step : run.steps) {
    for (const auto& [stage, seconds] : StageSecondsSince(*before, step)) totals[stage] += seconds;
    before = &step;
  }
  return totals;
}

bool RanksFarBelow(const Slice& slice, const Slice& all) {
  const SliceQuality& quality = slice.quality;
  if (slice.kind != Slice::Kind::kValue || quality.rows < kLeastRows) return false;
  if (!quality.auc.has_value() || !all.quality.auc.has_value()) return false;
  const auto positives = static_cast<double>(quality.positives);
  const double negatives = static_cast<double>(quality.rows) - positives;
  if (positives <= 0 || negatives <= 0) return false;
  // Of an AUC of labels that have nothing to do with the scores (Mann and Whitney, 1947).
  const double deviation = std::sqrt((positives + negatives + 1) / (12 * positives * negatives));
  const double below = *all.quality.auc - *quality.auc;
  return below >= kFarBelow && below > kDeviations * deviation;
}

bool IsSuspicious(const Slice& slice) { return !SliceWarnings({slice}).empty(); }

std::vector<Remark> RemarksOf(const RunRecord& run) {
  std::vector<Remark> remarks;
  if (run.job.has_value() && run.job->status == "failed") {
    remarks.push_back(RemarkOfWarning(absl::StrCat("the job failed: ", run.job->message)));
  }
  // The order is that of urgency; remarks that are no warnings go behind all warnings at the end,
  // and otherwise keep their order.
  int64_t not_finite = 0;
  for (const LoggedStep& step : run.steps) not_finite += step.not_finite;
  if (not_finite > 0) {
    remarks.push_back(RemarkOfWarning(
        absl::StrCat(Counted(not_finite, "figure"), " of metrics.jsonl ",
                     not_finite == 1 ? "is" : "are", " not finite, or had no value yet")));
  }
  for (const TableRecord& table : run.tables) {
    if (table.not_finite_rows == 0) continue;
    remarks.push_back(RemarkOfWarning(
        absl::StrCat("table ", table.name, " has ", Counted(table.not_finite_rows, "row"),
                     " with NaN or infinity in step ", run.tables_step)));
  }
  for (const LoggedWarning& warning : run.warnings) {
    // Those of the evaluation that is shown come next.
    if (warning.kind == warning_kinds::kSlice) continue;
    remarks.push_back(RemarkOfWarning(absl::StrCat("step ", warning.step, ": ", warning.text)));
  }
  AddSliceRemarks(run, &remarks);
  for (const std::string& name : run.set_aside) {
    remarks.push_back(RemarkOfWarning(name + " was set aside (docs/reliability.md)"));
  }
  AddBestRemarks(run, &remarks);
  for (const std::string& notice : run.notices) remarks.push_back(RemarkOfWarning(notice));
  std::stable_partition(remarks.begin(), remarks.end(),
                        [](const Remark& one) { return one.is_warning; });
  return remarks;
}

}  // namespace pepnet

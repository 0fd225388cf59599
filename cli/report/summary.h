// Summary: the figures of runs, digested: which there are, the best and the last of each, and what
// deserves attention. The page and the terminal's table say the same because both ask here.
//
// Threads: no state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/report/run_record.h"

namespace pepnet {

// A loss or a metric by its name in train_eval_result.txt and metrics.jsonl.
struct FigureName {
  std::string name;
  std::string task;  // name of the tower; "": not known
  bool larger_is_better = true;
  bool loss = false;
  // It is what keep_best compares, a sum or a number of a slice: RunRecord::ruled.
  bool rule = false;
  bool best_at_one = false;  // neither larger nor smaller values are better
};
// "larger is better", "1 is calibrated", ...: for an axis.
const char* DirectionOf(const FigureName& figure);

// The losses and metrics of the runs, by task, and behind them what keep_best compares where that
// is none of them. Task and direction are those of the configs; without a config a name with
// cross_entropy or loss in it is a loss, and of a metric the larger value is taken for the better
// one. The last window and the lifetime of a train metric ("window_auc_ctr", "lifetime_auc_ctr")
// belong to the metric and are not among them.
std::vector<FigureName> FigureNames(const std::vector<RunRecord>& runs);

// The values of a figure by evaluation.
std::vector<ValuedStep> EvaluatedValues(const RunRecord& run, const FigureName& figure);

// A figure at an evaluation.
struct ResultAt {
  int64_t step = 0;
  double value = 0;
};
// The best evaluation of a run by one figure (of equal ones the first), and the last; nullopt
// without a value.
std::optional<ResultAt> BestResult(const RunRecord& run, const FigureName& figure);
std::optional<ResultAt> LastResult(const RunRecord& run, const FigureName& figure);

// The runs with the best of these values; all false with fewer than two values.
std::vector<bool> BestOf(const std::vector<std::optional<ResultAt>>& results,
                         bool larger_is_better);

// Finished steps and passes as far as the files know.
int64_t LastStep(const RunRecord& run);
int64_t LastEpoch(const RunRecord& run);
// The median of samples_per_second over the logged steps; nullopt without one.
std::optional<double> MedianSpeed(const RunRecord& run);
// Seconds of worker 0 by stage over the whole log: a run that was continued counts from 0 again.
Figures StageTotals(const RunRecord& run);
// Between one logged step and the next, in order: milliseconds per step of each stage.
std::vector<std::pair<int64_t, Figures>> StageTimesPerStep(const RunRecord& run);

// Whether the ranking within a slice is far worse than over all rows: an AUC at least 0.05 lower,
// of at least 1,000 rows, where chance (four standard deviations) does not explain it.
bool RanksFarBelow(const Slice& slice, const Slice& all);
// Whether training would warn of this slice (worker/report/slice_report.h).
bool IsSuspicious(const Slice& slice);

struct Remark {
  bool is_warning = false;  // else it is worth knowing
  std::string text;
};
// Warnings first: a failed job, what the training warned of, slices that are off, figures that are
// not finite, files that could not be read.
std::vector<Remark> RemarksOf(const RunRecord& run);

}  // namespace pepnet

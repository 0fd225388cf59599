// RunLog: what a training run tells its user: log lines (or one progress line on a terminal),
// metrics.jsonl, the lines of train_eval_result.txt, TensorBoard events and, on request, a
// Prometheus text file. Only worker 0 has one.
//
// Files: model_dir/metrics.jsonl, one JSON object per logged step; train_slices.jsonl, one per
//        slice of its train metrics (slice_report.h); model_dir/train_eval_result.txt, one per
//        evaluation, first key global_step, then names sorted; train_eval_slices.jsonl, one object
//        per slice of an evaluation; TensorBoard events of the steps in model_dir, of the
//        evaluations in model_dir/eval_val; warnings.jsonl, one object per warning, each kind and
//        subject once. All are cut back to the restored step on resume, so that a resumed run's
//        files equal the undisturbed run's.
// Tags:  loss/<name> (of steps and of evaluations), loss/total, lr/g0 (tables), lr/g1 (network),
//        metric/<name>, of train metrics also metric/window_<name> and metric/lifetime_<name>,
//        global_gradient_norm, tables/<name>/rows and tables/<name>/candidates of tables that grow,
//        <parameter>/gradient_norm, slice/<column>=<value>/<metric> (in model_dir with window_ or
//        lifetime_ in front of
//        the metric), speed/samples_per_second, seconds/<stage> (since the last logged step);
//        at the end of a run best/<name>.
// Threads: one.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "worker/checkpoint/checkpoint_saver.h"
#include "worker/checkpoint/save_delays.h"
#include "worker/metrics/bootstrap.h"
#include "worker/metrics/slices.h"
#include "worker/report/event_file.h"
#include "worker/report/hyperparameters.h"
#include "worker/report/metrics_textfile.h"
#include "worker/report/stage_times.h"
#include "worker/report/step_record.h"
#include "worker/watch/warning.h"

namespace pepnet {

// The values that an evaluation found, and the number of steps that the evaluated weights have
// behind them.
struct EvaluationResult {
  int64_t step = -1;  // -1: nothing has been evaluated
  std::map<std::string, double> values;
  std::vector<Slice> slices = {};             // of eval_config.slice_by; worker 0 alone has them
  std::vector<TaskIntervals> intervals = {};  // on request; worker 0 alone has them
  // Of what looks like a mistake, slices left out; worker 0 alone has them.
  std::vector<Warning> warnings = {};
  int64_t rows = 0;  // of all workers
};

struct RunLogOptions {
  bool tensorboard = false;
  bool summarize_loss = true, summarize_learning_rate = true;
  std::vector<Hyperparameter> hyperparameters;  // for TensorBoard
  // Of the values of an evaluation, those that are losses.
  std::set<std::string> losses;
  std::string metrics_textfile;  // "": none
  // For tests.
  std::function<std::chrono::steady_clock::time_point()> now = &std::chrono::steady_clock::now;
};

class RunLog {
 public:
  // Cuts the files back to `restored_step` (0 for a fresh run).
  static StatusOr<RunLog> Open(const std::string& model_dir, int64_t restored_step,
                               const RunLogOptions& options = {});

  // `times`: of the run so far. Saving and evaluating do not count into samples/s: their stages are
  // left out.
  Status Step(const StepRecord& record, const StageTimes& times);
  // A line for `step` that is there already (a finished job evaluated again) is replaced.
  Status Evaluation(const EvaluationResult& result);
  // Logs and records the warnings that this run has not given; one that an earlier part of the run,
  // which this one resumes, has recorded is logged again and not recorded again. `logged`: they
  // have been logged.
  Status Warn(int64_t step, const std::vector<Warning>& warnings, bool logged = false);
  // Step of the last line of train_eval_result.txt, -1 if there is none.
  int64_t last_evaluated_step() const { return last_evaluated_step_; }
  // The training has ended at `step`: for TensorBoard, by metric the best value of its evaluations,
  // as best/<metric>.
  Status Finish(int64_t step, const std::vector<std::pair<std::string, double>>& best);
  // The closing report: how much was trained, how fast; verbosely, where the time went.
  void Report(int64_t steps, int64_t rows, const StageTimes& times,
              const std::vector<std::string>& server_stats, const std::string& checkpoint);
  // The cost of the checkpoints of the run, if there were any.
  void ReportSaves(const SaveCosts& costs, const SaveDelays& delays);

 private:
  RunLog() = default;
  Status WriteEvents(const StepRecord& record, double total_loss, double rate,
                     const StageTimes& times);
  Status WriteSlices(const EvaluationResult& result);
  void WriteTextfile(const StepRecord& record, double total_loss, double rate,
                     const StageTimes& times);

  RunLogOptions options_;
  std::optional<EventFile> step_events_, evaluation_events_;
  std::optional<MetricsTextfile> textfile_;
  StageTimes logged_times_;  // at the last logged step
  std::string model_dir_;
  bool draws_ = false;  // steps as one progress line that is drawn again, else as log lines
  std::chrono::steady_clock::time_point start_, last_;
  int64_t last_rows_ = 0;
  int64_t last_evaluated_step_ = -1, last_sliced_step_ = -1;
  std::set<std::pair<std::string, std::string>> given_, recorded_;  // kind and subject of warnings
};

// {"global_step": 100, "auc_ctr": 0.5, ...}: NaN becomes null. With intervals also "intervals":
// {"ctr": {"auc": {"value", "low", "high"}, "logloss", "pcoc"}, ...} and "bootstrap", the rounds.
std::string EvaluationJson(const EvaluationResult& result);
// {"step": 100, "kind": "leak", "subject": "auc_ctr", "text": "..."}
std::string WarningJson(int64_t step, const Warning& warning);
// Outside of a run: the table of the slices, if there are slices, and all warnings.
void LogSlicesAndWarnings(const EvaluationResult& result);

}  // namespace pepnet

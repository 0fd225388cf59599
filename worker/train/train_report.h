// TrainReport: what a training run tells: stage times, the log and its files (worker 0), warnings
// about the data, and the closing report. Nothing here changes the state of the run.
//
// Use:     Open(); then Observe() and LogStep() behind every step, Evaluated() behind an
//          evaluation; Close().
// Threads: one. LogStep() and Close() are collective operations.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "worker/checkpoint/checkpoint_saver.h"
#include "worker/checkpoint/save_delays.h"
#include "worker/context/worker_context.h"
#include "worker/report/run_log.h"
#include "worker/report/stage_times.h"
#include "worker/train/best_keeper.h"
#include "worker/train/train_session.h"
#include "worker/train/train_step.h"
#include "worker/watch/data_watch.h"
#include "worker/watch/row_overlap.h"
#include "worker/watch/warning.h"

namespace pepnet {

class TrainReport {
 public:
  // Borrows the context.
  explicit TrainReport(const WorkerContext* context);

  // Before Open(), on worker 0: warnings that have been logged, to stand among those of the run.
  void KeepWarnings(std::vector<Warning> warnings) { earlier_warnings_ = std::move(warnings); }
  // Worker 0: opens the log, cut back to where the run begins, and leaves the config beside it.
  Status Open(const TrainSession& session);

  StageTimes* times() { return &times_; }
  const StageTimes& times() const { return times_; }

  // A trained batch.
  void Observe(const Batch& batch, const TrainSession& session);
  // A line for the step of `batch`, if it is due.
  Status LogStep(const Batch& batch, const LearningRates& lr, const TrainSession& session,
                 const TrainStep& step);
  // The rows that the next evaluation is to look for, null: nothing more. The same on every worker.
  const TrainedRows* RowsToFind();
  Status Evaluated(const EvaluationResult& result);
  // Worker 0: the step of the last evaluation in the results, -1 if there is none.
  int64_t last_evaluated_step() const { return log_->last_evaluated_step(); }
  // `saver`: worker 0's, else null; `checkpoint`: the last one that is complete; `best`: worker 0's
  // if there is one.
  Status Close(const TrainSession& session, const CheckpointSaver* saver,
               const std::string& checkpoint, const BestKeeper* best);

  // The wall time of a step, evaluation left out, for what checkpoints cost the training. Done()
  // counts the step; one that fails is not counted.
  class StepTimer {
   public:
    StepTimer(TrainReport* report, const CheckpointSaver* saver);
    void Done();

   private:
    bool Saving() const { return saver_ != nullptr && saver_->running(); }

    TrainReport* const report_;
    const CheckpointSaver* const saver_;
    const Clock::time_point start_;
    const double evaluated_;  // seconds, before the step
    const bool saving_;
  };

 private:
  // The warnings that training has given rise to so far. A collective operation; on worker 0 not
  // empty alone.
  StatusOr<std::vector<Warning>> DataWarnings(const TrainSession& session) const;
  void LogEvaluations(const BestKeeper* best) const;
  std::vector<std::pair<std::string, double>> BestValues() const;
  double StepsPerEpoch() const;
  StepRecord RecordOf(const LearningRates& lr, const TrainSession& session,
                      const TrainStep& step) const;

  const WorkerContext& context_;
  const JobConfig& config_;
  const std::vector<std::string> loss_labels_;
  std::optional<RunLog> log_;  // worker 0
  StageTimes times_;
  DataWatch data_watch_;
  TrainedRows trained_rows_;
  bool looked_for_rows_ = false;           // among those of an evaluation
  bool looked_early_ = false;              // at what training shows
  std::vector<Warning> earlier_warnings_;  // worker 0
  // Worker 0: of the last evaluation, given if the next one is not better; the first ones are of a
  // model that has not learnt its averages yet.
  std::vector<Warning> held_;
  std::string slice_table_;  // worker 0: of the last evaluation
  SaveDelays save_delays_;
  int64_t rows_trained_ = 0;     // global, since Open()
  int64_t rows_of_pass_ = 0;     // of those, in the pass that is under way
  bool pass_is_whole_ = false;   // that pass began behind Open()
  int64_t rows_per_epoch_ = -1;  // -1: not known yet
};

}  // namespace pepnet

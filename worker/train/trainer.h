// Trainer: the training loop of one worker in sync mode (design section 5).
//
//   TrainSession  what is trained: model_dir, state, model, batches; starts or resumes
//   TrainStep     the computing of one step
//   TrainReport   times, log, files for people and monitors
// The trainer puts them in order, and saves and evaluates in between.
//
// Threads:  Run() on one thread; the data loader has its own. All workers run the same sequence of
//           steps, saves and evaluations.
// Failure:  the first error ends Run(); nothing half written stays behind.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "worker/checkpoint/checkpoint_saver.h"
#include "worker/context/worker_context.h"
#include "worker/report/run_log.h"
#include "worker/train/best_keeper.h"
#include "worker/train/train_report.h"
#include "worker/train/train_session.h"
#include "worker/train/train_step.h"

namespace pepnet {

class Trainer {
 public:
  explicit Trainer(const WorkerContext& context);
  Trainer(const Trainer&) = delete;  // its parts borrow from one another
  Trainer& operator=(const Trainer&) = delete;

  // Before Run(), on worker 0: warnings that have been logged, to stand among those of the run.
  void KeepWarnings(std::vector<Warning> warnings) { report_.KeepWarnings(std::move(warnings)); }

  // Starts (fresh, fine-tuned or resumed), trains to the end, saves, evaluates, reports.
  Status Run();

  // True if Run() ended early because somebody asked for it (options.stop_request): the state is
  // saved, the training is not done.
  bool stopped() const { return stopped_; }
  // True if the evaluations have not improved for as long as train_config.patience waits: the
  // training ended, or had ended before, behind the last of them.
  bool out_of_patience() const { return out_of_patience_; }

  // The same in pieces, for tests: Start() once, then Step() until it returns false. A checkpoint
  // that is due is begun by its step and written while later steps run; Run() waits for the last
  // one.
  Status Start();
  StatusOr<bool> Step();
  // Waits for a checkpoint that is being written. All workers call it.
  Status FinishSave();

  TrainState& state() { return session_.state(); }
  PepnetModel* model() { return session_.model(); }
  // Row gradients of the last step, by table, and the ids they belong to (this worker's part). Kept
  // if that was asked for before the step.
  void KeepRowGradients() { step_.KeepRowGradients(); }
  const FloatBuffers& row_gradients() const { return step_.row_gradients(); }
  const UniqueIds& last_ids() const { return last_ids_; }
  // Losses of the last step, this worker's part.
  const LossReport& last_losses() const { return step_.losses(); }
  // The last evaluation, and the step that it belongs to: the last step unless the run was stopped.
  // Empty without eval_input_path.
  const EvaluationResult& evaluation() const { return evaluation_; }
  const StageTimes& times() const { return report_.times(); }

 private:
  StatusOr<std::optional<PreparedBatch>> NextBatch();
  Status EvaluateRestored();
  bool SaveIsDue(const Batch& batch) const;
  Status Save();
  Status SaveAndEvaluate();
  Status ScoreEvaluations();
  Status PublishBest();
  StatusOr<bool> StopEarly();
  StatusOr<bool> StopIfAsked();
  CheckpointSaver* saver() { return saver_.has_value() ? &*saver_ : nullptr; }

  const WorkerContext context_;
  const JobConfig& config_;
  TrainSession session_;
  TrainReport report_;
  TrainStep step_;
  std::optional<CheckpointSaver> saver_;  // worker 0
  std::string last_checkpoint_;           // complete
  int64_t saved_step_ = -1;               // of the checkpoint that was begun or restored last
  std::optional<BestKeeper> best_;        // worker 0, if an evaluation can be the best
  bool stopped_ = false;                  // early, on request
  bool out_of_patience_ = false;          // the same on every worker
  UniqueIds last_ids_;
  EvaluationResult evaluation_;
};

}  // namespace pepnet

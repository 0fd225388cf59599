// Trainer: the training loop of one worker in sync mode (design section 5).
//
// Threads:  Run() on one thread; the data loader has its own. All workers run the same sequence of steps, saves and evaluations.
// Failure:  the first error ends Run(); nothing half written stays behind.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "worker/checkpoint/checkpoint_saver.h"
#include "worker/checkpoint/model_dir.h"
#include "worker/checkpoint/save_delays.h"
#include "worker/checkpoint/train_state.h"
#include "worker/context/worker_context.h"
#include "worker/data/load/batch_loader.h"
#include "worker/metrics/train_metrics.h"
#include "worker/model/pepnet_model.h"
#include "worker/report/run_log.h"
#include "worker/sparse/batch_feeder.h"
#include "worker/sparse/pooling.h"
#include "worker/train/data_watch.h"

namespace pepnet {

class Trainer {
 public:
  explicit Trainer(const WorkerContext& context);
  ~Trainer();

  // Starts (fresh, fine-tuned or resumed), trains to the end, saves, evaluates, reports.
  Status Run();

  // True if Run() ended early because somebody asked for it (options.stop_request): the state is saved, the training is not done.
  bool stopped() const { return stopped_; }

  // The same in pieces, for tests: Start() once, then Step() until it returns false. A checkpoint that is due is begun by
  // its step and written while later steps run; Run() waits for the last one.
  Status Start();
  StatusOr<bool> Step();
  // Waits for a checkpoint that is being written. All workers call it.
  Status FinishSave();

  TrainState& state() { return *state_; }
  PepnetModel* model() { return model_.get(); }
  // Row gradients of the last step, by table, and the ids they belong to (this worker's part).
  const FloatBuffers& row_gradients() const { return row_gradients_; }
  const UniqueIds& last_ids() const { return last_ids_; }
  // Losses of the last step, this worker's part.
  const LossReport& last_losses() const { return losses_; }
  // Final evaluation; empty without eval_input_path.
  const std::map<std::string, double>& evaluation() const { return evaluation_; }
  const StageTimes& times() const { return times_; }

 private:
  // Locks model_dir, proves that all workers see it, and returns the checkpoint to resume from ("" for a fresh start).
  StatusOr<std::string> EnterModelDir();
  Status StartFresh();
  Status Resume(const std::string& checkpoint);
  // The workers of this host.
  StatusOr<ReaderGroup> FindReaderGroup();
  Status OpenData();
  Status EvaluateRestored();
  Status Report();
  Status ForwardBackward(const FedBatch& fed);
  Status UpdateDense(double lr);
  Status CheckFinite(const FedBatch& fed, const ModelInput& input) const;
  bool SaveIsDue(const Batch& batch) const;
  Status Save();
  Status SaveAndEvaluate();
  void NoteGradientNorms();
  Status LogStep(const Batch& batch, double lr_sparse, double lr_dense);

  WorkerContext context_;
  const JobConfig& config_;
  std::optional<ModelDirLock> lock_;  // worker 0
  std::string nonce_;                 // path of the file that proves a shared model_dir
  std::unique_ptr<TrainState> state_;
  std::unique_ptr<PepnetModel> model_;
  // Behind an error of the input: a reader thread that hangs in the file system must not hold the process (destroyed after it).
  std::optional<RankStatus::Wait> unwinding_;
  std::unique_ptr<BatchLoader> loader_;
  std::unique_ptr<BatchFeeder> feeder_;
  std::optional<RunLog> log_;             // worker 0
  std::optional<CheckpointSaver> saver_;  // worker 0
  StageTimes times_;
  TrainMetrics train_metrics_;
  DataWatch data_watch_;
  std::vector<std::pair<std::string, double>> gradient_norms_;  // worker 0: of the last dense step, if asked for
  SaveDelays save_delays_;
  std::string last_checkpoint_;  // complete
  int64_t saved_step_ = -1;      // of the checkpoint that was begun or restored last
  int64_t start_step_ = 0;
  int64_t rows_trained_ = 0;  // global, since Start()
  bool finished_before_ = false;
  bool stopped_ = false;  // early, on request
  // Buffers of the current step, reused.
  FloatBuffers table_rows_, pooled_, feature_gradients_, row_gradients_;
  UniqueIds last_ids_;
  LossReport losses_;
  std::map<std::string, double> evaluation_;
};

}  // namespace pepnet

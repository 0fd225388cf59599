// TrainSession: what a training run works on: the locked model_dir, the state that the steps change
// (begun, fine-tuned or resumed), the model, and the batches that are left.
//
// Use:     Restore(), then OpenData(). Both are collective operations.
// Threads: one; the batches' readers have their own.
// Failure: model_dir is unlocked and its proof removed with the object, however the run ends.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "common/base/status.h"
#include "worker/checkpoint/model_dir.h"
#include "worker/checkpoint/train_state.h"
#include "worker/context/worker_context.h"
#include "worker/data/history/data_choice.h"
#include "worker/metrics/train_metrics.h"
#include "worker/model/pepnet_model.h"
#include "worker/sparse/prefetcher.h"

namespace pepnet {

class TrainSession {
 public:
  // Borrows the context.
  explicit TrainSession(const WorkerContext* context);

  // Locks model_dir, configures the servers, restores what there is to go on from, and makes the
  // model.
  Status Restore();
  // Opens what is left to train on. Says what is wrong with the evaluation's input now, not behind
  // the training.
  Status OpenData();

  TrainState& state() { return *state_; }
  const TrainState& state() const { return *state_; }
  const TrainCounters& counters() const { return state_->counters; }
  TrainMetrics& metrics() { return metrics_; }
  const TrainMetrics& metrics() const { return metrics_; }
  PepnetModel* model() { return model_.get(); }

  // The checkpoint this run goes on from, "" if it began afresh, and the steps that were finished
  // then.
  const std::string& resumed_from() const { return resumed_from_; }
  int64_t start_step() const { return start_step_; }
  // After OpenData(): true if nothing was left to train on; there is no prefetcher then.
  bool finished_before() const { return prefetcher_ == nullptr; }
  // The number of finished passes over the data with which the passes over the present files end;
  // 0: steps end them.
  int64_t last_epoch() const { return data_.last_epoch; }
  // Once the prefetcher has ended: whether there are files to be read behind those that it read,
  // and the opening of these. A collective operation.
  bool has_next_files() const;
  Status OpenNextFiles();
  Prefetcher* prefetcher() { return prefetcher_.get(); }
  const Prefetcher* prefetcher() const { return prefetcher_.get(); }
  // Whether the step of `batch`, which is done, was the last one of the present files, or of
  // num_steps.
  bool IsLast(const Batch& batch) const;
  // Of this worker, for all files that it read.
  ReadCounts read_counts() const;
  EncodeCounts encode_counts() const;

  // The step of `batch` is done: counts it, and moves on in the data.
  void FinishStep(const Batch& batch);

 private:
  // Locks model_dir, proves that all workers see it, and returns the checkpoint to resume from (""
  // for a fresh start).
  StatusOr<std::string> EnterModelDir();
  Status StartFresh();
  Status Resume(const std::string& checkpoint);
  void LogResumed(const std::string& directory) const;
  Status OpenFiles();
  // The workers of this host.
  StatusOr<ReaderGroup> FindReaderGroup();

  const WorkerContext& context_;
  const JobConfig& config_;
  std::optional<ModelDirLock> lock_;  // worker 0
  std::string nonce_;                 // path of the file that proves a shared model_dir
  std::unique_ptr<TrainState> state_;
  TrainMetrics metrics_;
  std::unique_ptr<PepnetModel> model_;
  DataChoice data_;  // of the files that are open, and of those behind them
  std::unique_ptr<Prefetcher> prefetcher_;
  int opened_ = 0;             // OpenFiles()
  ReadCounts earlier_counts_;  // of prefetchers that are gone
  EncodeCounts earlier_encode_counts_;
  std::string resumed_from_;
  int64_t start_step_ = 0;
};

}  // namespace pepnet

// CheckpointSaver: writes checkpoints while training goes on, one at a time. Only worker 0 has one.
//
// At the step:    Begin() makes the temporary directory, copies the dense state, and asks the
//                 servers for their rows.
// In background:  the thread "checkpoint" writes the dense files, waits until all servers have
//                 written and synced theirs, writes the manifest, renames, syncs, and removes
//                 checkpoints beyond `keep`.
// Threads:        all methods from one thread. The client is used by "checkpoint" only for
//                 FinishSave().
// Failure:        an error of the background part is returned by the next Check() or Wait(), and
//                 the checkpoint does not exist. The destructor gives a running save up.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>

#include "common/base/status.h"
#include "common/checkpoint/checkpoint.h"
#include "worker/checkpoint/train_state.h"
#include "worker/sparse/ps_client.h"

namespace pepnet {

// Sums over the checkpoints of a run, largest values of any.
struct SaveCosts {
  int64_t checkpoints = 0;
  int64_t copied_rows = 0, waits = 0;
  uint64_t copied_bytes = 0, peak_bytes = 0;  // peak: of one server
  double longest_hold_seconds = 0;            // of one step of a server
  double longest_copy_seconds = 0;            // Begin(): what the training step waits for
};

class CheckpointSaver {
 public:
  // Keeps the newest `keep` checkpoints, 0: all. Borrows the client.
  CheckpointSaver(PsClient* client, std::string model_dir, int64_t keep);
  ~CheckpointSaver();

  // Saves `state` as of manifest.step; `manifest` lacks only files and parts. The checkpoint of
  // `best_step`, -1: none, stays beside the newest ones. Precondition: no save is running.
  Status Begin(Manifest manifest, TrainState& state, int64_t best_step = -1);
  bool running() const { return thread_.joinable() && !ended_; }
  // The error of a save that has ended; OK while one is running. Does not wait.
  Status Check();
  // Waits for a running save. The path of the last checkpoint written, "" if there is none.
  StatusOr<std::string> Wait();

  // Precondition: no save is running.
  const SaveCosts& costs() const { return costs_; }

 private:
  Status Write(CheckpointWriter writer, Manifest manifest, int64_t best_step);

  PsClient* const client_;
  const std::string model_dir_;
  const int64_t keep_;
  // Belong to the thread "checkpoint" from its start until `ended_`, to the caller otherwise.
  DenseImage image_;
  std::string last_path_;
  SaveCosts costs_;
  Status status_;

  std::atomic<bool> cancelled_ = false;
  // Stored when all of the above is final; loaded before it is read.
  std::atomic<bool> ended_ = false;
  std::thread thread_;  // started by Begin(), joined by Wait() or the destructor
};

}  // namespace pepnet

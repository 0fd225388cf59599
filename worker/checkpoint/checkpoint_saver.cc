#include "worker/checkpoint/checkpoint_saver.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/base/log_functions.h"
#include "common/base/threads.h"
#include "common/process/trace.h"

namespace pepnet {
namespace {

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

CheckpointSaver::CheckpointSaver(PsClient* client, std::string model_dir, int64_t keep)
    : client_(client), model_dir_(std::move(model_dir)), keep_(keep) {}

CheckpointSaver::~CheckpointSaver() {
  // The thread looks at it while it waits for the servers. What it leaves has no manifest and a
  // temporary name: a later save removes it as stale.
  cancelled_ = true;
  if (thread_.joinable()) thread_.join();
}

Status CheckpointSaver::Begin(Manifest manifest, TrainState& state, int64_t best_step) {
  CheckOrDie(!thread_.joinable(), "a save is running");
  const Clock::time_point start = Clock::now();
  PEPNET_ASSIGN_OR_RETURN(CheckpointWriter writer,
                          CheckpointWriter::Begin(model_dir_, manifest.step));
  // The servers are asked first: they copy their rows while this thread copies the dense state.
  // Both see the step that has just finished, because the next push comes after this function.
  PEPNET_RETURN_IF_ERROR(client_->StartSave(writer.temporary_directory(), manifest.step));
  CopyDenseState(state, &image_);
  costs_.longest_copy_seconds = std::max(costs_.longest_copy_seconds, SecondsSince(start));
  // The flag is cleared before the thread starts, so that running() is true from here on.
  ended_ = false;
  thread_ = StartThread("checkpoint", [this, writer = std::move(writer),
                                       manifest = std::move(manifest), best_step]() mutable {
    status_ = Caught([&] { return Write(std::move(writer), std::move(manifest), best_step); });
    ended_ = true;
  });
  return absl::OkStatus();
}

Status CheckpointSaver::Write(CheckpointWriter writer, Manifest manifest, int64_t best_step) {
  const TraceScope scope("write checkpoint");
  const Clock::time_point start = Clock::now();
  // The dense files are written while the servers write theirs.
  PEPNET_RETURN_IF_ERROR(WriteDenseFiles(image_, writer, &manifest.files));
  PEPNET_ASSIGN_OR_RETURN(SavedTables saved, client_->FinishSave(manifest.step, cancelled_));
  manifest.parts = std::move(saved.parts);
  manifest.candidates = std::move(saved.candidates);
  manifest.filters = std::move(saved.filters);
  manifest.event_times = std::move(saved.event_times);
  // The manifest and the final name come last (law L6): until here the checkpoint does not exist.
  // Only then old ones go: at no moment there are fewer than `keep` complete ones.
  PEPNET_ASSIGN_OR_RETURN(last_path_, writer.Commit(manifest));
  PEPNET_RETURN_IF_ERROR(PruneCheckpoints(model_dir_, keep_, best_step));
  ++costs_.checkpoints;
  costs_.copied_rows += saved.copied_rows;
  costs_.waits += saved.waits;
  costs_.copied_bytes += saved.copied_bytes;
  costs_.peak_bytes = std::max(costs_.peak_bytes, saved.peak_bytes);
  costs_.longest_hold_seconds = std::max(costs_.longest_hold_seconds, saved.longest_hold_seconds);
  LogInfo(absl::StrFormat("saved %s in %.2f s", last_path_, SecondsSince(start)));
  LogVerbose(absl::StrFormat(
      "%s was written while training went on; %d rows, %d of them (%.1f MB) copied before they "
      "changed",
      last_path_, saved.rows, saved.copied_rows, static_cast<double>(saved.copied_bytes) / 1e6));
  return absl::OkStatus();
}

Status CheckpointSaver::Check() {
  if (!thread_.joinable() || !ended_) return absl::OkStatus();
  thread_.join();
  return status_;
}

StatusOr<std::string> CheckpointSaver::Wait() {
  if (thread_.joinable()) {
    thread_.join();
    PEPNET_RETURN_IF_ERROR(status_);
  }
  return last_path_;
}

}  // namespace pepnet

// Checkpoint directories: model_dir/model.ckpt-<finished steps>/ (design section 7).
//
// A checkpoint is complete or it does not exist: everything is written into
// model_dir/.tmp.model.ckpt-N, each file fsynced; then manifest.json (last, with its own checksum),
// fsync of the directory, rename, fsync of model_dir. manifest.h draws the manifest.
//
// Threads: no state; one thread per directory.
// Failure: a damaged checkpoint is DataLoss naming the file (and offset where known); none at all
// is NotFound.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/checkpoint/manifest.h"

namespace pepnet {

// Writer side, used by worker 0 (servers write their parts into temporary_directory() in between).
class CheckpointWriter {
 public:
  // Removes a stale temporary directory of the same step and makes a fresh one. AlreadyExists if
  // the step has a complete checkpoint; a model.ckpt-N without a manifest is renamed to
  // model.ckpt-N.damaged, with a warning.
  static StatusOr<CheckpointWriter> Begin(const std::string& model_dir, int64_t step);
  const std::string& temporary_directory() const { return temporary_; }
  // Writes a small file (trainer.json) with fsync.
  StatusOr<FileEntry> WriteFile(const std::string& name, const std::string& contents);
  // Checks that every file of the manifest is there with its size, writes the manifest, renames,
  // fsyncs. Returns the final path.
  StatusOr<std::string> Commit(const Manifest& manifest);

 private:
  std::string model_dir_, temporary_, final_;
};

// Steps of all complete checkpoints (a manifest that exists), ascending. Temporary directories are
// ignored. A model_dir that does not exist has none.
StatusOr<std::vector<int64_t>> ListCheckpoints(const std::string& model_dir);

// Steps of all model.ckpt-N directories, complete or not, ascending.
StatusOr<std::vector<int64_t>> ListCheckpointDirectories(const std::string& model_dir);

// `path` is a checkpoint directory under any name, or the parent of model.ckpt-N directories (the
// largest N). NotFound if there is none; DataLoss for a model.ckpt-N directory without a manifest,
// the largest of a parent included.
StatusOr<std::string> ResolveCheckpoint(const std::string& path);

// Reads every file: sizes and crc32c; with `deep`, bucket digests too. With `contents` false only
// sizes (--no_verify).
Status VerifyCheckpoint(const std::string& directory, const Manifest& manifest,
                        bool contents = true, bool deep = false);

// Removes all but the newest `keep` checkpoints (0 keeps all) and stale temporary directories.
// `keep_step` is never removed.
Status PruneCheckpoints(const std::string& model_dir, int64_t keep, int64_t keep_step);

std::string CheckpointName(int64_t step);  // "model.ckpt-17"

}  // namespace pepnet

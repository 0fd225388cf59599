// ModelDirLock: one job per model_dir, and one model_dir for all ranks.
//
// The lock is an flock on model_dir/.lock: it goes with the process, however that ends. The nonce
// is a file that worker 0 makes and every other rank must see: it proves that model_dir is one
// directory shared by all hosts.
// Ownership: unlocks and removes the nonce with the object.
#pragma once

#include <string>
#include <utility>

#include "common/base/status.h"
#include "common/file/owned_fd.h"

namespace pepnet {

class ModelDirLock {
 public:
  // Makes model_dir if needed. FailedPrecondition if another job holds it.
  static StatusOr<ModelDirLock> Acquire(const std::string& model_dir);
  ModelDirLock(ModelDirLock&&) noexcept = default;
  ModelDirLock& operator=(ModelDirLock&&) = delete;
  ~ModelDirLock();

  // Path of the nonce file.
  const std::string& nonce() const { return nonce_; }

 private:
  explicit ModelDirLock(OwnedFd fd) : fd_(std::move(fd)) {}
  OwnedFd fd_;  // the lock goes with it
  std::string nonce_;
};

// Writes model_dir/pipeline.config: `effective_text` behind a line that says whose file it is. What
// has the name without such a line is not pepnet's (a user's own config, say): it is kept as
// pipeline.config.1 (or .2, ...), with a warning.
Status WriteEffectiveConfig(const std::string& model_dir, const std::string& effective_text);

}  // namespace pepnet

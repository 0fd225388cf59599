// ModelDirLock: one job per model_dir, and one model_dir for all ranks.
//
// The lock is an flock on model_dir/.lock: it goes with the process, however that ends. The nonce is a file that worker 0 makes
// and every other rank must see: it proves that model_dir is one directory shared by all hosts.
// Ownership: unlocks and removes the nonce with the object.
#pragma once

#include <string>

#include "common/base/status.h"

namespace pepnet {

class ModelDirLock {
 public:
  // Makes model_dir if needed. FailedPrecondition if another job holds it.
  static StatusOr<ModelDirLock> Acquire(const std::string& model_dir);
  ModelDirLock(ModelDirLock&& other) noexcept;
  ModelDirLock& operator=(ModelDirLock&&) = delete;
  ~ModelDirLock();

  // Path of the nonce file.
  const std::string& nonce() const { return nonce_; }

 private:
  ModelDirLock(int fd, std::string nonce) : fd_(fd), nonce_(std::move(nonce)) {}
  int fd_;
  std::string nonce_;
};

}  // namespace pepnet

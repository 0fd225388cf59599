#include "worker/checkpoint/model_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "common/file/file.h"

namespace pepnet {
namespace {

// What killed jobs left: their nonces, and files that an atomic write had not renamed yet.
Status RemoveLeftovers(const std::string& model_dir) {
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(model_dir));
  for (const std::string& name : names) {
    for (const char* prefix : {".nonce-", "pipeline.config.tmp.", "metrics.jsonl.tmp.", "train_eval_result.txt.tmp.",
                               "job_report.json.tmp."}) {
      if (name.rfind(prefix, 0) == 0) PEPNET_RETURN_IF_ERROR(RemoveTree(absl::StrCat(model_dir, "/", name)));
    }
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<ModelDirLock> ModelDirLock::Acquire(const std::string& model_dir) {
  PEPNET_RETURN_IF_ERROR(MakeDirectories(model_dir));
  const std::string path = absl::StrCat(model_dir, "/.lock");
  OwnedFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!fd.valid()) return absl::UnavailableError(absl::StrCat("cannot open ", path, ": ", std::strerror(errno)));
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    const int reason = errno;
    if (reason == EWOULDBLOCK) {
      return absl::FailedPreconditionError(
          absl::StrCat("another job is training into ", model_dir, "; wait for it, or choose another --model_dir"));
    }
    return absl::UnavailableError(absl::StrCat("cannot lock ", path, ": ", std::strerror(reason)));
  }
  ModelDirLock lock(std::move(fd));
  PEPNET_RETURN_IF_ERROR(RemoveLeftovers(model_dir));
  const int64_t now = std::chrono::system_clock::now().time_since_epoch().count();
  lock.nonce_ = absl::StrCat(model_dir, "/.nonce-", getpid(), "-", now);
  PEPNET_RETURN_IF_ERROR(WriteFileAtomically(lock.nonce_, "every rank of the job must see this file\n"));
  return lock;
}

ModelDirLock::~ModelDirLock() {
  if (fd_.valid() && !nonce_.empty()) unlink(nonce_.c_str());
}

}  // namespace pepnet

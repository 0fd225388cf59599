#include "worker/checkpoint/model_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/base/log_functions.h"
#include "common/file/file.h"
#include "worker/checkpoint/best_checkpoint.h"

namespace pepnet {
namespace {

constexpr char kConfigName[] = "pipeline.config";
constexpr char kConfigBeginning[] =
    "# The effective config of this run, written by pepnet train.\n";
constexpr char kNonceText[] = "every rank of the job must see this file\n";

// ".nonce-<process id>-<time>".
bool IsNonceName(const std::string& name) {
  const std::vector<absl::string_view> pieces = absl::StrSplit(name, '-');
  int64_t number = 0;
  return pieces.size() == 3 && pieces[0] == ".nonce" && absl::SimpleAtoi(pieces[1], &number) &&
         absl::SimpleAtoi(pieces[2], &number);
}

bool IsLeftover(const std::string& name) {
  for (const char* written : {kConfigName, "metrics.jsonl", "train_eval_result.txt",
                              "job_report.json", kBestCheckpointFile}) {
    if (IsTemporaryNameOf(name, written)) return true;
  }
  // A nonce, or one that was not renamed yet.
  const size_t dot = name.find('.', 1);
  const std::string nonce = name.substr(0, dot);
  return IsNonceName(nonce) && (dot == std::string::npos || IsTemporaryNameOf(name, nonce));
}

// Removes what killed jobs left: their nonces, and files that an atomic write had not renamed yet.
// Only files: other things of such a name are somebody else's. The lock is held, so no living job
// owns any of them.
Status RemoveLeftovers(const std::string& model_dir) {
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(model_dir));
  for (const std::string& name : names) {
    const std::string path = absl::StrCat(model_dir, "/", name);
    struct stat info;
    if (IsLeftover(name) && lstat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode)) {
      PEPNET_RETURN_IF_ERROR(RemoveTree(path));
    }
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<ModelDirLock> ModelDirLock::Acquire(const std::string& model_dir) {
  PEPNET_RETURN_IF_ERROR(MakeDirectories(model_dir));
  const std::string path = absl::StrCat(model_dir, "/.lock");
  // With O_NOFOLLOW, a link planted under this name cannot have another file opened or created as
  // this user.
  OwnedFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd.valid()) {
    return absl::UnavailableError(absl::StrCat("cannot open ", path, ": ", std::strerror(errno)));
  }
  // flock() goes with the process, however it dies, so no lock is ever stale; a file that is merely
  // there would be.
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    const int reason = errno;
    if (reason == EWOULDBLOCK) {
      return absl::FailedPreconditionError(
          absl::StrCat("another job is training into ", model_dir,
                       "; wait for it, or choose another --model_dir"));
    }
    return absl::UnavailableError(absl::StrCat("cannot lock ", path, ": ", std::strerror(reason)));
  }
  ModelDirLock lock(std::move(fd));
  PEPNET_RETURN_IF_ERROR(RemoveLeftovers(model_dir));
  const int64_t now = std::chrono::system_clock::now().time_since_epoch().count();
  // The name holds process id and time, so that another run's nonce does not pass for this one's.
  lock.nonce_ = absl::StrCat(model_dir, "/.nonce-", getpid(), "-", now);
  PEPNET_RETURN_IF_ERROR(WriteFileAtomically(lock.nonce_, kNonceText));
  return lock;
}

Status WriteEffectiveConfig(const std::string& model_dir, const std::string& effective_text) {
  const std::string path = absl::StrCat(model_dir, "/", kConfigName);
  if (!CheckReplaceable(kConfigName, path, {kConfigBeginning}).ok()) {
    std::string kept;
    // Numbers that are taken are skipped. RenameToNewName() looks and then moves; between the two
    // the ModelDirLock of the caller keeps other jobs out.
    Status renamed = absl::AlreadyExistsError("");
    for (int number = 1; absl::IsAlreadyExists(renamed); ++number) {
      kept = absl::StrCat(path, ".", number);
      renamed = RenameToNewName(path, kept);
    }
    PEPNET_RETURN_IF_ERROR(renamed);
    LogWarning(absl::StrCat(path, " was not written by pepnet train; it is kept as ", kept));
  }
  return WriteFileAtomically(path, kConfigBeginning + effective_text);
}

ModelDirLock::~ModelDirLock() {
  // The nonce goes before the lock, which the member's destructor releases: a job that gets the
  // lock next finds no nonce of ours.
  if (fd_.valid() && !nonce_.empty()) unlink(nonce_.c_str());
}

}  // namespace pepnet

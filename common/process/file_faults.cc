#include "common/process/file_faults.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "absl/strings/str_cat.h"

#include "common/base/log_functions.h"

namespace pepnet {
namespace {

const char* NameOf(FileOperation operation) {
  switch (operation) {
    case FileOperation::kWrite:
      return "write";
    case FileOperation::kSync:
      return "fsync";
    case FileOperation::kRename:
      return "rename";
  }
  return "unknown";
}

// The others are those of steps and messages, which other code carries out.
bool IsFileFault(const Fault& fault) {
  switch (fault.kind) {
    case FaultKind::kKill:
      return !fault.point.empty();
    case FaultKind::kFailWrite:
    case FaultKind::kFailSync:
    case FaultKind::kFailRename:
    case FaultKind::kDiskFull:
    case FaultKind::kBitFlip:
      return true;
    case FaultKind::kStop:
    case FaultKind::kDelay:
    case FaultKind::kDropReply:
      return false;
  }
  return false;
}

}  // namespace

void KillThisProcess(const std::string& why) {
  LogWarning(absl::StrCat("injected fault: SIGKILL ", why));
  ::kill(::getpid(), SIGKILL);
  while (true) ::pause();  // the signal is on its way
}

// The hook is process-wide: every write of this process goes through Before() and After() from here
// on.
FileFaults::FileFaults(const std::vector<Fault>& plan, int rank) {
  MutexLock lock(&mutex_);
  for (const Fault& fault : plan) {
    if (IsFileFault(fault) && fault.MeetsRank(rank)) armed_.push_back({fault});
  }
  InstallFileHook(this);
}

FileFaults::~FileFaults() { InstallFileHook(nullptr); }

int64_t FileFaults::fired() const {
  MutexLock lock(&mutex_);
  return fired_;
}

// True for the n-th call whose path meets the fault's.
bool FileFaults::Counts(Armed& armed, const std::string& path) {
  if (path.find(armed.fault.path) == std::string::npos) return false;
  return ++armed.passed == armed.fault.nth;
}

// SIGKILL and not an exit: no destructor and no handler runs, as when a machine takes the process
// away.
void FileFaults::KillAt(const char* moment, FileOperation operation, const std::string& path) {
  const std::string point = absl::StrCat(moment, "_", NameOf(operation));
  for (Armed& armed : armed_) {
    if (armed.fault.kind != FaultKind::kKill || armed.fault.point != point ||
        !Counts(armed, path)) {
      continue;
    }
    ++fired_;
    KillThisProcess(absl::StrCat(point, " of ", path, " (", armed.fault.text, ")"));
  }
}

FileHook::Verdict FileFaults::Before(FileOperation operation, const std::string& path,
                                     std::string_view data) {
  MutexLock lock(&mutex_);
  KillAt("before", operation, path);
  Verdict verdict{0, data};
  for (Armed& armed : armed_) {
    const Fault& fault = armed.fault;
    const auto act = [&](int error) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      ++fired_;
      verdict.error = error;
      LogWarning(
          absl::StrCat("injected fault: ", NameOf(operation), " of ", path, " (", fault.text, ")"));
    };
    if ((fault.kind == FaultKind::kFailSync && operation == FileOperation::kSync) ||
        (fault.kind == FaultKind::kFailRename && operation == FileOperation::kRename)) {
      if (Counts(armed, path)) act(EIO);
    }
    if (operation != FileOperation::kWrite) continue;
    if (fault.kind == FaultKind::kFailWrite && Counts(armed, path)) {
      act(EIO);
      verdict.data = data.substr(0, data.size() / 2);  // a failed write may have left a part
    } else if (fault.kind == FaultKind::kDiskFull && path.find(fault.path) != std::string::npos) {
      // A full disk takes what fits and refuses the rest; it stays full for all later writes.
      const auto room = static_cast<size_t>(std::max<int64_t>(0, fault.after_bytes - armed.passed));
      armed.passed += static_cast<int64_t>(std::min(room, data.size()));
      if (room < data.size()) {
        act(ENOSPC);
        verdict.data = data.substr(0, room);
      }
    } else if (fault.kind == FaultKind::kBitFlip && !data.empty() && Counts(armed, path)) {
      act(0);
      // The caller's bytes stay as they are, and its checksum with them: the damage happens on the
      // way.
      altered_ = std::string(data);
      const auto bit = static_cast<size_t>(fault.bit) % (8 * altered_.size());
      altered_[bit / 8] = static_cast<char>(altered_[bit / 8] ^ (1 << (bit % 8)));
      verdict.data = altered_;
    } else if (fault.kind == FaultKind::kKill && fault.point == "mid_write" &&
               Counts(armed, path)) {
      // The first half is written and then the process dies in After(): a torn write.
      torn_write_ = true;
      verdict.data = data.substr(0, data.size() / 2);
    }
  }
  return verdict;
}

void FileFaults::After(FileOperation operation, const std::string& path) {
  MutexLock lock(&mutex_);
  if (torn_write_) KillThisProcess(absl::StrCat("in the middle of a write to ", path));
  KillAt("after", operation, path);
}

}  // namespace pepnet

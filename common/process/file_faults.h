// FileFaults: the file part of a fault plan, as a hook of the file layer.
//
// Threads: any; one lock around the counters.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "common/base/mutex.h"
#include "common/file/file_hook.h"
#include "common/process/fault_plan.h"

namespace pepnet {

class FileFaults : public FileHook {
 public:
  // Keeps the plan's file faults for `rank` and installs itself; removed with the object.
  FileFaults(const std::vector<Fault>& plan, int rank);
  ~FileFaults() override;
  FileFaults(const FileFaults&) = delete;
  FileFaults& operator=(const FileFaults&) = delete;

  Verdict Before(FileOperation operation, const std::string& path, std::string_view data) override;
  void After(FileOperation operation, const std::string& path) override;

  // The number of times that a fault of this plan has acted.
  int64_t fired() const;

 private:
  struct Armed {
    Fault fault;
    int64_t passed = 0;  // calls (or bytes, for enospc) that counted so far
  };
  bool Counts(Armed& armed, const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void KillAt(const char* moment, FileOperation operation, const std::string& path)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex mutex_;
  std::vector<Armed> armed_ ABSL_GUARDED_BY(mutex_);
  std::string altered_ ABSL_GUARDED_BY(mutex_);      // a write with a flipped bit
  bool torn_write_ ABSL_GUARDED_BY(mutex_) = false;  // the write under way is to be the last one
  int64_t fired_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Ends this process as kill -9 would.
[[noreturn]] void KillThisProcess(const std::string& why);

}  // namespace pepnet

// FileHook: what every write, fsync and rename of this process passes before and after it is made.
// The product runs without one; --inject installs FileFaults.
//
// Threads: any thread writes files, so an implementation locks. Installed and removed while no
// other thread writes.
#pragma once

#include <string>
#include <string_view>

namespace pepnet {

enum class FileOperation { kWrite, kSync, kRename };

class FileHook {
 public:
  virtual ~FileHook() = default;
  // The outcome instead: `error` (an errno value) is reported after `data` has been written;
  // 0 and the data it was given let the operation pass. `data` is empty for kSync and kRename; a
  // returned view lives until After().
  struct Verdict {
    int error = 0;
    std::string_view data;
  };
  virtual Verdict Before(FileOperation operation, const std::string& path,
                         std::string_view data) = 0;
  virtual void After(FileOperation operation, const std::string& path) = 0;
};

// nullptr removes it. The hook outlives its installation.
void InstallFileHook(FileHook* hook);

}  // namespace pepnet

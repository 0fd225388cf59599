// Files the careful way: every write is checked, fsynced, and only then renamed into place.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/file/owned_fd.h"

namespace pepnet {

// Errors name the path and errno's text.
StatusOr<std::string> ReadFile(const std::string& path);
// Temporary file beside `path`, write, fsync, rename, fsync of the directory.
Status WriteFileAtomically(const std::string& path, const std::string& contents);
// Checked but not synced: for logs. Creates the file if need be.
Status AppendToFile(const std::string& path, const std::string& contents);
Status MakeDirectories(const std::string& path);
Status RemoveTree(const std::string& path);
Status RenameAndSync(const std::string& from, const std::string& to);
Status SyncDirectory(const std::string& path);
bool PathExists(const std::string& path);
bool IsDirectory(const std::string& path);
StatusOr<std::vector<std::string>> ListDirectory(const std::string& path);  // names, sorted

// Sequential writer with running size and crc32c. Small pieces are gathered, large ones go out without a copy. The disk is put
// to work while the file is written: at the fsync at the end only the last few megabytes are not there yet.
class FileWriter {
 public:
  static StatusOr<std::unique_ptr<FileWriter>> Create(const std::string& path);
  // The destructor closes without syncing if Finish() was not called.
  Status Append(const void* data, size_t bytes);
  // The same for bytes that go out at once and are summed already: `crc32c` is that of the file with them.
  Status AppendSummed(const void* data, size_t bytes, uint32_t crc32c);
  // From now on writes go past the page cache where the file stands on a local disk that can; writes that are not whole,
  // aligned pages (kPageBytes) end that. Bytes that nobody reads soon then cost no copy and no memory.
  void BypassCache();
  static constexpr size_t kPageBytes = 4096;
  Status Finish();  // flush, fsync, close
  int64_t bytes() const { return bytes_; }
  uint32_t crc32c() const { return crc32c_; }

 private:
  FileWriter(std::string path, OwnedFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  Status Closed() const;
  Status Flush();
  Status WriteOut(const char* data, size_t bytes);
  std::string path_;
  OwnedFd fd_;
  int64_t written_ = 0;  // bytes that the system has
  int64_t started_ = 0;  // bytes that the system was told to bring to the disk
  std::string buffer_;
  int64_t bytes_ = 0;
  uint32_t crc32c_ = 0;
};

// Size and crc32c of a whole file.
struct FileSum {
  int64_t bytes = 0;
  uint32_t crc32c = 0;
};
StatusOr<FileSum> SumFile(const std::string& path);

}  // namespace pepnet

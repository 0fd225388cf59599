// Files the careful way: every write is checked, fsynced, and only then renamed into place.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/file/owned_fd.h"

namespace pepnet {

constexpr int64_t kMaxReadBytes = int64_t{4} << 30;

// Errors name the path and errno's text. Only regular files of at most `max_bytes` are read: a pipe
// would be waited for, and a device has no end.
StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes = kMaxReadBytes);
// Writes a new file beside `path` (TemporaryName()), syncs it, renames it to `path` and syncs the
// directory. After an error `path` is the old file or the new one, never a part of it.
Status WriteFileAtomically(const std::string& path, const std::string& contents);
// OK if nothing stands at `path`, or an empty file, or a file that begins with one of `beginnings`,
// which is how this program's own files of that kind begin. `flag` names the path in the error.
Status CheckReplaceable(const std::string& flag, const std::string& path,
                        const std::vector<std::string_view>& beginnings);
// Checked but not synced: for logs. Creates the file if need be. One write, so that two programs
// that append do not mix lines.
Status AppendToFile(const std::string& path, const std::string& contents);
Status MakeDirectories(const std::string& path);
Status RemoveTree(const std::string& path);
Status RenameAndSync(const std::string& from, const std::string& to);
// The same, but AlreadyExists if anything has the new name.
Status RenameToNewName(const std::string& from, const std::string& to);
Status SyncDirectory(const std::string& path);
bool PathExists(const std::string& path);
// True for a link that leads nowhere, too.
bool NameIsTaken(const std::string& path);
bool IsDirectory(const std::string& path);
StatusOr<std::vector<std::string>> ListDirectory(const std::string& path);  // names, sorted

// Names of what is not finished: "<path>.tmp." and 16 hexadecimal digits that nobody can guess.
std::string TemporaryName(const std::string& path);
// True if TemporaryName() of a path that ends in `name` may have made `temporary`, the last
// component of a path.
bool IsTemporaryNameOf(const std::string& temporary, const std::string& name);

// A directory under a TemporaryName(), made with it and removed with the object unless it was
// released: what a failure leaves behind is nothing.
class ScratchDirectory {
 public:
  // Beside `path`, whose parent must exist.
  static StatusOr<ScratchDirectory> MakeBeside(const std::string& path);
  ScratchDirectory(ScratchDirectory&& other) noexcept
      : path_(std::exchange(other.path_, std::string())) {}
  ScratchDirectory& operator=(ScratchDirectory&&) = delete;
  ~ScratchDirectory();

  const std::string& path() const { return path_; }
  // It has got a name of its own and stays.
  void Release() { path_.clear(); }

 private:
  explicit ScratchDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// Sequential writer with running size and crc32c. Small pieces are gathered, large ones go out
// without a copy. The disk is put to work while the file is written: at the fsync at the end only
// the last few megabytes are not there yet.
class FileWriter {
 public:
  static StatusOr<std::unique_ptr<FileWriter>> Create(const std::string& path);
  // The destructor closes without syncing if Finish() was not called.
  Status Append(const void* data, size_t bytes);
  // The same for bytes that go out at once and are summed already: `crc32c` is that of the file
  // with them.
  Status AppendChecksummed(const void* data, size_t bytes, uint32_t crc32c);
  // From now on writes go past the page cache where the file stands on a local disk that can;
  // writes that are not whole, aligned pages (kPageBytes) end that. Bytes that nobody reads soon
  // then cost no copy and no memory.
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
struct FileChecksum {
  int64_t bytes = 0;
  uint32_t crc32c = 0;
};
StatusOr<FileChecksum> ChecksumFile(const std::string& path);

}  // namespace pepnet

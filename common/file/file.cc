#include "common/file/file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"

#include "common/file/crc32c.h"
#include "common/file/current_directory.h"
#include "common/file/file_hook.h"

namespace pepnet {
namespace {

constexpr size_t kBlockBytes = size_t{1} << 20;
constexpr int64_t kWriteBackBytes = int64_t{8} << 20;
constexpr char kTemporaryMark[] = ".tmp.";

// Set while a fault plan is active; read by every thread that writes.
std::atomic<FileHook*> g_hook = nullptr;

// Runs `operation` between the hook's Before() and After(). `operation(data)` returns 0 or an errno
// value.
template <typename Operation>
int Hooked(FileOperation kind, const std::string& path, std::string_view data,
           const Operation& operation) {
  FileHook* const hook = g_hook.load();
  if (hook == nullptr) return operation(data);
  const FileHook::Verdict verdict = hook->Before(kind, path, data);
  // A failing write may have written a part; a failing fsync or rename has not happened.
  const int error = verdict.error == 0 || !verdict.data.empty() ? operation(verdict.data) : 0;
  hook->After(kind, path);
  return error != 0 ? error : verdict.error;
}

// True if writes went past the page cache until now.
bool StopBypassingCache(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && (flags & O_DIRECT) != 0 && ::fcntl(fd, F_SETFL, flags & ~O_DIRECT) == 0;
}

int WriteFully(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t written = ::write(fd, data.data(), data.size());
    if (written < 0) {
      const int error = errno;
      if (error == EINTR) continue;
      // O_DIRECT takes whole, aligned pages. The last write of a file seldom is that, and the same
      // descriptor goes on through the page cache.
      if (error == EINVAL && StopBypassingCache(fd)) continue;
      return error;
    }
    data.remove_prefix(static_cast<size_t>(written));
  }
  return 0;
}

// "cannot <verb> <path>: <text of errno>", with the code that fits.
Status FileError(const char* verb, const std::string& path, int error) {
  const std::string message = absl::StrCat("cannot ", verb, " ", path, ": ", std::strerror(error),
                                           error == ENOENT ? CurrentDirectoryNote(path) : "");
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(message);
    case EEXIST:
      return absl::AlreadyExistsError(message);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(message);
    case ENOSPC:
    case EDQUOT:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::UnknownError(message);
  }
}

StatusOr<OwnedFd> Open(const char* verb, const std::string& path, int flags) {
  while (true) {
    OwnedFd fd(::open(path.c_str(), flags | O_CLOEXEC, 0666));
    if (fd.valid()) return fd;
    if (errno != EINTR) return FileError(verb, path, errno);
  }
}

// Opens for reading, without waiting for the other end of a pipe; what is no regular file is
// refused.
StatusOr<OwnedFd> OpenRegular(const std::string& path) {
  PEPNET_ASSIGN_OR_RETURN(OwnedFd fd, Open("open", path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) return FileError("read", path, errno);
  if (S_ISDIR(info.st_mode)) return FileError("read", path, EISDIR);
  if (!S_ISREG(info.st_mode)) {
    return InvalidInput("cannot read ", path, ": it is a ",
                        S_ISFIFO(info.st_mode) ? "pipe" : "device or socket",
                        ", expected a regular file");
  }
  return fd;
}

Status WriteAll(int fd, const std::string& path, const char* data, size_t bytes) {
  const int error = Hooked(FileOperation::kWrite, path, {data, bytes},
                           [&](std::string_view part) { return WriteFully(fd, part); });
  return error == 0 ? absl::OkStatus() : FileError("write", path, error);
}

Status SyncFile(int fd, const std::string& path) {
  const int error = Hooked(FileOperation::kSync, path, {},
                           [&](std::string_view) { return ::fsync(fd) == 0 ? 0 : errno; });
  return error == 0 ? absl::OkStatus() : FileError("sync", path, error);
}

// 0 or an errno value. The hook sees the new name.
int Rename(const std::string& from, const std::string& to) {
  return Hooked(FileOperation::kRename, to, {}, [&](std::string_view) {
    return ::rename(from.c_str(), to.c_str()) == 0 ? 0 : errno;
  });
}

// OK, or the error that close() has held back until now.
Status CloseFile(OwnedFd* fd, const std::string& path) {
  const int error = fd->Close();
  return error == 0 ? absl::OkStatus() : FileError("close", path, error);
}

// A descriptor and the path for its errors.
class File {
 public:
  File(std::string path, OwnedFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  Status Write(const std::string& contents) {
    return WriteAll(fd_.get(), path_, contents.data(), contents.size());
  }
  // Up to `bytes` bytes; 0 at the end of the file.
  StatusOr<size_t> Read(char* data, size_t bytes) {
    while (true) {
      const ssize_t got = ::read(fd_.get(), data, bytes);
      if (got >= 0) return static_cast<size_t>(got);
      if (errno != EINTR) return FileError("read", path_, errno);
    }
  }
  Status Sync() { return SyncFile(fd_.get(), path_); }
  Status Close() { return CloseFile(&fd_, path_); }
  // 0 if the system does not say.
  size_t bytes() const {
    struct stat info;
    return ::fstat(fd_.get(), &info) == 0 && info.st_size > 0 ? static_cast<size_t>(info.st_size)
                                                              : 0;
  }

 private:
  const std::string path_;
  OwnedFd fd_;
};

std::string DirectoryOf(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

}  // namespace

void InstallFileHook(FileHook* hook) { g_hook = hook; }

StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes) {
  PEPNET_ASSIGN_OR_RETURN(OwnedFd fd, OpenRegular(path));
  File file(path, std::move(fd));
  std::string contents;
  const auto expected = static_cast<int64_t>(file.bytes());
  if (expected <= max_bytes) contents.reserve(static_cast<size_t>(expected) + 1);
  for (size_t size = 0;;) {
    if (std::max(expected, static_cast<int64_t>(size)) > max_bytes) {
      return InvalidInput("cannot read ", path, ": it has ",
                          std::max(expected, static_cast<int64_t>(size)),
                          " bytes, expected at most ", max_bytes);
    }
    // One byte more than the file should have is asked for: one read takes it all and the next one
    // meets the end. The size is a hint, since files of /proc say 0 and others may grow meanwhile.
    contents.resize(std::max(size + 1, std::min(contents.capacity(), size + kBlockBytes)));
    PEPNET_ASSIGN_OR_RETURN(const size_t got,
                            file.Read(contents.data() + size, contents.size() - size));
    size += got;
    if (got > 0) continue;
    contents.resize(size);
    return contents;
  }
}

Status WriteFileAtomically(const std::string& path, const std::string& contents) {
  // A name of its own: neither another writer of the path nor a link that somebody planted is
  // written through.
  const std::string temporary = TemporaryName(path);
  bool made = false;
  const auto write = [&]() -> Status {
    PEPNET_ASSIGN_OR_RETURN(OwnedFd fd,
                            Open("create", temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW));
    made = true;
    File file(temporary, std::move(fd));
    PEPNET_RETURN_IF_ERROR(file.Write(contents));
    PEPNET_RETURN_IF_ERROR(file.Sync());
    return file.Close();
  };
  Status status = write();
  if (status.ok()) {
    // A reader sees the old file or the new one, never a part. The fsync before makes sure that the
    // name does not reach the disk before the contents.
    if (const int error = Rename(temporary, path); error != 0) {
      status = FileError("rename a new file to", path, error);
    }
  }
  if (!status.ok()) {
    if (made) ::unlink(temporary.c_str());  // the first error is the one to report
    return status;
  }
  return SyncDirectory(DirectoryOf(path));
}

Status CheckReplaceable(const std::string& flag, const std::string& path,
                        const std::vector<std::string_view>& beginnings) {
  if (!NameIsTaken(path)) return absl::OkStatus();
  StatusOr<OwnedFd> fd = OpenRegular(path);
  if (!fd.ok()) return Annotate(fd.status(), absl::StrCat(flag, " would replace ", path));
  File file(path, *std::move(fd));
  char start[128];
  PEPNET_ASSIGN_OR_RETURN(const size_t got, file.Read(start, sizeof(start)));
  const std::string_view seen(start, got);
  for (const std::string_view beginning : beginnings) {
    if (seen.substr(0, beginning.size()) == beginning) return absl::OkStatus();
  }
  if (seen.empty()) return absl::OkStatus();
  return InvalidInput(flag, " ", path, " is there already and was not written by an earlier ", flag,
                      "; remove it or choose another path");
}

Status AppendToFile(const std::string& path, const std::string& contents) {
  // A pipe that nobody reads is an error instead of a wait.
  PEPNET_ASSIGN_OR_RETURN(OwnedFd fd,
                          Open("append to", path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK));
  File file(path, std::move(fd));
  PEPNET_RETURN_IF_ERROR(file.Write(contents));
  return file.Close();
}

Status MakeDirectories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return FileError("create the directory", path, error.value());
  if (!IsDirectory(path)) return FileError("create the directory", path, ENOTDIR);
  return absl::OkStatus();
}

Status RemoveTree(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  return error ? FileError("remove", path, error.value()) : absl::OkStatus();
}

Status RenameAndSync(const std::string& from, const std::string& to) {
  if (const int error = Rename(from, to); error != 0) {
    return FileError("rename", absl::StrCat(from, " to ", to), error);
  }
  PEPNET_RETURN_IF_ERROR(SyncDirectory(DirectoryOf(to)));
  if (DirectoryOf(from) != DirectoryOf(to)) return SyncDirectory(DirectoryOf(from));
  return absl::OkStatus();
}

Status RenameToNewName(const std::string& from, const std::string& to) {
  if (NameIsTaken(to)) return FileError("rename", absl::StrCat(from, " to ", to), EEXIST);
  return RenameAndSync(from, to);
}

Status SyncDirectory(const std::string& path) {
  PEPNET_ASSIGN_OR_RETURN(OwnedFd fd, Open("open the directory", path, O_RDONLY | O_DIRECTORY));
  File directory(path, std::move(fd));
  PEPNET_RETURN_IF_ERROR(directory.Sync());
  return directory.Close();
}

bool PathExists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

bool NameIsTaken(const std::string& path) {
  std::error_code error;
  return std::filesystem::symlink_status(path, error).type() !=
         std::filesystem::file_type::not_found;
}

bool IsDirectory(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_directory(path, error);
}

StatusOr<std::vector<std::string>> ListDirectory(const std::string& path) {
  std::error_code error;
  std::vector<std::string> names;
  std::filesystem::directory_iterator entry(path, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error) return FileError("list", path, error.value());
  std::sort(names.begin(), names.end());
  return names;
}

std::string TemporaryName(const std::string& path) {
  uint64_t number = 0;
  while (::getrandom(&number, sizeof(number), 0) < 0 && errno == EINTR) continue;
  return absl::StrCat(path, kTemporaryMark, absl::StrFormat("%016x", number));
}

bool IsTemporaryNameOf(const std::string& temporary, const std::string& name) {
  const std::string start = name + kTemporaryMark;
  return temporary.size() == start.size() + 16 && absl::StartsWith(temporary, start) &&
         temporary.find_first_not_of("0123456789abcdef", start.size()) == std::string::npos;
}

StatusOr<ScratchDirectory> ScratchDirectory::MakeBeside(const std::string& path) {
  const std::string name = TemporaryName(path);
  if (::mkdir(name.c_str(), 0777) != 0) return FileError("create the directory", name, errno);
  return ScratchDirectory(name);
}

ScratchDirectory::~ScratchDirectory() {
  // An error that led here is the one to report.
  if (!path_.empty()) RemoveTree(path_).IgnoreError();
}

StatusOr<std::unique_ptr<FileWriter>> FileWriter::Create(const std::string& path) {
  PEPNET_ASSIGN_OR_RETURN(OwnedFd fd, Open("create", path, O_WRONLY | O_CREAT | O_TRUNC));
  return std::unique_ptr<FileWriter>(new FileWriter(path, std::move(fd)));
}

Status FileWriter::Closed() const {
  return absl::FailedPreconditionError(absl::StrCat(
      "cannot write ", path_, ": it is closed (finished, or an earlier write failed)"));
}

Status FileWriter::Append(const void* data, size_t bytes) {
  if (!fd_.valid()) return Closed();
  bytes_ += static_cast<int64_t>(bytes);
  const char* next = static_cast<const char*>(data);
  if (buffer_.size() + bytes > kBlockBytes) PEPNET_RETURN_IF_ERROR(Flush());
  if (bytes < kBlockBytes) {
    crc32c_ = ExtendCrc32c(crc32c_, data, bytes);
    if (bytes > 0) buffer_.append(next, bytes);
    return absl::OkStatus();
  }
  for (size_t left = bytes; left > 0;) {  // summed and written while it is in the cache
    const size_t block = std::min(left, kBlockBytes);
    crc32c_ = ExtendCrc32c(crc32c_, next, block);
    PEPNET_RETURN_IF_ERROR(WriteOut(next, block));
    next += block;
    left -= block;
  }
  return absl::OkStatus();
}

Status FileWriter::AppendChecksummed(const void* data, size_t bytes, uint32_t crc32c) {
  if (!fd_.valid()) return Closed();
  PEPNET_RETURN_IF_ERROR(Flush());
  bytes_ += static_cast<int64_t>(bytes);
  crc32c_ = crc32c;
  return WriteOut(static_cast<const char*>(data), bytes);
}

void FileWriter::BypassCache() {
  struct statfs info;
  if (!fd_.valid() || ::fstatfs(fd_.get(), &info) != 0) return;
  // Network file systems would send each write and wait for the server's disk.
  const auto type = static_cast<uint64_t>(info.f_type);
  if (type != EXT4_SUPER_MAGIC && type != XFS_SUPER_MAGIC) return;
  const int flags = ::fcntl(fd_.get(), F_GETFL);
  // A file system that refuses O_DIRECT leaves the flags as they were: the writes then go through
  // the cache.
  if (flags >= 0) ::fcntl(fd_.get(), F_SETFL, flags | O_DIRECT);
}

Status FileWriter::Flush() {
  if (buffer_.empty()) return absl::OkStatus();
  const Status status = WriteOut(buffer_.data(), buffer_.size());
  buffer_.clear();
  return status;
}

Status FileWriter::WriteOut(const char* data, size_t bytes) {
  const Status status = WriteAll(fd_.get(), path_, data, bytes);
  if (!status.ok()) {
    // After a failed write the file's contents are unknown: close it, so that a later call cannot
    // call it finished.
    (void)fd_.Close();
    return status;
  }
  written_ += static_cast<int64_t>(bytes);
  if (written_ - started_ >= kWriteBackBytes) {
    // Only a hint: left alone, the system collects gigabytes first and then makes the writer wait.
    // The fsync says what failed.
    ::sync_file_range(fd_.get(), started_, written_ - started_, SYNC_FILE_RANGE_WRITE);
    started_ = written_;
  }
  return absl::OkStatus();
}

Status FileWriter::Finish() {
  if (!fd_.valid()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "cannot finish ", path_, ": it is closed (finished, or an earlier write or fsync failed)"));
  }
  PEPNET_RETURN_IF_ERROR(Flush());
  if (const Status status = SyncFile(fd_.get(), path_); !status.ok()) {
    // Linux reports a page that it could not write once: a second fsync would claim success.
    (void)fd_.Close();
    return status;
  }
  return CloseFile(&fd_, path_);
}

StatusOr<FileChecksum> ChecksumFile(const std::string& path) {
  PEPNET_ASSIGN_OR_RETURN(OwnedFd fd, OpenRegular(path));
  File file(path, std::move(fd));
  std::string block(kBlockBytes, '\0');
  FileChecksum sum;
  while (true) {
    PEPNET_ASSIGN_OR_RETURN(const size_t got, file.Read(block.data(), block.size()));
    if (got == 0) return sum;
    sum.crc32c = ExtendCrc32c(sum.crc32c, block.data(), got);
    sum.bytes += static_cast<int64_t>(got);
  }
}

}  // namespace pepnet

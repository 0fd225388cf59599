#include "worker/data/history/file_identity.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/str_format.h"
#include "common/file/owned_fd.h"
#include "worker/data/files/row_reader.h"
#include "worker/data/rows/row_stream.h"
#include "xxhash.h"

namespace pepnet {
namespace {

constexpr int64_t kWhole = int64_t{256} << 10;   // files up to this size are read whole
constexpr int64_t kEnd = int64_t{64} << 10;      // at the start and at the end of others
constexpr int64_t kBetween = int64_t{16} << 10;  // of each block between them
constexpr int64_t kBlocks = 8;
constexpr int64_t kMostFooter = int64_t{64} << 20;  // a longer one is hardly a footer
constexpr char kParquetMagic[] = "PAR1";
constexpr int64_t kParquetTail = 8;  // length of the footer, little-endian, and the magic

// Reads pieces of one file into its digest.
class Digest {
 public:
  Digest(const std::string& path, int fd) : path_(path), fd_(fd) {
    XXH3_128bits_reset(state_.get());
  }

  void AddNumber(int64_t number) {
    unsigned char bytes[8];
    // The bytes are little-endian on every machine: digests are compared across hosts.
    for (int i = 0; i < 8; ++i) {
      bytes[i] = static_cast<unsigned char>(static_cast<uint64_t>(number) >> (8 * i));
    }
    XXH3_128bits_update(state_.get(), bytes, sizeof(bytes));
  }

  // Adds the bytes [begin, begin + count) of the file, which stay in *bytes.
  Status AddBytes(int64_t begin, int64_t count, std::string* bytes) {
    bytes->resize(static_cast<size_t>(count));
    for (int64_t done = 0; done < count;) {
      const ssize_t got =
          pread(fd_, bytes->data() + done, static_cast<size_t>(count - done), begin + done);
      // EINTR is no failure; a short read is none, either.
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) {
        return absl::UnavailableError(
            absl::StrCat("input file '", path_, "' cannot be read: ", std::strerror(errno)));
      }
      if (got == 0) {
        return absl::UnavailableError(
            absl::StrCat("input file '", path_, "' became shorter while it was read"));
      }
      done += got;
    }
    XXH3_128bits_update(state_.get(), bytes->data(), bytes->size());
    return absl::OkStatus();
  }

  std::string Hex() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
    return absl::StrFormat("%016x%016x", hash.high64, hash.low64);
  }

 private:
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  const std::string& path_;
  const int fd_;
  const std::unique_ptr<XXH3_state_t, Free> state_{XXH3_createState()};
};

// Bytes of the footer in front of `end`, the end of a file; 0 if it is not that of a Parquet file.
int64_t FooterBytes(const std::string& end) {
  const size_t tail = end.size() - kParquetTail;
  if (end.compare(tail + 4, 4, kParquetMagic) != 0) return 0;
  uint32_t length = 0;
  for (int i = 3; i >= 0; --i) {
    length = length << 8 | static_cast<unsigned char>(end[tail + static_cast<size_t>(i)]);
  }
  return length;
}

Status AddSamples(int64_t size, Digest* digest) {
  std::string bytes;
  PEPNET_RETURN_IF_ERROR(digest->AddBytes(0, kEnd, &bytes));
  // Blocks begin at equal distances, a function of the size alone, so the same file has the same
  // digest everywhere.
  const int64_t distance = (size - 2 * kEnd) / kBlocks;
  for (int64_t block = 0; block < kBlocks; ++block) {
    PEPNET_RETURN_IF_ERROR(digest->AddBytes(kEnd + block * distance, kBetween, &bytes));
  }
  // The end comes last: `bytes` then holds the last bytes of the file, where the length of a
  // Parquet footer stands.
  PEPNET_RETURN_IF_ERROR(digest->AddBytes(size - kEnd, kEnd, &bytes));
  // A length that lies beyond the file is not that of a footer; the bound keeps a damaged file from
  // being read whole.
  const int64_t footer = std::min(FooterBytes(bytes), std::min(kMostFooter, size - kParquetTail));
  // The rest of the footer is in the last block already.
  if (footer + kParquetTail <= kEnd) return absl::OkStatus();
  return digest->AddBytes(size - kParquetTail - footer, footer + kParquetTail - kEnd, &bytes);
}

}  // namespace

StatusOr<FileIdentity> IdentifyFile(const std::string& path) {
  // Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever.
  const OwnedFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat info;
  if (!fd.valid() || fstat(fd.get(), &info) != 0) {
    return absl::UnavailableError(
        absl::StrCat("input file '", path, "' cannot be read: ", std::strerror(errno)));
  }
  if (!S_ISREG(info.st_mode)) {
    return InvalidInput("input file '", path,
                        "' is not a regular file any more; data are read more than once");
  }
  FileIdentity file;
  file.path = path;
  file.bytes = info.st_size;
  Digest digest(path, fd.get());
  digest.AddNumber(file.bytes);
  std::string bytes;
  PEPNET_RETURN_IF_ERROR(file.bytes <= kWhole ? digest.AddBytes(0, file.bytes, &bytes)
                                              : AddSamples(file.bytes, &digest));
  file.digest = digest.Hex();
  return file;
}

StatusOr<std::vector<FileIdentity>> IdentifyFiles(const std::vector<std::string>& paths) {
  std::vector<FileIdentity> files;
  for (const std::string& path : paths) {
    PEPNET_ASSIGN_OR_RETURN(FileIdentity file, IdentifyFile(path));
    files.push_back(std::move(file));
  }
  return files;
}

StatusOr<int64_t> CountRowsOf(const std::string& path, const DataConfig& data, DatasetType type) {
  const FileFormat format = FormatOf(data, type);
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> columns, ListColumns(path, format));
  if (columns.empty()) return 0;  // a CSV file without a single byte
  InputFiles files;
  files.paths = {path};
  files.type = type;
  // One column is enough to count by; the first is always there.
  RowStream stream(std::move(files), format, {columns.front()});
  PEPNET_RETURN_IF_ERROR(stream.LearnRows());
  return stream.CountRows();
}

}  // namespace pepnet

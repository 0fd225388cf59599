// safetensors files, the format of Hugging Face's library of that name:
//
//   file   | length u64, little-endian | header, `length` bytes of JSON | data |
//   header | {"<name>": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...} |
//
// Offsets count from the beginning of the data. The tensors follow each other without gap or
// overlap and end with the file; a file for which that does not hold is refused, as the Python
// library does. We pad the header with spaces, so that the data begin at a multiple of 8 of the
// file. The format has no checksum: the manifest of a checkpoint has those of its files.
//
// Threads:   a reader is immutable after Open().
// Ownership: the reader keeps the file open; spans die with it.
// Failure:   a file that is cut while it is read is DataLoss, except under ViewFloats(), which is
//            for files of our own and reads through a mapping.
// Dtypes:    F32, F64, I64. Other dtypes are listed but cannot be read.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/file/file.h"
#include "common/file/owned_fd.h"

namespace pepnet {

struct TensorInfo {
  std::string dtype;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // byte offsets behind the header
  int64_t elements() const;
};

class SafetensorsReader {
 public:
  // Checks header, dtypes, offsets and file size; an error names the file and what does not fit.
  static StatusOr<std::unique_ptr<SafetensorsReader>> Open(const std::string& path);
  ~SafetensorsReader();
  const std::map<std::string, TensorInfo>& tensors() const { return tensors_; }
  bool Contains(const std::string& name) const { return tensors_.count(name) > 0; }
  // Values as float or double or int64, converted from the stored dtype (F32 -> double is exact;
  // F64 -> float rounds; a float that is not an int64 is an error).
  StatusOr<std::vector<float>> ReadFloats(const std::string& name) const;
  StatusOr<std::vector<double>> ReadDoubles(const std::string& name) const;
  StatusOr<std::vector<int64_t>> ReadIntegers(const std::string& name) const;
  // The same values in order, up to 65,536 at a time, for tensors that need not fit in memory.
  Status VisitDoubles(const std::string& name,
                      const std::function<void(std::span<const double>)>& visit) const;
  // The stored bytes of an F32 tensor without a copy. InvalidArgument for another dtype, and for
  // data whose address is no multiple of 4. Reading what somebody cuts off meanwhile ends the
  // process: SIGBUS.
  StatusOr<std::span<const float>> ViewFloats(const std::string& name) const;

 private:
  SafetensorsReader() = default;
  StatusOr<const TensorInfo*> Find(const std::string& name) const;
  template <typename Stored, typename Wanted>
  Status VisitAs(const TensorInfo& info,
                 const std::function<void(std::span<const Wanted>)>& visit) const;
  template <typename Wanted>
  Status Visit(const std::string& name,
               const std::function<void(std::span<const Wanted>)>& visit) const;
  template <typename Wanted>
  StatusOr<std::vector<Wanted>> ReadAll(const std::string& name) const;
  std::string path_;
  OwnedFd fd_;
  std::map<std::string, TensorInfo> tensors_;
  uint64_t data_begin_ = 0;  // of the tensors' bytes in the file
  const uint8_t* map_ = nullptr;
  size_t map_bytes_ = 0;
};

// Writes tensors in the order they were declared; data may be streamed, so that a tensor need not
// fit in memory.
class SafetensorsWriter {
 public:
  // Header first: all names, shapes and dtypes ("F32" or "F64" or "I64").
  struct Declaration {
    std::string name;
    std::string dtype;
    std::vector<int64_t> shape;
  };
  static StatusOr<std::unique_ptr<SafetensorsWriter>> Create(
      const std::string& path, const std::vector<Declaration>& tensors);
  // The next bytes of data, in declaration order.
  Status Append(const void* data, size_t bytes);
  // fsync and close; an error if the bytes appended are not those declared. Returns size and crc32c
  // of the file.
  struct Result {
    int64_t bytes = 0;
    uint32_t crc32c = 0;
  };
  StatusOr<Result> Finish();

 private:
  SafetensorsWriter(std::string path, std::unique_ptr<FileWriter> file, uint64_t data_bytes)
      : path_(std::move(path)), file_(std::move(file)), declared_bytes_(data_bytes) {}
  const std::string path_;
  const std::unique_ptr<FileWriter> file_;
  const uint64_t declared_bytes_;
  uint64_t appended_bytes_ = 0;
};

}  // namespace pepnet

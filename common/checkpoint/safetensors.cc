#include "common/checkpoint/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <utility>

#include "common/base/text.h"
#include "common/checkpoint/strict_json.h"
#include "common/file/file.h"
#include "common/file/owned_fd.h"

namespace pepnet {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the format is little-endian and read in place");

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the Python library
constexpr uint64_t kDataAlignment = 8;
constexpr uint64_t kPieceElements = 65536;  // that are read at once
constexpr const char* kMetadata = "__metadata__";

// Bytes per element; 0 for a dtype we do not know.
uint64_t ElementBytes(const std::string& dtype) {
  static constexpr std::pair<const char*, uint64_t> kDtypes[] = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
      {"U16", 2},  {"I16", 2}, {"F16", 2}, {"BF16", 2},    {"U32", 4},
      {"I32", 4},  {"F32", 4}, {"F64", 8}, {"U64", 8},     {"I64", 8},
  };
  for (const auto& [name, bytes] : kDtypes) {
    if (dtype == name) return bytes;
  }
  return 0;
}

// Product of the shape times `factor`; false if it does not fit 63 bits.
bool ShapeProduct(const std::vector<int64_t>& shape, uint64_t factor, uint64_t* product) {
  // A zero wins over an overflow before it.
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) factor = 0;
  *product = factor;
  for (const int64_t extent : shape) {
    if (factor == 0) return true;
    if (__builtin_mul_overflow(*product, static_cast<uint64_t>(extent), product)) return false;
  }
  return *product <= static_cast<uint64_t>(INT64_MAX);
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) absl::StrAppend(&text, i > 0 ? ", " : "", shape[i]);
  return text + "]";
}

StatusOr<TensorInfo> ParseTensor(const nlohmann::json& entry, uint64_t data_bytes) {
  TensorInfo info;
  PEPNET_ASSIGN_OR_RETURN(info.dtype, JsonString(entry, "dtype"));
  const auto shape = entry.find("shape");
  if (shape == entry.end() || !shape->is_array()) {
    return absl::DataLossError("\"shape\" is missing or not a list");
  }
  for (const auto& extent : *shape) {
    if (!extent.is_number_unsigned() || extent.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
      return absl::DataLossError(
          absl::StrCat("shape ", Printable(shape->dump(), 200), " is not a list of sizes"));
    }
    info.shape.push_back(extent.get<int64_t>());
  }
  const auto offsets = entry.find("data_offsets");
  if (offsets == entry.end() || !offsets->is_array() || offsets->size() != 2 ||
      !(*offsets)[0].is_number_unsigned() || !(*offsets)[1].is_number_unsigned()) {
    return absl::DataLossError("\"data_offsets\" is missing or not a pair of offsets");
  }
  info.begin = (*offsets)[0].get<uint64_t>();
  info.end = (*offsets)[1].get<uint64_t>();
  if (info.begin > info.end || info.end > data_bytes) {
    return absl::DataLossError(absl::StrCat("data_offsets ", Printable(offsets->dump(), 200),
                                            " do not lie within the ", data_bytes,
                                            " bytes of data"));
  }
  // The element size of an unknown dtype is 0, and its bytes are taken as they are: such tensors
  // are listed, never read.
  uint64_t elements = 0, expected = 0;
  const uint64_t element_bytes = ElementBytes(info.dtype);
  if (!ShapeProduct(info.shape, 1, &elements) ||
      !ShapeProduct(info.shape, element_bytes, &expected) ||
      (element_bytes > 0 && expected != info.end - info.begin)) {
    return absl::DataLossError(absl::StrCat("shape ", ShapeText(info.shape), " of ", info.dtype,
                                            " does not fit ", info.end - info.begin, " bytes"));
  }
  return info;
}

// As the Python library demands: in the order of their offsets the tensors leave no gap, do not
// overlap, and end with the file.
Status CheckCoverage(const std::map<std::string, TensorInfo>& tensors, uint64_t data_bytes) {
  std::vector<std::pair<const std::string*, const TensorInfo*>> order;
  for (const auto& [name, info] : tensors) order.emplace_back(&name, &info);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->begin, a.second->end) < std::pair(b.second->begin, b.second->end);
  });
  uint64_t position = 0;
  for (const auto& [name, info] : order) {
    if (info->begin != position) {
      return absl::DataLossError(absl::StrCat("tensor ", *name, " starts at ", info->begin,
                                              ", expected ", position,
                                              info->begin < position ? " (overlap)" : " (gap)"));
    }
    position = info->end;
  }
  if (position != data_bytes) {
    return absl::DataLossError(absl::StrCat("the tensors end at ", position, " but there are ",
                                            data_bytes, " bytes of data"));
  }
  return absl::OkStatus();
}

// All `bytes` from `offset` on.
Status ReadAt(int fd, void* to, uint64_t bytes, uint64_t offset) {
  auto* out = static_cast<uint8_t*>(to);
  while (bytes > 0) {
    // pread() may return less than asked for, at a signal or on a network file system.
    const ssize_t got = pread(fd, out, bytes, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      return absl::UnavailableError(absl::StrCat("cannot be read: ", std::strerror(errno)));
    }
    if (got == 0) {
      return absl::DataLossError(
          absl::StrCat("ends at byte ", offset, ": it was cut while it was read"));
    }
    out += got;
    bytes -= static_cast<uint64_t>(got);
    offset += static_cast<uint64_t>(got);
  }
  return absl::OkStatus();
}

StatusOr<std::map<std::string, TensorInfo>> ParseHeader(int fd, uint64_t file_bytes,
                                                        uint64_t* header_bytes) {
  if (file_bytes < kLengthBytes) {
    return absl::DataLossError(
        absl::StrCat("has ", file_bytes, " bytes, too few for a header length"));
  }
  // The length is checked before it is used as one: a damaged file must not ask for exabytes.
  PEPNET_RETURN_IF_ERROR(ReadAt(fd, header_bytes, kLengthBytes, 0));
  if (*header_bytes > kMaxHeaderBytes || *header_bytes > file_bytes - kLengthBytes) {
    return absl::DataLossError(absl::StrCat("header length ", *header_bytes,
                                            " does not fit a file of ", file_bytes,
                                            " bytes (limit ", kMaxHeaderBytes, ")"));
  }
  std::string text(*header_bytes, '\0');
  PEPNET_RETURN_IF_ERROR(ReadAt(fd, text.data(), text.size(), kLengthBytes));
  PEPNET_ASSIGN_OR_RETURN(const nlohmann::json header, ParseStrictJson(text));
  if (!header.is_object()) return absl::DataLossError("the header is not a JSON object");
  const uint64_t data_bytes = file_bytes - kLengthBytes - *header_bytes;
  std::map<std::string, TensorInfo> tensors;
  for (const auto& [name, entry] : header.items()) {
    // The member is free text for people and names no tensor.
    if (name == kMetadata) continue;
    StatusOr<TensorInfo> info = ParseTensor(entry, data_bytes);
    if (!info.ok()) return Annotate(info.status(), absl::StrCat("tensor ", Printable(name, 200)));
    tensors.emplace(name, std::move(info).value());
  }
  PEPNET_RETURN_IF_ERROR(CheckCoverage(tensors, data_bytes));
  return tensors;
}

Status FileError(const std::string& path, const char* doing) {
  const int error = errno;
  return Status(absl::ErrnoToStatusCode(error),
                absl::StrCat("cannot ", doing, " ", path, ": ", std::strerror(error)));
}

}  // namespace

int64_t TensorInfo::elements() const {
  uint64_t product = 0;
  ShapeProduct(shape, 1, &product);  // the reader refuses shapes for which it fails
  return static_cast<int64_t>(product);
}

StatusOr<std::unique_ptr<SafetensorsReader>> SafetensorsReader::Open(const std::string& path) {
  // O_NONBLOCK keeps a pipe of this name from holding open() until somebody writes to it (law L6).
  // The pipe is refused below.
  OwnedFd fd(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) return FileError(path, "open");
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return FileError(path, "stat");
  std::unique_ptr<SafetensorsReader> reader(new SafetensorsReader());
  reader->path_ = path;
  if (!S_ISREG(info.st_mode)) return InvalidInput(path, " is not a regular file");
  if (info.st_size > 0) {
    // Mapping costs nothing until ViewFloats() is read; the other readers use pread().
    void* map =
        mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (map == MAP_FAILED) return FileError(path, "map");
    reader->map_ = static_cast<const uint8_t*>(map);
    reader->map_bytes_ = static_cast<size_t>(info.st_size);
  }
  uint64_t header_bytes = 0;
  auto tensors = ParseHeader(fd.get(), reader->map_bytes_, &header_bytes);
  if (!tensors.ok()) return Annotate(tensors.status(), path);
  reader->tensors_ = std::move(tensors).value();
  reader->data_begin_ = kLengthBytes + header_bytes;
  reader->fd_ = std::move(fd);
  return reader;
}

SafetensorsReader::~SafetensorsReader() {
  if (map_ != nullptr) munmap(const_cast<uint8_t*>(map_), map_bytes_);
}

StatusOr<const TensorInfo*> SafetensorsReader::Find(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    return absl::NotFoundError(absl::StrCat(path_, " has no tensor ", name));
  }
  return &found->second;
}

// Read, not mapped: a file that somebody cuts meanwhile gives an error, where a page that is gone
// ends the process.
template <typename Stored, typename Wanted>
Status SafetensorsReader::VisitAs(const TensorInfo& info,
                                  const std::function<void(std::span<const Wanted>)>& visit) const {
  const auto count = static_cast<uint64_t>(info.elements());
  std::vector<Stored> stored(std::min(count, kPieceElements));
  std::vector<Wanted> wanted(stored.size());
  for (uint64_t first = 0; first < count; first += stored.size()) {
    const uint64_t size = std::min<uint64_t>(stored.size(), count - first);
    const uint64_t offset = data_begin_ + info.begin + first * sizeof(Stored);
    PEPNET_RETURN_IF_ERROR(
        Annotate(ReadAt(fd_.get(), stored.data(), size * sizeof(Stored), offset), path_));
    std::transform(stored.begin(), stored.begin() + static_cast<int64_t>(size), wanted.begin(),
                   [](Stored value) { return static_cast<Wanted>(value); });
    visit(std::span<const Wanted>(wanted.data(), size));
  }
  return absl::OkStatus();
}

template <typename Wanted>
Status SafetensorsReader::Visit(const std::string& name,
                                const std::function<void(std::span<const Wanted>)>& visit) const {
  PEPNET_ASSIGN_OR_RETURN(const TensorInfo* info, Find(name));
  if (info->dtype == "F32") return VisitAs<float, Wanted>(*info, visit);
  if (info->dtype == "F64") return VisitAs<double, Wanted>(*info, visit);
  if (info->dtype == "I64") return VisitAs<int64_t, Wanted>(*info, visit);
  return InvalidInput(path_, ": tensor ", name, " has dtype ", info->dtype,
                      "; only F32, F64 and I64 can be read");
}

template <typename Wanted>
StatusOr<std::vector<Wanted>> SafetensorsReader::ReadAll(const std::string& name) const {
  PEPNET_ASSIGN_OR_RETURN(const TensorInfo* info, Find(name));
  std::vector<Wanted> result;
  // The shape of an unknown dtype was not compared with the size of the file, so nothing is
  // reserved for it.
  if (ElementBytes(info->dtype) > 0) result.reserve(static_cast<size_t>(info->elements()));
  PEPNET_RETURN_IF_ERROR(Visit<Wanted>(name, [&](std::span<const Wanted> values) {
    result.insert(result.end(), values.begin(), values.end());
  }));
  return result;
}

StatusOr<std::vector<float>> SafetensorsReader::ReadFloats(const std::string& name) const {
  return ReadAll<float>(name);
}

StatusOr<std::vector<double>> SafetensorsReader::ReadDoubles(const std::string& name) const {
  return ReadAll<double>(name);
}

Status SafetensorsReader::VisitDoubles(
    const std::string& name, const std::function<void(std::span<const double>)>& visit) const {
  return Visit<double>(name, visit);
}

StatusOr<std::vector<int64_t>> SafetensorsReader::ReadIntegers(const std::string& name) const {
  PEPNET_ASSIGN_OR_RETURN(const TensorInfo* info, Find(name));
  const std::string what = absl::StrCat(path_, ": tensor ", name);
  if (info->dtype == "I64") return ReadAll<int64_t>(name);
  PEPNET_ASSIGN_OR_RETURN(const std::vector<double> values, ReadAll<double>(name));
  std::vector<int64_t> result(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    // [-2^63, 2^63) is what int64 holds; both bounds are exact doubles. NaN fails the comparison.
    if (!(values[i] >= -0x1p63 && values[i] < 0x1p63) || values[i] != std::trunc(values[i])) {
      return InvalidInput(what, " element ", i, " is ", values[i], ", which is not an integer");
    }
    result[i] = static_cast<int64_t>(values[i]);
  }
  return result;
}

StatusOr<std::span<const float>> SafetensorsReader::ViewFloats(const std::string& name) const {
  PEPNET_ASSIGN_OR_RETURN(const TensorInfo* info, Find(name));
  if (info->dtype != "F32") {
    return InvalidInput(path_, ": tensor ", name, " has dtype ", info->dtype, ", expected F32");
  }
  const uint8_t* bytes = map_ + data_begin_ + info->begin;
  if (reinterpret_cast<uintptr_t>(bytes) % alignof(float) != 0) {
    return InvalidInput(path_, ": tensor ", name,
                        " starts at an address that is not a multiple of 4; it can only be copied");
  }
  return std::span<const float>(reinterpret_cast<const float*>(bytes),
                                static_cast<size_t>(info->elements()));
}

StatusOr<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::Create(
    const std::string& path, const std::vector<Declaration>& tensors) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  std::set<std::string> names;
  uint64_t position = 0;
  // push_back of pairs: operator[] of an ordered object searches linearly.
  auto& members = header.get_ref<nlohmann::ordered_json::object_t&>();
  for (const Declaration& tensor : tensors) {
    const bool writable = tensor.dtype == "F32" || tensor.dtype == "F64" || tensor.dtype == "I64";
    const bool negative =
        std::any_of(tensor.shape.begin(), tensor.shape.end(), [](int64_t n) { return n < 0; });
    uint64_t bytes = 0;
    if (!writable || negative || !ShapeProduct(tensor.shape, ElementBytes(tensor.dtype), &bytes) ||
        bytes > static_cast<uint64_t>(INT64_MAX) - position) {
      return InvalidInput(path, ": tensor ", tensor.name, " of ", tensor.dtype, " ",
                          ShapeText(tensor.shape), " cannot be written");
    }
    if (tensor.name == kMetadata || !names.insert(tensor.name).second) {
      return InvalidInput(path, ": tensor name ", tensor.name, " is used twice or reserved");
    }
    nlohmann::ordered_json entry;
    entry["dtype"] = tensor.dtype;
    entry["shape"] = tensor.shape;
    entry["data_offsets"] = {position, position + bytes};
    members.push_back({tensor.name, std::move(entry)});
    position += bytes;
  }
  StatusOr<std::string> text = DumpJson(header);
  if (!text.ok()) return Annotate(text.status(), absl::StrCat(path, ": the tensor names"));
  // The file: | length u64 | JSON | spaces up to a multiple of 8 | data |. To a JSON parser the
  // spaces are nothing, and the data begin at a multiple of 8 of the file.
  text->append((kDataAlignment - text->size() % kDataAlignment) % kDataAlignment, ' ');
  if (text->size() > kMaxHeaderBytes) {
    return InvalidInput(path, ": the header of ", tensors.size(), " tensors has ", text->size(),
                        " bytes; readers accept ", kMaxHeaderBytes);
  }
  PEPNET_ASSIGN_OR_RETURN(auto file, FileWriter::Create(path));
  const uint64_t length = text->size();
  PEPNET_RETURN_IF_ERROR(file->Append(&length, kLengthBytes));
  PEPNET_RETURN_IF_ERROR(file->Append(text->data(), text->size()));
  return std::unique_ptr<SafetensorsWriter>(new SafetensorsWriter(path, std::move(file), position));
}

Status SafetensorsWriter::Append(const void* data, size_t bytes) {
  // Pieces need not end where tensors do: only the total is compared, here and in Finish().
  if (bytes > declared_bytes_ - appended_bytes_) {
    return absl::InternalError(
        absl::StrCat(path_, ": more data than the ", declared_bytes_, " bytes that were declared"));
  }
  appended_bytes_ += bytes;
  return file_->Append(data, bytes);
}

StatusOr<SafetensorsWriter::Result> SafetensorsWriter::Finish() {
  if (appended_bytes_ != declared_bytes_) {
    return absl::InternalError(
        absl::StrCat(path_, ": ", appended_bytes_, " bytes of data, declared ", declared_bytes_));
  }
  PEPNET_RETURN_IF_ERROR(file_->Finish());
  return Result{file_->bytes(), file_->crc32c()};
}

}  // namespace pepnet

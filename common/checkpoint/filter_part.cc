#include "common/checkpoint/filter_part.h"

#include <algorithm>
#include <bit>
#include <filesystem>
#include <memory>
#include <utility>

#include "absl/strings/str_format.h"

#include "common/base/partition.h"
#include "common/checkpoint/safetensors.h"
#include "common/checkpoint/strict_json.h"
#include "common/checkpoint/table_part.h"
#include "common/file/file.h"

namespace pepnet {
namespace {

constexpr char kTensor[] = "counters";
constexpr int64_t kMostWords = int64_t{1} << 40;  // of a bucket

StatusOr<FilterEntry> ParseEntry(const nlohmann::json& item) {
  FilterEntry entry;
  PEPNET_ASSIGN_OR_RETURN(entry.table, JsonString(item, "table"));
  PEPNET_ASSIGN_OR_RETURN(entry.file, JsonString(item, "file"));
  PEPNET_ASSIGN_OR_RETURN(entry.bytes, JsonInteger(item, "bytes", 0, INT64_MAX));
  PEPNET_ASSIGN_OR_RETURN(entry.crc32c, JsonCrc32c(item, "crc32c"));
  PEPNET_ASSIGN_OR_RETURN(const int64_t first, JsonInteger(item, "first_bucket", 0, kBucketCount));
  PEPNET_ASSIGN_OR_RETURN(const int64_t end, JsonInteger(item, "end_bucket", first, kBucketCount));
  PEPNET_ASSIGN_OR_RETURN(const int64_t bits, JsonInteger(item, "counter_bits", 4, 8));
  PEPNET_ASSIGN_OR_RETURN(entry.bucket_words, JsonInteger(item, "bucket_words", 1, kMostWords));
  if (bits != 4 && bits != 8) {
    return absl::DataLossError(absl::StrCat("\"counter_bits\" is ", bits, ", expected 4 or 8"));
  }
  entry.first_bucket = static_cast<int>(first);
  entry.end_bucket = static_cast<int>(end);
  entry.counter_bits = static_cast<int>(bits);
  return entry;
}

}  // namespace

std::string FilterEntriesToJson(const std::vector<FilterEntry>& entries) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const FilterEntry& entry : entries) {
    list.push_back({{"table", entry.table},
                    {"file", entry.file},
                    {"bytes", entry.bytes},
                    {"crc32c", Crc32cToHex(entry.crc32c)},
                    {"first_bucket", entry.first_bucket},
                    {"end_bucket", entry.end_bucket},
                    {"counter_bits", entry.counter_bits},
                    {"bucket_words", entry.bucket_words}});
  }
  // The names of tables are UTF-8: their part files, which are written before, refuse others.
  return list.dump();
}

StatusOr<std::vector<FilterEntry>> FilterEntriesFromJson(const std::string& json) {
  PEPNET_ASSIGN_OR_RETURN(const nlohmann::json list, ParseStrictJson(json));
  if (!list.is_array()) return absl::DataLossError("\"filters\" is not a list");
  std::vector<FilterEntry> entries;
  for (const nlohmann::json& item : list) {
    PEPNET_ASSIGN_OR_RETURN(FilterEntry entry, ParseEntry(item));
    entries.push_back(std::move(entry));
  }
  return entries;
}

StatusOr<FilterEntry> WriteFilter(
    const std::string& directory, FilterEntry entry, int part, int part_count,
    const std::function<std::span<const uint64_t>(int bucket)>& words_of) {
  // The file is dense: buckets of the range without a counter are written as zeros, so that a
  // reader finds bucket b at row b - first_bucket.
  static_assert(std::endian::native == std::endian::little,
                "words are written as they lie in memory");
  entry.file = absl::StrFormat("tables/%s/filter-%05d-of-%05d.safetensors",
                               PercentEncode(entry.table), part, part_count);
  const std::string path = absl::StrCat(directory, "/", entry.file);
  PEPNET_RETURN_IF_ERROR(MakeDirectories(std::filesystem::path(path).parent_path().string()));
  PEPNET_ASSIGN_OR_RETURN(
      const auto writer,
      SafetensorsWriter::Create(
          path, {{kTensor, "I64", {entry.end_bucket - entry.first_bucket, entry.bucket_words}}}));
  for (int bucket = entry.first_bucket; bucket < entry.end_bucket; ++bucket) {
    const std::span<const uint64_t> words = words_of(bucket);
    PEPNET_RETURN_IF_ERROR(writer->Append(words.data(), words.size_bytes()));
  }
  PEPNET_ASSIGN_OR_RETURN(const SafetensorsWriter::Result result, writer->Finish());
  entry.bytes = result.bytes;
  entry.crc32c = result.crc32c;
  return entry;
}

Status ReadFilter(const std::string& directory, const FilterEntry& entry,
                  const std::function<void(int bucket, std::span<const uint64_t> words)>& visit) {
  const std::string path = absl::StrCat(directory, "/", entry.file);
  PEPNET_ASSIGN_OR_RETURN(const auto reader, SafetensorsReader::Open(path));
  const auto tensor = reader->tensors().find(kTensor);
  const std::vector<int64_t> shape = {entry.end_bucket - entry.first_bucket, entry.bucket_words};
  if (tensor == reader->tensors().end() || tensor->second.dtype != "I64" ||
      tensor->second.shape != shape) {
    return absl::DataLossError(
        absl::StrCat(path, ": expected one tensor counters, I64 [", shape[0], ", ", shape[1], "]"));
  }
  // A word uses all 64 bits for counters. ReadIntegers() hands I64 on as it is, where a double
  // would keep 53 of them.
  PEPNET_ASSIGN_OR_RETURN(const std::vector<int64_t> words, reader->ReadIntegers(kTensor));
  std::vector<uint64_t> row(static_cast<size_t>(entry.bucket_words));
  for (int bucket = entry.first_bucket; bucket < entry.end_bucket; ++bucket) {
    const auto first = words.begin() + (bucket - entry.first_bucket) * entry.bucket_words;
    std::transform(first, first + entry.bucket_words, row.begin(),
                   [](int64_t word) { return static_cast<uint64_t>(word); });
    visit(bucket, row);
  }
  return absl::OkStatus();
}

}  // namespace pepnet

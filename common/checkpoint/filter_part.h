// The counters of a table's admission filter (ps/table/admission_filter.h) on one server, as a
// safetensors file: tables/<table>/filter-<k>-of-<n>.safetensors.
//
//   tensor: "counters" I64 [buckets, bucket_words], a row for each bucket of [first_bucket,
//           end_bucket). A word holds 64 / counter_bits counters, the first in its lowest bits.
//   entry : {"table": name, "file": path, "bytes": n, "crc32c": hex, "first_bucket": b,
//            "end_bucket": b, "counter_bits": 4 or 8, "bucket_words": n}
//
// Threads: no state. The file is fsynced; nothing counts until the manifest names it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace pepnet {

// One such file, as the manifest describes it.
struct FilterEntry {
  std::string table;
  std::string file;  // relative to the checkpoint directory
  int64_t bytes = 0;
  uint32_t crc32c = 0;
  int first_bucket = 0, end_bucket = 0;
  int counter_bits = 4;
  int64_t bucket_words = 0;
};
std::string FilterEntriesToJson(const std::vector<FilterEntry>& entries);
StatusOr<std::vector<FilterEntry>> FilterEntriesFromJson(const std::string& json);

// Writes the words of all buckets of `entry`, which words_of(bucket) gives, and returns the entry
// with file, bytes and crc32c. `directory` is the checkpoint directory under construction; creates
// tables/<table>/ in it.
StatusOr<FilterEntry> WriteFilter(
    const std::string& directory, FilterEntry entry, int part, int part_count,
    const std::function<std::span<const uint64_t>(int bucket)>& words_of);
// Calls `visit` with the words of each bucket in turn; the span dies when it returns. DataLoss if
// the file is not what the entry says. Memory: the file's.
Status ReadFilter(const std::string& directory, const FilterEntry& entry,
                  const std::function<void(int bucket, std::span<const uint64_t> words)>& visit);

}  // namespace pepnet

// Rows of one table of one server as an Arrow IPC file: tables/<table>/part-<k>-of-<n>.arrow; ids
// that are counted and have no row yet, which are rows of width 0:
// tables/<table>/candidates-<k>-of-<n>.arrow.
//
//   schema: id int64 | value fixed_size_list<float>[dim] (absent if 0) | state
//           fixed_size_list<float>[state_dim] (absent if 0) | frequency int64 | last_step int64
//           state: what the optimizer keeps, then, where the table counts clicks, their number
//   order : by bucket, then by id; record batches of kRowsPerRecordBatch rows (the last one
//   shorter). digest: per bucket, the sum mod 2^128 of the 128-bit XXH3 of each row's little-endian
//   bytes (id, value, state,
//           frequency, last_step), and the row count; independent of order and of the number of
//           parts.
//
// Threads: one object, one thread. Files are written in place (the caller works inside a temporary
// directory) and fsynced by Finish(); nothing counts until the manifest names it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/table.h"

namespace pepnet {

inline constexpr int64_t kRowsPerRecordBatch = 65536;

struct RowDigest {  // 128-bit sum
  uint64_t lo = 0, hi = 0;
  void Add(const RowDigest& other);
  bool operator==(const RowDigest&) const = default;
  std::string ToString() const;  // 32 hex digits
  static StatusOr<RowDigest> Parse(const std::string& hex);
};

// A run of rows, column by column. Borrows.
struct RowColumns {
  std::span<const int64_t> ids;
  std::span<const float> values;  // ids.size() * dim
  std::span<const float> states;  // ids.size() * state_dim
  std::span<const int64_t> frequency;
  std::span<const int64_t> last_step;
};

struct BucketEntry {
  int bucket = 0;
  int64_t rows = 0;
  RowDigest digest;
};

// The entry of one part file in the manifest.
struct PartEntry {
  std::string table;
  std::string file;  // relative to the checkpoint directory
  int64_t rows = 0;
  int dim = 0, state_dim = 0;
  // The types of values and state on servers. The file holds them as float32, which the numbers of
  // every kind are exactly.
  ValueKind value_kind = ValueKind::kFp32;
  ValueKind state_kind = ValueKind::kFp32;
  // The last float of a row's state is the number of its clicks (RowPolicy).
  bool counts_clicks = false;
  int64_t bytes = 0;
  uint32_t crc32c = 0;
  // Floats of optimizer state alone.
  int optimizer_state_dim() const { return state_dim - (counts_clicks ? 1 : 0); }
  RowShape shape() const {
    return {dim, optimizer_state_dim(), value_kind, state_kind, counts_clicks};
  }
  // The clicks of the i-th of rows of this part; 0 where the table counts none.
  float ClicksOf(const RowColumns& rows, size_t i) const {
    return counts_clicks ? rows.states[(i + 1) * static_cast<size_t>(state_dim) - 1] : 0;
  }
  // Only non-empty ones, ascending; row offset of a bucket = sum of rows before it.
  std::vector<BucketEntry> buckets;
};
std::string PartEntriesToJson(const std::vector<PartEntry>& parts);
StatusOr<std::vector<PartEntry>> PartEntriesFromJson(const std::string& json);

class TablePartWriter {
 public:
  // `directory` is the checkpoint directory under construction; creates tables/<table>/ in it.
  static StatusOr<std::unique_ptr<TablePartWriter>> Create(const std::string& directory,
                                                           const std::string& table, int dim,
                                                           int state_dim, int part, int part_count);
  virtual ~TablePartWriter() = default;
  // Rows must come in (bucket, id) order over all calls, each id once; checked. After an error the
  // writer is spent.
  virtual Status Append(const RowColumns& rows) = 0;
  virtual StatusOr<PartEntry> Finish() = 0;
};

// Reads back [first, first + count) rows of a part; whole record batches are read, checked for
// shape, and cut. The last one is kept, so that a reader holds the memory of one record batch.
class TablePartReader {
 public:
  static StatusOr<std::unique_ptr<TablePartReader>> Open(const std::string& directory,
                                                         const PartEntry& entry);
  virtual ~TablePartReader() = default;
  // Calls `visit` with consecutive runs of rows that together are the range. Spans die when `visit`
  // returns.
  virtual Status Read(int64_t first, int64_t count,
                      const std::function<Status(const RowColumns&)>& visit) = 0;
};

// Digest of one row, as in the header comment.
RowDigest DigestOfRow(int64_t id, std::span<const float> value, std::span<const float> state,
                      int64_t frequency, int64_t last_step);

// "user_id/x" -> "user_id%2Fx": table names as path components.
std::string PercentEncode(const std::string& name);

}  // namespace pepnet

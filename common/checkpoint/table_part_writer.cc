#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_format.h"
#include "arrow/array.h"
#include "arrow/buffer.h"
#include "arrow/io/interfaces.h"
#include "arrow/ipc/writer.h"
#include "arrow/record_batch.h"

#include "common/base/log_functions.h"
#include "common/base/partition.h"
#include "common/checkpoint/strict_json.h"
#include "common/checkpoint/table_part.h"
#include "common/checkpoint/table_part_schema.h"
#include "common/file/file.h"
#include "common/file/write_behind.h"

namespace pepnet {
namespace {

// Hands Arrow's bytes to a file, which counts, sums and checks them, and keeps its first error.
class FileStream : public arrow::io::OutputStream {
 public:
  explicit FileStream(WriteBehind* file) : file_(file) {}
  using arrow::io::OutputStream::Write;
  arrow::Status Write(const void* data, int64_t bytes) override {
    // Arrow's own status keeps the text and loses the code; the file's error is what the user gets.
    if (error_.ok()) error_ = file_->Append(data, static_cast<size_t>(bytes));
    return error_.ok() ? arrow::Status::OK()
                       : arrow::Status::IOError(std::string(error_.message()));
  }
  arrow::Result<int64_t> Tell() const override { return file_->bytes(); }
  arrow::Status Close() override {  // the owner of the file finishes it
    closed_ = true;
    return arrow::Status::OK();
  }
  bool closed() const override { return closed_; }
  const Status& error() const { return error_; }

 private:
  WriteBehind* const file_;
  Status error_;
  bool closed_ = false;
};

template <typename T>
std::shared_ptr<arrow::Buffer> Borrow(std::span<const T> values) {
  return std::make_shared<arrow::Buffer>(reinterpret_cast<const uint8_t*>(values.data()),
                                         static_cast<int64_t>(values.size_bytes()));
}

std::shared_ptr<arrow::Array> Integers(std::span<const int64_t> values) {
  return std::make_shared<arrow::Int64Array>(static_cast<int64_t>(values.size()), Borrow(values));
}

std::shared_ptr<arrow::Array> Lists(const std::shared_ptr<arrow::DataType>& type,
                                    std::span<const float> values, size_t rows) {
  auto items =
      std::make_shared<arrow::FloatArray>(static_cast<int64_t>(values.size()), Borrow(values));
  return std::make_shared<arrow::FixedSizeListArray>(type, static_cast<int64_t>(rows),
                                                     std::move(items));
}

class Writer : public TablePartWriter {
 public:
  Writer(std::string directory, PartEntry entry)
      : directory_(std::move(directory)),
        entry_(std::move(entry)),
        table_hash_(HashName(entry_.table)),
        schema_(TablePartSchema(entry_.dim, entry_.state_dim)) {}

  Status Open() {
    const std::string path = absl::StrCat(directory_, "/", entry_.file);
    PEPNET_RETURN_IF_ERROR(MakeDirectories(std::filesystem::path(path).parent_path().string()));
    PEPNET_ASSIGN_OR_RETURN(file_, WriteBehind::Create(path));
    stream_ = std::make_unique<FileStream>(file_.get());
    arrow::ipc::IpcWriteOptions options = arrow::ipc::IpcWriteOptions::Defaults();
    options.alignment = 64;  // so that a reader who maps the file gets aligned columns
    options.use_threads = false;
    auto writer = arrow::ipc::MakeFileWriter(stream_.get(), schema_, options);
    if (!writer.ok()) return WriteError(writer.status());
    batches_ = *std::move(writer);
    return absl::OkStatus();
  }

  Status Append(const RowColumns& rows) override {
    PEPNET_RETURN_IF_ERROR(CheckSizes(rows));
    const size_t count = rows.ids.size();
    // Digests are made from the rows in memory, before they go through Arrow and the disk.
    for (size_t i = 0; i < count; ++i) PEPNET_RETURN_IF_ERROR(CountRow(rows, i));
    for (size_t i = 0; i < count;) {
      // Record batches end at fixed numbers of rows, however the calls cut them: the same rows make
      // the same bytes, and the reader finds a row by its number.
      const size_t wanted = static_cast<size_t>(kRowsPerRecordBatch) - ids_.size();
      const size_t taken = std::min(wanted, count - i);
      const RowColumns run = Cut(rows, i, taken);
      i += taken;
      // A whole record batch goes out without a copy.
      if (taken == static_cast<size_t>(kRowsPerRecordBatch)) {
        PEPNET_RETURN_IF_ERROR(WriteBatch(run));
        continue;
      }
      ids_.insert(ids_.end(), run.ids.begin(), run.ids.end());
      values_.insert(values_.end(), run.values.begin(), run.values.end());
      states_.insert(states_.end(), run.states.begin(), run.states.end());
      frequency_.insert(frequency_.end(), run.frequency.begin(), run.frequency.end());
      last_step_.insert(last_step_.end(), run.last_step.begin(), run.last_step.end());
      if (taken == wanted) PEPNET_RETURN_IF_ERROR(WritePending());
    }
    return absl::OkStatus();
  }

  StatusOr<PartEntry> Finish() override {
    if (!ids_.empty()) PEPNET_RETURN_IF_ERROR(WritePending());
    // Close() writes the footer, which says where the record batches are; only then is the file
    // complete.
    if (const arrow::Status status = batches_->Close(); !status.ok()) return WriteError(status);
    PEPNET_RETURN_IF_ERROR(file_->Finish());
    // The directories are synced by the process that made them: on a network file system worker 0,
    // on another host, cannot be sure to sync what it did not write.
    const auto table_directory =
        std::filesystem::path(absl::StrCat(directory_, "/", entry_.file)).parent_path();
    PEPNET_RETURN_IF_ERROR(SyncDirectory(table_directory.string()));
    PEPNET_RETURN_IF_ERROR(SyncDirectory(table_directory.parent_path().string()));
    entry_.bytes = file_->bytes();
    entry_.crc32c = file_->crc32c();
    return entry_;
  }

 private:
  Status WriteError(const arrow::Status& status) const {
    if (!stream_->error().ok()) return stream_->error();
    return FromArrow(status, absl::StatusCode::kInternal,
                     absl::StrCat("cannot write ", directory_, "/", entry_.file));
  }

  Status CheckSizes(const RowColumns& rows) const {
    const size_t count = rows.ids.size();
    if (rows.values.size() != count * static_cast<size_t>(entry_.dim) ||
        rows.states.size() != count * static_cast<size_t>(entry_.state_dim) ||
        rows.frequency.size() != count || rows.last_step.size() != count) {
      return absl::InternalError(
          absl::StrCat("table ", entry_.table, ": columns of ", count, " ids have ",
                       rows.values.size(), " values, ", rows.states.size(), " states, ",
                       rows.frequency.size(), " frequencies, ", rows.last_step.size(),
                       " last steps; dim ", entry_.dim, ", state_dim ", entry_.state_dim));
    }
    return absl::OkStatus();
  }

  // Checks the order and adds the row to its bucket's digest.
  Status CountRow(const RowColumns& rows, size_t i) {
    const int64_t id = rows.ids[i];
    const int bucket = BucketOf(RowHash(table_hash_, id));
    auto& buckets = entry_.buckets;
    if (!buckets.empty() && std::pair(buckets.back().bucket, last_id_) >= std::pair(bucket, id)) {
      return absl::InternalError(absl::StrCat("table ", entry_.table, ": id ", id, " of bucket ",
                                              bucket, " was written behind id ", last_id_,
                                              " of bucket ", buckets.back().bucket));
    }
    last_id_ = id;
    if (buckets.empty() || buckets.back().bucket != bucket) {
      buckets.push_back({.bucket = bucket, .rows = 0, .digest = {}});
    }
    buckets.back().rows += 1;
    const RowColumns row = Cut(rows, i, 1);
    buckets.back().digest.Add(
        DigestOfRow(id, row.values, row.states, row.frequency[0], row.last_step[0]));
    entry_.rows += 1;
    return absl::OkStatus();
  }

  RowColumns Cut(const RowColumns& rows, size_t first, size_t count) const {
    const auto dim = static_cast<size_t>(entry_.dim),
               state_dim = static_cast<size_t>(entry_.state_dim);
    return {rows.ids.subspan(first, count), rows.values.subspan(first * dim, count * dim),
            rows.states.subspan(first * state_dim, count * state_dim),
            rows.frequency.subspan(first, count), rows.last_step.subspan(first, count)};
  }

  Status WritePending() {
    PEPNET_RETURN_IF_ERROR(WriteBatch({ids_, values_, states_, frequency_, last_step_}));
    ids_.clear();
    values_.clear();
    states_.clear();
    frequency_.clear();
    last_step_.clear();
    return absl::OkStatus();
  }

  Status WriteBatch(const RowColumns& rows) {
    const size_t count = rows.ids.size();
    // The arrays borrow the memory of the rows: all of it has been handed to the stream when
    // WriteRecordBatch() returns.
    arrow::ArrayVector columns = {Integers(rows.ids)};
    const auto add_lists = [&](std::span<const float> values) {
      columns.push_back(
          Lists(schema_->field(static_cast<int>(columns.size()))->type(), values, count));
    };
    if (entry_.dim > 0) add_lists(rows.values);
    if (entry_.state_dim > 0) add_lists(rows.states);
    columns.push_back(Integers(rows.frequency));
    columns.push_back(Integers(rows.last_step));
    const auto batch =
        arrow::RecordBatch::Make(schema_, static_cast<int64_t>(count), std::move(columns));
    const arrow::Status status = batches_->WriteRecordBatch(*batch);
    return status.ok() ? absl::OkStatus() : WriteError(status);
  }

  const std::string directory_;
  PartEntry entry_;
  const uint64_t table_hash_;
  const std::shared_ptr<arrow::Schema> schema_;  // shared: Arrow's type
  int64_t last_id_ = 0;
  std::vector<int64_t> ids_, frequency_, last_step_;  // rows that do not fill a record batch yet
  std::vector<float> values_, states_;
  std::unique_ptr<WriteBehind> file_;
  std::unique_ptr<FileStream> stream_;
  std::shared_ptr<arrow::ipc::RecordBatchWriter> batches_;  // shared: Arrow's type
};

}  // namespace

StatusOr<std::unique_ptr<TablePartWriter>> TablePartWriter::Create(const std::string& directory,
                                                                   const std::string& table,
                                                                   int dim, int state_dim, int part,
                                                                   int part_count) {
  CheckOrDie(dim >= 0 && state_dim >= 0 && part >= 0 && part < part_count,
             absl::StrCat("table ", table, ": part ", part, " of ", part_count, ", dim ", dim,
                          ", state_dim ", state_dim));
  if (table.empty() || !DumpJson(table).ok()) {
    return InvalidInput("table name '", table, "' is empty or not UTF-8");
  }
  PartEntry entry;
  entry.table = table;
  entry.file = absl::StrFormat("tables/%s/%s-%05d-of-%05d.arrow", PercentEncode(table),
                               dim > 0 ? "part" : "candidates", part, part_count);
  entry.dim = dim;
  entry.state_dim = state_dim;
  auto writer = std::make_unique<Writer>(directory, std::move(entry));
  PEPNET_RETURN_IF_ERROR(writer->Open());
  return writer;
}

}  // namespace pepnet

#include <algorithm>
#include <cstdint>

#include "arrow/array.h"
#include "arrow/io/file.h"
#include "arrow/ipc/reader.h"
#include "arrow/record_batch.h"

#include "common/checkpoint/table_part.h"
#include "common/checkpoint/table_part_schema.h"

namespace pepnet {
namespace {

std::span<const int64_t> Integers(const arrow::Array& column) {
  const auto& integers = static_cast<const arrow::Int64Array&>(column);
  return {integers.raw_values(), static_cast<size_t>(integers.length())};
}

// The items of all lists. Precondition: the column is valid (ValidateFull) and has no nulls.
std::span<const float> Floats(const arrow::Array& column) {
  const auto& lists = static_cast<const arrow::FixedSizeListArray&>(column);
  // A list array may be a slice of a longer one: its items begin at the offset of the first list.
  const auto& items = static_cast<const arrow::FloatArray&>(*lists.values());
  return {items.raw_values() + lists.value_offset(0),
          static_cast<size_t>(lists.length() * lists.value_length(0))};
}

class Reader : public TablePartReader {
 public:
  Reader(std::string path, PartEntry entry) : path_(std::move(path)), entry_(std::move(entry)) {}

  Status Open() {
    auto file = arrow::io::ReadableFile::Open(path_);
    if (!file.ok()) return Damaged(file.status());
    const auto size = (*file)->GetSize();
    if (!size.ok()) return Damaged(size.status());
    // A file that is cut short has lost its footer; this says so before Arrow says something else.
    if (*size != entry_.bytes) return Differs("bytes", entry_.bytes, *size);
    arrow::ipc::IpcReadOptions options = arrow::ipc::IpcReadOptions::Defaults();
    options.use_threads = false;
    // Columns are read through pointers to int64 and float, which a damaged file could let point
    // anywhere: Arrow copies those that are not aligned.
    options.ensure_alignment = arrow::ipc::Alignment::kDataTypeSpecificAlignment;
    auto batches = arrow::ipc::RecordBatchFileReader::Open(*file, options);
    if (!batches.ok()) return Damaged(batches.status());
    batches_ = *std::move(batches);
    const auto expected = TablePartSchema(entry_.dim, entry_.state_dim);
    if (!batches_->schema()->Equals(*expected, /*check_metadata=*/false)) {
      return absl::DataLossError(absl::StrCat(path_, ": expected columns ", expected->ToString(),
                                              "; found ", batches_->schema()->ToString()));
    }
    // All record batches but the last have kRowsPerRecordBatch rows, so the number of a row gives
    // its batch and no index is needed.
    const int64_t batch_count =
        entry_.rows / kRowsPerRecordBatch + (entry_.rows % kRowsPerRecordBatch > 0 ? 1 : 0);
    if (batches_->num_record_batches() != batch_count) {
      return Differs("record batches", batch_count, batches_->num_record_batches());
    }
    return absl::OkStatus();
  }

  Status Read(int64_t first, int64_t count,
              const std::function<Status(const RowColumns&)>& visit) override {
    if (first < 0 || count < 0 || first > entry_.rows || count > entry_.rows - first) {
      return InvalidInput(path_, ": rows ", first, " to ", first, " + ", count,
                          " asked for; it has ", entry_.rows);
    }
    // The range may begin and end within record batches, which can only be read whole.
    const int64_t end = first + count;
    while (first < end) {
      const int64_t index = first / kRowsPerRecordBatch;
      const int64_t batch_begin = index * kRowsPerRecordBatch;
      const int64_t batch_rows = std::min(kRowsPerRecordBatch, entry_.rows - batch_begin);
      const int64_t run_end = std::min(end, batch_begin + batch_rows);
      PEPNET_RETURN_IF_ERROR(ReadRun(static_cast<int>(index), batch_rows,
                                     static_cast<size_t>(first - batch_begin),
                                     static_cast<size_t>(run_end - first), visit));
      first = run_end;
    }
    return absl::OkStatus();
  }

 private:
  Status Damaged(const arrow::Status& status) const {
    return FromArrow(status, absl::StatusCode::kDataLoss, absl::StrCat("cannot read ", path_));
  }
  Status Differs(const char* what, int64_t expected, int64_t found) const {
    return absl::DataLossError(
        absl::StrCat(path_, ": expected ", expected, " ", what, ", found ", found));
  }

  // Visits rows [offset, offset + count) of record batch `index`, which must have `rows` rows.
  Status ReadRun(int index, int64_t rows, size_t offset, size_t count,
                 const std::function<Status(const RowColumns&)>& visit) {
    if (index != last_index_) PEPNET_RETURN_IF_ERROR(Load(index, rows));
    const arrow::RecordBatch& batch = *last_batch_;
    const auto dim = static_cast<size_t>(entry_.dim),
               state_dim = static_cast<size_t>(entry_.state_dim);
    RowColumns run;
    // value and state have no column where their width is 0 (TablePartSchema()).
    int column = 0;
    run.ids = Integers(*batch.column(column++)).subspan(offset, count);
    if (dim > 0) run.values = Floats(*batch.column(column++)).subspan(offset * dim, count * dim);
    if (state_dim > 0) {
      run.states = Floats(*batch.column(column++)).subspan(offset * state_dim, count * state_dim);
    }
    run.frequency = Integers(*batch.column(column++)).subspan(offset, count);
    run.last_step = Integers(*batch.column(column++)).subspan(offset, count);
    return visit(run);
  }

  Status Load(int index, int64_t rows) {
    // The index is reset before anything can fail: an error must not leave the old index with
    // another batch.
    last_index_ = -1;
    last_batch_.reset();
    auto read = batches_->ReadRecordBatch(index);
    if (!read.ok()) return Damaged(read.status());
    const arrow::RecordBatch& batch = **read;
    // Lengths and offsets come from the file: without this check, columns would be read beyond
    // their end.
    if (const arrow::Status valid = batch.ValidateFull(); !valid.ok()) return Damaged(valid);
    if (batch.num_rows() != rows) return Differs("rows in a record batch", rows, batch.num_rows());
    for (const auto& column : batch.columns()) {
      if (column->null_count() != 0) return Differs("nulls in a column", 0, column->null_count());
    }
    last_batch_ = *std::move(read);
    last_index_ = index;
    return absl::OkStatus();
  }

  const std::string path_;
  const PartEntry entry_;
  // The record batch read last: a caller who reads bucket by bucket meets the same one many times.
  int last_index_ = -1;
  std::shared_ptr<arrow::RecordBatch> last_batch_;              // shared: Arrow's type
  std::shared_ptr<arrow::ipc::RecordBatchFileReader> batches_;  // shared: Arrow's type
};

}  // namespace

StatusOr<std::unique_ptr<TablePartReader>> TablePartReader::Open(const std::string& directory,
                                                                 const PartEntry& entry) {
  auto reader = std::make_unique<Reader>(absl::StrCat(directory, "/", entry.file), entry);
  PEPNET_RETURN_IF_ERROR(reader->Open());
  return reader;
}

}  // namespace pepnet

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <fcntl.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/writer.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "cli/export/formats.h"
#include "common/file/file.h"
#include "ps/table/store/value_codec.h"

namespace pepnet {
namespace {

// Arrow fails on what the disk does, which may be better the next time: Unavailable.
Status FromArrow(const arrow::Status& status, const std::string& path) {
  if (status.ok()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(path, ": ", status.message()));
}

// The columns of docs/formats.md. The metadata tell a reader without the config what the rows are.
std::shared_ptr<arrow::Schema> TableSchema(const Table& table, int64_t step) {
  return arrow::schema(
      {arrow::field("id", arrow::int64(), false),
       arrow::field("value", arrow::list(arrow::field("element", arrow::float32(), false)), false),
       arrow::field("frequency", arrow::int64(), false),
       arrow::field("last_step", arrow::int64(), false)},
      arrow::key_value_metadata(
          {"pepnet.table", "pepnet.rows", "pepnet.dim", "pepnet.step"},
          {table.name, absl::StrCat(table.rows), absl::StrCat(table.dim), absl::StrCat(step)}));
}

// Borrows `values`: the writer has copied them when Append() returns.
std::shared_ptr<arrow::Array> Integers(std::span<const int64_t> values) {
  return std::make_shared<arrow::Int64Array>(static_cast<int64_t>(values.size()),
                                             arrow::Buffer::Wrap(values.data(), values.size()));
}

// Borrows `values`; offsets are counted in floats.
std::shared_ptr<arrow::Array> Lists(const std::shared_ptr<arrow::DataType>& type,
                                    const std::vector<int32_t>& offsets,
                                    std::span<const float> values) {
  auto floats = std::make_shared<arrow::FloatArray>(
      static_cast<int64_t>(values.size()), arrow::Buffer::Wrap(values.data(), values.size()));
  return std::make_shared<arrow::ListArray>(type, static_cast<int64_t>(offsets.size()) - 1,
                                            arrow::Buffer::Wrap(offsets), floats);
}

// One file that is written batch by batch and synced at the end. Not atomic: it lies in a directory
// under construction.
class ParquetFile {
 public:
  ParquetFile(std::string path, std::shared_ptr<arrow::Schema> schema)
      : path_(std::move(path)), schema_(std::move(schema)) {}

  Status Open() { return FromArrow(TryOpen(), path_); }
  Status Append(int64_t rows, arrow::ArrayVector columns) {
    return FromArrow(
        writer_->WriteRecordBatch(*arrow::RecordBatch::Make(schema_, rows, std::move(columns))),
        path_);
  }
  Status Close() {
    PEPNET_RETURN_IF_ERROR(FromArrow(writer_->Close(), path_));
    // The sync comes before the file is closed, since the descriptor is Arrow's.
    if (fsync(file_->file_descriptor()) != 0) {
      return absl::UnavailableError(absl::StrCat(path_, ": fsync failed"));
    }
    return FromArrow(file_->Close(), path_);
  }

 private:
  arrow::Status TryOpen() {
    ARROW_ASSIGN_OR_RAISE(file_, arrow::io::FileOutputStream::Open(path_));
    // The Arrow schema is stored too, so that the metadata and `not null` come back.
    ARROW_ASSIGN_OR_RAISE(
        writer_,
        parquet::arrow::FileWriter::Open(
            *schema_, arrow::default_memory_pool(), file_, parquet::default_writer_properties(),
            parquet::ArrowWriterProperties::Builder().store_schema()->build()));
    return arrow::Status::OK();
  }

  std::string path_;
  std::shared_ptr<arrow::Schema> schema_;
  std::shared_ptr<arrow::io::FileOutputStream> file_;  // shared with Arrow's writer
  std::unique_ptr<parquet::arrow::FileWriter> writer_;
};

// Sum of the rows' digests, which no order or grouping changes.
struct RowSum {
  int64_t rows = 0;
  RowDigest digest;

  void Add(int64_t id, std::span<const float> value, int64_t frequency, int64_t last_step) {
    ++rows;
    digest.Add(DigestOfRow(id, value, {}, frequency, last_step));
  }
};

// Adds the rows of a file to `sum`, batch by batch.
arrow::Status SumRows(const std::string& path, int dim, RowSum* sum) {
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::io::ReadableFile> file,
                        arrow::io::ReadableFile::Open(path));
  ARROW_ASSIGN_OR_RAISE(std::unique_ptr<parquet::arrow::FileReader> reader,
                        parquet::arrow::OpenFile(file, arrow::default_memory_pool()));
  ARROW_ASSIGN_OR_RAISE(std::unique_ptr<arrow::RecordBatchReader> batches,
                        reader->GetRecordBatchReader());
  for (;;) {
    std::shared_ptr<arrow::RecordBatch> batch;
    ARROW_RETURN_NOT_OK(batches->ReadNext(&batch));
    if (batch == nullptr) return arrow::Status::OK();
    const auto& ids = static_cast<const arrow::Int64Array&>(*batch->column(0));
    const auto& lists = static_cast<const arrow::ListArray&>(*batch->column(1));
    const auto& floats = static_cast<const arrow::FloatArray&>(*lists.values());
    const auto& frequency = static_cast<const arrow::Int64Array&>(*batch->column(2));
    const auto& last_step = static_cast<const arrow::Int64Array&>(*batch->column(3));
    for (int64_t i = 0; i < batch->num_rows(); ++i) {
      if (lists.value_length(i) != dim) return arrow::Status::Invalid("a row of another width");
      sum->Add(ids.Value(i),
               {floats.raw_values() + lists.value_offset(i), static_cast<size_t>(dim)},
               frequency.Value(i), last_step.Value(i));
    }
  }
}

Status WriteTable(const ExportSource& source, const Table& table, const std::string& path) {
  const std::shared_ptr<arrow::Schema> schema = TableSchema(table, source.manifest->step);
  ParquetFile file(path, schema);
  PEPNET_RETURN_IF_ERROR(file.Open());
  RowSum written;
  // Lists have offsets of 32 bits: of wide rows fewer make one batch.
  const int64_t rows_at_once = std::numeric_limits<int32_t>::max() / table.dim;
  std::vector<int32_t> offsets;
  std::vector<float> rounded;  // as servers of this config read the values
  for (const PartEntry& part : source.manifest->parts) {
    if (part.table != table.name) continue;
    PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<TablePartReader> reader,
                            TablePartReader::Open(source.checkpoint, part));
    PEPNET_RETURN_IF_ERROR(reader->Read(0, part.rows, [&](const RowColumns& rows) -> Status {
      const int64_t count = static_cast<int64_t>(rows.ids.size());
      std::span<const float> values = rows.values;
      if (table.value_kind != ValueKind::kFp32) {
        rounded.assign(values.begin(), values.end());
        for (int64_t i = 0; i < count; ++i) {
          RoundToNearest(table.value_kind, std::span(rounded).subspan(i * table.dim, table.dim));
        }
        values = rounded;
      }
      for (int64_t i = 0; i < count; ++i) {
        written.Add(rows.ids[i], values.subspan(i * table.dim, table.dim), rows.frequency[i],
                    rows.last_step[i]);
      }
      for (int64_t first = 0; first < count; first += rows_at_once) {
        const int64_t size = std::min(rows_at_once, count - first);
        // Rows have one width, so offsets are its multiples.
        offsets.resize(size + 1);
        for (int64_t i = 0; i <= size; ++i) offsets[i] = static_cast<int32_t>(i * table.dim);
        PEPNET_RETURN_IF_ERROR(
            file.Append(size, {Integers(rows.ids.subspan(first, size)),
                               Lists(schema->field(1)->type(), offsets,
                                     values.subspan(first * table.dim, size * table.dim)),
                               Integers(rows.frequency.subspan(first, size)),
                               Integers(rows.last_step.subspan(first, size))}));
      }
      return absl::OkStatus();
    }));
  }
  PEPNET_RETURN_IF_ERROR(file.Close());
  // The file is read back and compared by a sum of digests, which needs no second copy of the table
  // in memory.
  RowSum read;
  PEPNET_RETURN_IF_ERROR(FromArrow(SumRows(path, table.dim, &read), path));
  if (read.rows != written.rows || !(read.digest == written.digest)) {
    return absl::DataLossError(absl::StrCat(path, " does not read back as it was written"));
  }
  return absl::OkStatus();
}

// Dense parameters as one row each: their shapes differ, so values are a flat list beside the
// shape.
arrow::Result<std::shared_ptr<arrow::RecordBatch>> DenseRows(const DenseParameters& parameters) {
  arrow::StringBuilder names;
  auto sizes = std::make_shared<arrow::Int64Builder>();
  auto floats = std::make_shared<arrow::FloatBuilder>();
  arrow::ListBuilder shapes(arrow::default_memory_pool(), sizes),
      values(arrow::default_memory_pool(), floats);
  for (size_t i = 0; i < parameters.specs().size(); ++i) {
    const ParameterSpec& spec = parameters.specs()[i];
    const std::span<const float> value = parameters.value(static_cast<int>(i));
    ARROW_RETURN_NOT_OK(names.Append(spec.name));
    ARROW_RETURN_NOT_OK(shapes.Append());
    ARROW_RETURN_NOT_OK(sizes->AppendValues(spec.shape));
    ARROW_RETURN_NOT_OK(values.Append());
    ARROW_RETURN_NOT_OK(floats->AppendValues(value.data(), static_cast<int64_t>(value.size())));
  }
  ARROW_ASSIGN_OR_RAISE(auto name_array, names.Finish());
  ARROW_ASSIGN_OR_RAISE(auto shape_array, shapes.Finish());
  ARROW_ASSIGN_OR_RAISE(auto value_array, values.Finish());
  return arrow::RecordBatch::Make(
      arrow::schema({arrow::field("name", arrow::utf8()),
                     arrow::field("shape", arrow::list(arrow::int64())),
                     arrow::field("value", arrow::list(arrow::float32()))}),
      name_array->length(), {name_array, shape_array, value_array});
}

}  // namespace

StatusOr<std::vector<std::string>> WriteParquet(const ExportSource& source,
                                                const std::string& directory) {
  PEPNET_RETURN_IF_ERROR(MakeDirectories(directory + "/tables"));
  std::vector<std::string> names;
  for (const Table& table : source.config->tables) {
    names.push_back(absl::StrCat("tables/", PercentEncode(table.name), ".parquet"));
    PEPNET_RETURN_IF_ERROR(WriteTable(source, table, absl::StrCat(directory, "/", names.back())));
  }
  PEPNET_RETURN_IF_ERROR(SyncDirectory(directory + "/tables"));
  names.push_back("dense.parquet");
  const auto dense = DenseRows(*source.parameters);
  PEPNET_RETURN_IF_ERROR(FromArrow(dense.status(), names.back()));
  ParquetFile file(directory + "/" + names.back(), (*dense)->schema());
  PEPNET_RETURN_IF_ERROR(file.Open());
  PEPNET_RETURN_IF_ERROR(file.Append((*dense)->num_rows(), (*dense)->columns()));
  PEPNET_RETURN_IF_ERROR(file.Close());
  return names;
}

}  // namespace pepnet

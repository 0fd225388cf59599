#include "worker/eval/prediction_writer.h"

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <parquet/arrow/writer.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>

#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "common/file/file.h"

// arrow::Type has many more values than the ones a column may have.
#pragma GCC diagnostic ignored "-Wswitch-enum"

namespace pepnet {
namespace {

// Errors of the disk: Unavailable, as they may pass.
Status FromArrow(const arrow::Status& status, const std::string& path) {
  if (status.ok()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("writing ", path, ": ", status.message()));
}

// No rows of the reserved columns; null without any.
std::shared_ptr<arrow::RecordBatch> EmptyBatch(const std::shared_ptr<arrow::Schema>& schema) {
  if (schema == nullptr) return nullptr;
  arrow::ArrayVector columns;
  for (const auto& field : schema->fields()) {
    columns.push_back(*arrow::MakeEmptyArray(field->type()));
  }
  return arrow::RecordBatch::Make(schema, 0, columns);
}

// [rows] floats as one array, or [rows, width] as lists.
arrow::Result<std::shared_ptr<arrow::Array>> MakeColumn(const ModelOutput& output, int64_t rows) {
  arrow::FloatBuilder floats;
  if (!output.values.empty()) {  // whose pointer is null, which memcpy() may not be given
    ARROW_RETURN_NOT_OK(
        floats.AppendValues(output.values.data(), static_cast<int64_t>(output.values.size())));
  }
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Array> values, floats.Finish());
  if (output.width == 0) return values;
  if (rows > std::numeric_limits<int32_t>::max() / output.width) {
    return arrow::Status::CapacityError(rows, " rows of ", output.width,
                                        " values are more than a column of lists holds, 2^31 - 1 ",
                                        "values; make data_config.eval_batch_size smaller");
  }
  arrow::Int32Builder offsets;
  for (int64_t r = 0; r <= rows; ++r) {
    ARROW_RETURN_NOT_OK(offsets.Append(static_cast<int32_t>(r * output.width)));
  }
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Array> offset_array, offsets.Finish());
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Array> lists,
                        arrow::ListArray::FromArrays(*offset_array, *values));
  return lists;
}

// Outputs first, in the order that was asked for, then the reserved columns as they came.
arrow::Result<std::shared_ptr<arrow::RecordBatch>> MakeBatch(
    int64_t rows, const std::vector<ModelOutput>& outputs,
    const std::shared_ptr<arrow::RecordBatch>& reserved) {
  arrow::FieldVector fields;
  arrow::ArrayVector columns;
  for (const ModelOutput& output : outputs) {
    ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Array> column, MakeColumn(output, rows));
    fields.push_back(arrow::field(output.name, column->type()));
    columns.push_back(std::move(column));
  }
  if (reserved != nullptr) {
    for (int c = 0; c < reserved->num_columns(); ++c) {
      fields.push_back(reserved->schema()->field(c));
      columns.push_back(reserved->column(c));
    }
  }
  return arrow::RecordBatch::Make(arrow::schema(fields), rows, columns);
}

// The file is made with the first batch, whose reserved columns give the schema; a worker without
// rows makes it in Finish(), with no rows.
class ParquetPredictionWriter : public PredictionWriter {
 public:
  ParquetPredictionWriter(std::string temporary, std::string path)
      : path_(std::move(path)), temporary_(std::move(temporary)) {}
  ~ParquetPredictionWriter() override {
    if (!published_) unlink(temporary_.c_str());
  }

  Status Append(int64_t rows, const std::vector<ModelOutput>& outputs,
                const std::shared_ptr<arrow::RecordBatch>& reserved) override {
    return FromArrow(Write(rows, outputs, reserved), path_);
  }

  Status Finish(const std::vector<ModelOutput>& columns,
                const std::shared_ptr<arrow::Schema>& reserved) override {
    // Every worker writes a part, also an empty one: readers find the same columns in all.
    if (writer_ == nullptr) PEPNET_RETURN_IF_ERROR(Append(0, columns, EmptyBatch(reserved)));
    PEPNET_RETURN_IF_ERROR(FromArrow(writer_->Close(), path_));
    // The rename must not be seen before the contents are on disk (law L6).
    if (fsync(file_->file_descriptor()) != 0) {
      return absl::UnavailableError(
          absl::StrCat("writing ", path_, ": fsync: ", std::strerror(errno)));
    }
    const arrow::Result<int64_t> size = file_->Tell();
    if (!size.ok()) return FromArrow(size.status(), path_);
    bytes_ = *size;
    return FromArrow(file_->Close(), path_);
  }
  int64_t bytes() const override { return bytes_; }

  Status Publish() override {
    PEPNET_RETURN_IF_ERROR(RenameAndSync(temporary_, path_));
    published_ = true;
    return absl::OkStatus();
  }

 private:
  arrow::Status Write(int64_t rows, const std::vector<ModelOutput>& outputs,
                      const std::shared_ptr<arrow::RecordBatch>& reserved) {
    ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::RecordBatch> batch,
                          MakeBatch(rows, outputs, reserved));
    if (writer_ == nullptr) {
      ARROW_ASSIGN_OR_RAISE(file_, arrow::io::FileOutputStream::Open(temporary_));
      ARROW_ASSIGN_OR_RAISE(writer_, parquet::arrow::FileWriter::Open(
                                         *batch->schema(), arrow::default_memory_pool(), file_));
    }
    return writer_->WriteRecordBatch(*batch);
  }

  std::string path_, temporary_;
  std::shared_ptr<arrow::io::FileOutputStream> file_;  // shared with Arrow's writer
  std::unique_ptr<parquet::arrow::FileWriter> writer_;
  int64_t bytes_ = 0;
  bool published_ = false;
};

// A text cell, quoted where CSV needs it. RFC 4180: a quote within quotes is doubled.
std::string CsvCell(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\"", "\"\""}}), "\"");
}

arrow::Result<std::string> ValueText(const arrow::Array& array, int64_t row);

// "[a, b]": elements `first` to `first + count` of `values`, each with its key where there are
// `keys`.
arrow::Result<std::string> ListText(const arrow::Array* keys, const arrow::Array& values,
                                    int64_t first, int64_t count) {
  std::string text = keys != nullptr ? "{" : "[";
  for (int64_t i = first; i < first + count; ++i) {
    if (i > first) text += ", ";
    if (keys != nullptr) {
      ARROW_ASSIGN_OR_RAISE(const std::string key, ValueText(*keys, i));
      absl::StrAppend(&text, key, ": ");
    }
    ARROW_ASSIGN_OR_RAISE(const std::string value, ValueText(values, i));
    text += value;
  }
  return text + (keys != nullptr ? "}" : "]");
}

// The value itself, where Arrow's ToString() would show how it is stored.
arrow::Result<std::string> ValueText(const arrow::Array& array, int64_t row) {
  if (array.IsNull(row)) return "null";
  switch (array.type_id()) {
    case arrow::Type::DICTIONARY: {
      const auto& dictionary = static_cast<const arrow::DictionaryArray&>(array);
      const int64_t index = dictionary.GetValueIndex(row);
      if (index < 0 || index >= dictionary.dictionary()->length()) {
        return arrow::Status::Invalid("index ", index, " is outside a dictionary of ",
                                      dictionary.dictionary()->length());
      }
      return ValueText(*dictionary.dictionary(), index);
    }
    case arrow::Type::LIST: {
      const auto& list = static_cast<const arrow::ListArray&>(array);
      return ListText(nullptr, *list.values(), list.value_offset(row), list.value_length(row));
    }
    case arrow::Type::LARGE_LIST: {
      const auto& list = static_cast<const arrow::LargeListArray&>(array);
      return ListText(nullptr, *list.values(), list.value_offset(row), list.value_length(row));
    }
    case arrow::Type::FIXED_SIZE_LIST: {
      const auto& list = static_cast<const arrow::FixedSizeListArray&>(array);
      return ListText(nullptr, *list.values(), list.value_offset(row), list.value_length(row));
    }
    case arrow::Type::MAP: {
      const auto& map = static_cast<const arrow::MapArray&>(array);
      return ListText(map.keys().get(), *map.items(), map.value_offset(row), map.value_length(row));
    }
    case arrow::Type::STRUCT: {
      const auto& fields = static_cast<const arrow::StructArray&>(array);
      std::string text = "{";
      for (int f = 0; f < fields.num_fields(); ++f) {
        ARROW_ASSIGN_OR_RAISE(const std::string value, ValueText(*fields.field(f), row));
        absl::StrAppend(&text, f > 0 ? ", " : "", fields.struct_type()->field(f)->name(), ": ",
                        value);
      }
      return text + "}";
    }
    default: {
      ARROW_ASSIGN_OR_RAISE(const std::shared_ptr<arrow::Scalar> scalar, array.GetScalar(row));
      return scalar->ToString();
    }
  }
}

// The same rows as text. Floats have nine digits, with which they read back exactly; lists stand in
// quotes.
class CsvPredictionWriter : public PredictionWriter {
 public:
  CsvPredictionWriter(std::string temporary, std::string path)
      : path_(std::move(path)), temporary_(std::move(temporary)) {}
  ~CsvPredictionWriter() override {
    if (!published_) unlink(temporary_.c_str());
  }

  Status Append(int64_t rows, const std::vector<ModelOutput>& outputs,
                const std::shared_ptr<arrow::RecordBatch>& reserved) override {
    std::string text;
    if (file_ == nullptr) {
      PEPNET_ASSIGN_OR_RETURN(file_, FileWriter::Create(temporary_));
      for (const ModelOutput& output : outputs) {
        absl::StrAppend(&text, text.empty() ? "" : ",", CsvCell(output.name));
      }
      for (int c = 0; reserved != nullptr && c < reserved->num_columns(); ++c) {
        absl::StrAppend(&text, ",", CsvCell(reserved->schema()->field(c)->name()));
      }
      text += "\n";
    }
    for (int64_t row = 0; row < rows; ++row) {
      bool first = true;
      for (const ModelOutput& output : outputs) {
        if (!first) text += ",";
        first = false;
        AppendOutput(output, row, &text);
      }
      for (int c = 0; reserved != nullptr && c < reserved->num_columns(); ++c) {
        text += ",";
        // An empty cell, as the reader of such files takes it for none.
        if (reserved->column(c)->IsNull(row)) continue;
        auto cell = ValueText(*reserved->column(c), row);
        if (!cell.ok()) return FromArrow(cell.status(), path_);
        text += CsvCell(*cell);
      }
      text += "\n";
    }
    return file_->Append(text.data(), text.size());
  }

  Status Finish(const std::vector<ModelOutput>& columns,
                const std::shared_ptr<arrow::Schema>& reserved) override {
    if (file_ == nullptr) PEPNET_RETURN_IF_ERROR(Append(0, columns, EmptyBatch(reserved)));
    return file_->Finish();
  }
  int64_t bytes() const override { return file_->bytes(); }

  Status Publish() override {
    PEPNET_RETURN_IF_ERROR(RenameAndSync(temporary_, path_));
    published_ = true;
    return absl::OkStatus();
  }

 private:
  // "0.25", or "[0.1, 0.9]" in quotes for an output of several classes.
  static void AppendOutput(const ModelOutput& output, int64_t row, std::string* text) {
    if (output.width == 0) {
      absl::StrAppendFormat(text, "%.9g", output.values[row]);
      return;
    }
    *text += "\"[";
    for (int c = 0; c < output.width; ++c) {
      absl::StrAppendFormat(text, "%s%.9g", c > 0 ? ", " : "",
                            output.values[row * output.width + c]);
    }
    *text += "]\"";
  }

  std::string path_, temporary_;
  std::unique_ptr<FileWriter> file_;
  bool published_ = false;
};

}  // namespace

// Two columns of one name would make a file that readers refuse or read by halves.
Status CheckColumnNames(const std::vector<ModelOutput>& outputs,
                        const std::shared_ptr<arrow::Schema>& reserved) {
  for (const ModelOutput& output : outputs) {
    if (reserved == nullptr || reserved->GetFieldByName(output.name) == nullptr) continue;
    return InvalidInput("the reserved column '", output.name,
                        "' has the name of an output; leave it out, rename it in the input, or "
                        "choose other outputs with "
                        "--output_columns");
  }
  return absl::OkStatus();
}

std::unique_ptr<PredictionWriter> PredictionWriter::Make(const std::string& temporary,
                                                         const std::string& path, bool csv) {
  if (csv) return std::make_unique<CsvPredictionWriter>(temporary, path);
  return std::make_unique<ParquetPredictionWriter>(temporary, path);
}

}  // namespace pepnet

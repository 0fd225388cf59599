#include "tests/worker/data/data_files.h"

#include <arrow/array/builder_binary.h>
#include <arrow/io/file.h>
#include <arrow/json/from_string.h>
#include <arrow/table.h>
#include <parquet/arrow/writer.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"

namespace pepnet {

std::string TestDirectory::Write(const std::string& name, const std::string& bytes) const {
  std::ofstream(Path(name), std::ios::binary) << bytes;
  return Path(name);
}

std::shared_ptr<arrow::Array> JsonArray(const std::shared_ptr<arrow::DataType>& type,
                                        const std::string& json) {
  auto array = arrow::json::ArrayFromJSONString(type, json);
  EXPECT_OK(array);
  return array.ValueOrDie();
}

std::shared_ptr<arrow::RecordBatch> MakeRows(const std::vector<NamedColumn>& columns) {
  arrow::FieldVector fields;
  arrow::ArrayVector arrays;
  for (const NamedColumn& column : columns) {
    fields.push_back(arrow::field(column.name, column.values->type()));
    arrays.push_back(column.values);
  }
  return arrow::RecordBatch::Make(arrow::schema(fields), arrays.front()->length(), arrays);
}

void WriteParquet(const std::string& path, const std::vector<NamedColumn>& columns,
                  int64_t row_group_rows) {
  const auto table = arrow::Table::FromRecordBatches({MakeRows(columns)}).ValueOrDie();
  const auto sink = arrow::io::FileOutputStream::Open(path).ValueOrDie();
  // Keeps Arrow's own types (large lists, dictionaries), as pyarrow does.
  const auto arrow_properties = parquet::ArrowWriterProperties::Builder().store_schema()->build();
  const arrow::Status status =
      parquet::arrow::WriteTable(*table, arrow::default_memory_pool(), sink, row_group_rows,
                                 parquet::default_writer_properties(), arrow_properties);
  EXPECT_OK(status);
}

RowSelection SelectAll(const std::vector<NamedColumn>& columns) {
  RowSelection selection;
  selection.chunks.push_back(
      {MakeRows(columns), std::make_shared<const std::string>("f"), 0, nullptr});
  selection.AddRun(0, 0, selection.chunks[0].rows->num_rows());
  return selection;
}

RowSelection TextCells(const std::vector<std::string>& cells) {
  arrow::StringBuilder builder;
  for (const std::string& cell : cells) {
    EXPECT_OK((cell.empty() ? builder.AppendNull() : builder.Append(cell)));
  }
  return SelectAll({{"c", builder.Finish().ValueOrDie()}});
}

Feature IdFeature(const std::string& name, int64_t rows) {
  Feature feature;
  feature.name = feature.column = name;
  feature.rows = rows;
  feature.dim = 4;
  feature.separator.push_back('\x1d');
  return feature;
}

Feature RawFeature(const std::string& name, int dim) {
  Feature feature;
  feature.name = feature.column = name;
  feature.kind = FeatureKind::kRaw;
  feature.bucketizer = Bucketizer::kNone;
  feature.dim = feature.value_dim = dim;
  feature.separator.push_back('\x1d');
  return feature;
}

std::string ShowIds(const IdColumn& column) {
  std::string text;
  for (size_t row = 0; row + 1 < column.offsets.size(); ++row) {
    if (row > 0) text.push_back('|');
    for (int32_t i = column.offsets[row]; i < column.offsets[row + 1]; ++i) {
      absl::StrAppend(&text, i > column.offsets[row] ? "," : "", column.ids[i]);
      if (!column.weights.empty()) absl::StrAppend(&text, ":", column.weights[i]);
    }
  }
  return text;
}

std::string ShowValues(const AlignedBuffer<float>& values, int dim) {
  std::string text;
  for (size_t i = 0; i < values.size(); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : i % dim == 0 ? "|" : " ", values[i]);
  }
  return text;
}

}  // namespace pepnet

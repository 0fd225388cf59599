// Input files and configs for the tests of worker/data.
#pragma once

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "common/job_config/feature.h"
#include "tests/support/temporary_directory.h"
#include "worker/data/batch.h"
#include "worker/data/files/row_reader.h"
#include "worker/data/load/batch_loader.h"
#include "worker/data/rows/row_selection.h"

namespace pepnet {

// A directory of one test with input files.
class TestDirectory {
 public:
  std::string Path(const std::string& name) const { return directory_ / name; }
  // Writes the bytes and returns the path.
  std::string Write(const std::string& name, const std::string& bytes) const;

 private:
  const TemporaryDirectory directory_;
};

// A column from JSON text: JsonArray(arrow::int32(), "[1, null]").
std::shared_ptr<arrow::Array> JsonArray(const std::shared_ptr<arrow::DataType>& type,
                                        const std::string& json);

struct NamedColumn {
  std::string name;
  std::shared_ptr<arrow::Array> values;
};
std::shared_ptr<arrow::RecordBatch> MakeRows(const std::vector<NamedColumn>& columns);
void WriteParquet(const std::string& path, const std::vector<NamedColumn>& columns,
                  int64_t row_group_rows = 1 << 20);

// Rows of `columns` as if read from file "f" as row 1 and on.
RowSelection SelectAll(const std::vector<NamedColumn>& columns);
// One column "c" of texts, as a CSV reader would give it: "" is null.
RowSelection TextCells(const std::vector<std::string>& cells);

// An id feature "c" reading column "c", ids as they are.
Feature IdFeature(const std::string& name, int64_t rows);
// A raw feature without table.
Feature RawFeature(const std::string& name, int dim);

// "1,2||0" : ids of the rows, separated by '|'; with weights "1:0.5,2:1|".
std::string ShowIds(const IdColumn& column);
// "0.5 1|2 3"
std::string ShowValues(const AlignedBuffer<float>& values, int dim);

}  // namespace pepnet

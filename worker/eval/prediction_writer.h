// PredictionWriter: one part file of a prediction: output columns, then reserved input columns.
//
// Parquet: float32 columns, [B, C] outputs as list<float32>; reserved columns keep their input
//          type.
// CSV:     comma, header, 9 significant digits (enough to read a float32 back), lists as "[a, b]",
//          maps and structs as "{k: v}", dictionaries as the words they stand for.
// Files:   rows go to a temporary file; Publish() renames it. Without Publish() nothing remains.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "worker/model/pepnet_model.h"

namespace arrow {
class RecordBatch;
class Schema;
}  // namespace arrow

namespace pepnet {

// A file has one column of each name: readers take one of two without a word, or none.
// InvalidArgument if a reserved column (null: none) is called like an output.
Status CheckColumnNames(const std::vector<ModelOutput>& outputs,
                        const std::shared_ptr<arrow::Schema>& reserved);

class PredictionWriter {
 public:
  // `temporary` is removed unless it becomes `path`.
  static std::unique_ptr<PredictionWriter> Make(const std::string& temporary,
                                                const std::string& path, bool csv);
  virtual ~PredictionWriter() = default;

  // `rows` rows; `outputs` in column order; `reserved` may be null. All calls pass the same
  // columns.
  virtual Status Append(int64_t rows, const std::vector<ModelOutput>& outputs,
                        const std::shared_ptr<arrow::RecordBatch>& reserved) = 0;
  // Closes and fsyncs the temporary file. A part without any Append is an empty file of the given
  // columns and reserved columns (null: none).
  virtual Status Finish(const std::vector<ModelOutput>& columns,
                        const std::shared_ptr<arrow::Schema>& reserved) = 0;
  // Of the finished file.
  virtual int64_t bytes() const = 0;
  virtual Status Publish() = 0;
};

}  // namespace pepnet

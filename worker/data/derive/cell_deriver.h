// CellDeriver: computes the cells of one feature with its operator.
//
// Threads:   immutable; Compute() may run in many threads at once.
// Failure:   an error names file, row and column of the input cell, or of the feature where the
//            operator refuses.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/feature.h"
#include "worker/data/derive/column_operator.h"
#include "worker/data/rows/cell_column.h"

namespace pepnet {

// The cells of an input, and how they are read.
struct InputSource {
  CellColumn cells;
  std::string column;  // for messages
  // Between tokens of a text; of another feature, that feature's; "": the form's own.
  std::string separator;
  std::string default_value;  // read for an empty cell of another feature
};

class CellDeriver {
 public:
  // Precondition: feature.op.
  explicit CellDeriver(const Feature& feature)
      : feature_(feature), operator_(MakeOperator(feature)) {}

  // One source per input of the operator. Cells of texts or of numbers, in lists; of a sequence, in
  // lists of lists.
  StatusOr<CellColumn> Compute(const RowSelection& selection,
                               const std::vector<InputSource>& inputs) const;

 private:
  Status CheckTypes(const RowSelection& selection, const std::vector<InputSource>& inputs) const;

  const Feature feature_;
  const std::unique_ptr<ColumnOperator> operator_;
};

}  // namespace pepnet

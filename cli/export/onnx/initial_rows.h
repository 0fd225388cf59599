// The initial values of rows, inside an ONNX graph: what ps/table/row_initializer.h computes, so
// that an id without a row reads from model.onnx what it reads in predict.
#pragma once

#include <cstdint>

#include "cli/export/onnx/ops.h"
#include "common/base/status.h"
#include "common/job_config/table.h"

namespace pepnet {

// [k, dim] float of ids [k] int64, k >= 0. Uniform and constant values are the same bits, normal
// ones the same but for the last bits of sine, cosine and logarithm, and rounded for FP16 and BF16
// rows. InvalidArgument for other initialisers and for INT8 rows. Raises the graph's opset to 18,
// which has bitwise operators.
StatusOr<OnnxGraph::Value> AddInitialRows(const Table& table, uint64_t seed,
                                          const OnnxGraph::Value& ids, OnnxOps* ops);

}  // namespace pepnet

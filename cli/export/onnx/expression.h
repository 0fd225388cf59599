// Formulas (docs/expressions.md) as operators of an ONNX graph, in double.
#pragma once

#include <span>

#include "cli/export/onnx/graph.h"
#include "common/expression/expression.h"

namespace pepnet {

// `variables`: doubles of any one shape, in the order of expression.variables(). The result has
// their shape.
// Error: a function that onnxruntime does not compute in double. Precondition:
// !expression.reads_cells().
StatusOr<OnnxGraph::Value> AddExpression(const Expression& expression,
                                         std::span<const OnnxGraph::Value> variables,
                                         OnnxGraph* graph);

}  // namespace pepnet

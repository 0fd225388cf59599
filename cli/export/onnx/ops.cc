#include "cli/export/onnx/ops.h"

namespace pepnet {

using Value = OnnxGraph::Value;

// Constants are kept by value: a model of hundreds of small ones is slow to load and hard to read.
Value OnnxOps::Number(float x) {
  Value& value = numbers_[x];
  // Too small to go to another file, so it cannot fail.
  if (value.empty()) value = *graph_.Floats("", {}, {&x, 1});
  return value;
}

Value OnnxOps::Scalar(int64_t n) {
  Value& value = scalars_[n];
  if (value.empty()) value = graph_.Integers({}, {&n, 1});
  return value;
}

Value OnnxOps::Integers(const std::vector<int64_t>& values) {
  Value& value = integers_[values];
  if (value.empty()) value = graph_.Integers({static_cast<int64_t>(values.size())}, values);
  return value;
}

Value OnnxOps::Concat(const std::vector<Value>& values, int64_t axis) {
  return values.size() == 1 ? values[0] : graph_.Apply("Concat", values, {{"axis", axis}});
}

Value OnnxOps::Sum(const Value& x, int64_t axis, bool keep) {
  return graph_.Apply("ReduceSum", {x, Integers({axis})}, {{"keepdims", int64_t{keep ? 1 : 0}}});
}

Value OnnxOps::Unsqueeze(const Value& x, int64_t axis) {
  return graph_.Apply("Unsqueeze", {x, Integers({axis})});
}

Value OnnxOps::Slice(const Value& x, const Value& begin, const Value& end, int64_t axis) {
  return graph_.Apply("Slice", {x, begin, end, Integers({axis})});
}

// The batch size is known when the model runs, so shapes are computed in the graph.
Value OnnxOps::Zeros(const Value& like, const std::vector<Value>& dims) {
  std::vector<Value> shape = {
      Slice(graph_.Apply("Shape", {like}), Integers({0}), Integers({1}), 0)};
  shape.insert(shape.end(), dims.begin(), dims.end());
  return graph_.Apply("ConstantOfShape", {Concat(shape, 0)});  // of type float
}

Value OnnxOps::Positions(const Value& x, int64_t axis) {
  const Value size = graph_.Apply("Gather", {graph_.Apply("Shape", {x}), Scalar(axis)});
  return Unsqueeze(graph_.Apply("Range", {Scalar(0), size, Scalar(1)}), 0);
}

}  // namespace pepnet

// OnnxOps: operators of an ONNX graph with their axes and constants, which are made once each.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "cli/export/onnx/graph.h"

namespace pepnet {

class OnnxOps {
 public:
  using Value = OnnxGraph::Value;

  // Borrows the graph.
  explicit OnnxOps(OnnxGraph* graph) : graph_(*graph) {}

  Value Number(float x);
  Value Scalar(int64_t n);
  Value Integers(const std::vector<int64_t>& values);  // of shape [n]

  Value Concat(const std::vector<Value>& values, int64_t axis);
  Value Sum(const Value& x, int64_t axis, bool keep = false);
  Value Unsqueeze(const Value& x, int64_t axis);
  // Entries [begin, end) of one axis.
  Value Slice(const Value& x, const Value& begin, const Value& end, int64_t axis);
  // Floats that are zero: [batch of `like`, dims...].
  Value Zeros(const Value& like, const std::vector<Value>& dims);
  // [1, n]: 0, 1, ... along one axis of x.
  Value Positions(const Value& x, int64_t axis);

  OnnxGraph& graph() { return graph_; }

 private:
  OnnxGraph& graph_;
  std::map<float, Value> numbers_;
  std::map<int64_t, Value> scalars_;
  std::map<std::vector<int64_t>, Value> integers_;
};

}  // namespace pepnet

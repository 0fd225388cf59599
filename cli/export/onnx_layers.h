// Layers of a network inside an ONNX graph, with parameters of a checkpoint: what encoders and towers share.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cli/export/onnx_graph.h"
#include "common/job_config/activation.h"
#include "common/job_config/mlp.h"
#include "worker/model/parameters.h"

namespace pepnet {

class OnnxLayers {
 public:
  using Value = OnnxGraph::Value;

  // Borrows both.
  OnnxLayers(const DenseParameters& parameters, OnnxGraph* graph) : parameters_(parameters), graph_(*graph) {}

  StatusOr<Value> Parameter(const std::string& name);
  Value Number(float x);
  Value Integers(const std::vector<int64_t>& values);  // of shape [n]
  Value Scalar(int64_t n);

  // x W^T + b over the last axis; x [batch, in] or [batch, positions, in].
  StatusOr<Value> Linear(const std::string& module, const Value& x, int rank = 2);
  StatusOr<Value> Activate(const std::string& module, const Activation& activation, const Value& x);
  // The layers <module>.<i>.perceptron.* of an Mlp.
  StatusOr<Value> HiddenLayers(const std::string& module, const Mlp& mlp, Value x, int rank = 2);
  Value Concat(const std::vector<Value>& values, int64_t axis);
  Value Sum(const Value& x, int64_t axis, bool keep = false);
  Value Unsqueeze(const Value& x, int64_t axis);
  // Entries [begin, end) of one axis.
  Value Slice(const Value& x, const Value& begin, const Value& end, int64_t axis);
  // Floats that are zero: [batch of `like`, dims...].
  Value Zeros(const Value& like, const std::vector<Value>& dims);

  OnnxGraph& graph() { return graph_; }

 private:
  const DenseParameters& parameters_;
  OnnxGraph& graph_;
  std::map<std::string, Value> made_;
  std::map<float, Value> numbers_;
  std::map<std::vector<int64_t>, Value> integers_;
  std::map<int64_t, Value> scalars_;
};

}  // namespace pepnet

// Layers of a network inside an ONNX graph, with parameters of a checkpoint: what encoders and
// towers share.
#pragma once

#include <map>
#include <string>

#include "cli/export/onnx/ops.h"
#include "common/job_config/activation.h"
#include "common/job_config/mlp.h"
#include "worker/model/parameters.h"

namespace pepnet {

class OnnxLayers : public OnnxOps {
 public:
  // Borrows both.
  OnnxLayers(const DenseParameters& parameters, OnnxGraph* graph)
      : OnnxOps(graph), parameters_(parameters) {}

  StatusOr<Value> Parameter(const std::string& name);
  // x W^T + b over the last axis; x [batch, in] or [batch, positions, in].
  StatusOr<Value> Linear(const std::string& module, const Value& x, int rank = 2);
  StatusOr<Value> Activate(const std::string& module, const Activation& activation, const Value& x);
  // Each channel less its running mean, over its running deviation; times weight and plus bias
  // where there are any.
  StatusOr<Value> BatchNorm(const std::string& module, const Value& x);
  // The layers <module>.<i>.perceptron.* of an Mlp.
  StatusOr<Value> HiddenLayers(const std::string& module, const Mlp& mlp, Value x, int rank = 2);

 private:
  StatusOr<Value> Dice(const std::string& module, const Value& x);

  const DenseParameters& parameters_;
  std::map<std::string, Value> made_;
};

}  // namespace pepnet

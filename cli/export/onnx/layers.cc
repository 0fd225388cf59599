#include "cli/export/onnx/layers.h"

#include "absl/strings/str_cat.h"

namespace pepnet {

using Value = OnnxGraph::Value;

StatusOr<Value> OnnxLayers::Parameter(const std::string& name) {
  const int i = parameters_.Find(name);
  if (i < 0) return absl::InternalError(absl::StrCat("there is no parameter ", name));
  // A parameter that several parts read (one of encoders, for example) stands in the model once.
  Value& value = made_[name];
  if (value.empty()) {
    PEPNET_ASSIGN_OR_RETURN(
        value, graph().Floats(name, parameters_.specs()[i].shape, parameters_.value(i)));
  }
  return value;
}

StatusOr<Value> OnnxLayers::Linear(const std::string& module, const Value& x, int rank) {
  std::vector<Value> inputs = {x};
  PEPNET_ASSIGN_OR_RETURN(inputs.emplace_back(), Parameter(module + ".weight"));
  if (parameters_.Find(module + ".bias") >= 0) {
    PEPNET_ASSIGN_OR_RETURN(inputs.emplace_back(), Parameter(module + ".bias"));
  }
  // Gemm takes matrices only; x with positions goes the longer way.
  if (rank == 2) return graph().Apply("Gemm", inputs, {{"transB", int64_t{1}}});
  const Value product = graph().Apply("MatMul", {x, graph().Apply("Transpose", {inputs[1]})});
  return inputs.size() == 2 ? product : graph().Apply("Add", {product, inputs[2]});
}

StatusOr<Value> OnnxLayers::Activate(const std::string& module, const Activation& activation,
                                     const Value& x) {
  const ActivationType& type = TypeOf(activation.kind);
  if (type.normalises) return Dice(module, x);
  std::vector<Value> constants, made;
  for (const float constant : type.onnx_constants) constants.push_back(Number(constant));
  // The description of an activation lists its operators; the letters of `inputs` say what each
  // reads: x the input, w the weight, p and q the two parameters, A, B, ... constants, 0, 1, ...
  // earlier results.
  for (const OnnxNode& node : type.onnx) {
    std::vector<Value> inputs;
    for (const char* input = node.inputs; *input != '\0'; ++input) {
      if (*input == 'x') {
        inputs.push_back(x);
      } else if (*input == 'w') {
        PEPNET_ASSIGN_OR_RETURN(inputs.emplace_back(),
                                Parameter(absl::StrCat(module, ".", type.weight)));
      } else if (*input == 'p' || *input == 'q') {
        inputs.push_back(Number(
            static_cast<float>(*input == 'p' ? activation.parameter : activation.parameter2)));
      } else {
        inputs.push_back(*input >= 'A' ? constants.at(*input - 'A') : made.at(*input - '0'));
      }
    }
    if (node.attribute == nullptr) {
      made.push_back(graph().Apply(node.op, inputs));
    } else {
      made.push_back(graph().Apply(node.op, inputs,
                                   {{node.attribute, static_cast<float>(activation.parameter)}}));
    }
  }
  return made.empty() ? x : made.back();
}

// Operators instead of BatchNormalization, which wants the channels on axis 1 and not on the last
// one. 1e-5 is torch's epsilon.
StatusOr<Value> OnnxLayers::BatchNorm(const std::string& module, const Value& x) {
  PEPNET_ASSIGN_OR_RETURN(const Value mean, Parameter(module + ".running_mean"));
  PEPNET_ASSIGN_OR_RETURN(const Value variance, Parameter(module + ".running_var"));
  const Value deviation = graph().Apply("Sqrt", {graph().Apply("Add", {variance, Number(1e-5f)})});
  Value y = graph().Apply("Div", {graph().Apply("Sub", {x, mean}), deviation});
  if (parameters_.Find(module + ".weight") < 0) return y;
  PEPNET_ASSIGN_OR_RETURN(const Value weight, Parameter(module + ".weight"));
  PEPNET_ASSIGN_OR_RETURN(const Value bias, Parameter(module + ".bias"));
  return graph().Apply("Add", {graph().Apply("Mul", {y, weight}), bias});
}

// p x + alpha (1 - p) x = x (alpha + (1 - alpha) p)
StatusOr<Value> OnnxLayers::Dice(const std::string& module, const Value& x) {
  PEPNET_ASSIGN_OR_RETURN(const Value normalised, BatchNorm(module + ".bn", x));
  PEPNET_ASSIGN_OR_RETURN(const Value alpha, Parameter(module + ".alpha"));
  const Value p = graph().Apply("Sigmoid", {normalised});
  const Value rest = graph().Apply("Mul", {graph().Apply("Sub", {Number(1), alpha}), p});
  return graph().Apply("Mul", {x, graph().Apply("Add", {alpha, rest})});
}

StatusOr<Value> OnnxLayers::HiddenLayers(const std::string& module, const Mlp& mlp, Value x,
                                         int rank) {
  for (size_t layer = 0; layer < mlp.hidden_units.size(); ++layer) {
    const std::string perceptron = absl::StrCat(module, ".", layer, ".perceptron.");
    PEPNET_ASSIGN_OR_RETURN(x, Linear(perceptron + "0", x, rank));
    const std::string norm = perceptron + NormName(mlp);
    if (mlp.use_ln) {
      PEPNET_ASSIGN_OR_RETURN(const Value scale, Parameter(norm + ".weight"));
      PEPNET_ASSIGN_OR_RETURN(const Value bias, Parameter(norm + ".bias"));
      x = graph().Apply("LayerNormalization", {x, scale, bias}, {{"epsilon", 1e-5f}});
    }
    if (mlp.use_bn) {
      PEPNET_ASSIGN_OR_RETURN(x, BatchNorm(norm, x));
    }
    PEPNET_ASSIGN_OR_RETURN(x, Activate(perceptron + ActivationName(mlp), mlp.activation, x));
  }
  return x;
}

}  // namespace pepnet

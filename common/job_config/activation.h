// Activation: the function behind a layer, and the description of each kind. Value and derivative
// are in worker/model/fused/kernels/fused_kernels.cc; docs/extending.md shows how a kind is added.
#pragma once

#include <span>

#include "common/job_config/type_table.h"

namespace pepnet {

enum class ActivationKind { kRelu, kSigmoid, kTanh, kLeakyRelu, kSilu, kGelu, kIdentity, kElu, kPrelu };
struct Activation {
  ActivationKind kind = ActivationKind::kRelu;
  double parameter = 0;  // leaky relu: negative_slope; elu: alpha; prelu: initial weight
};

// One node of an activation's ONNX graph. `inputs`, a letter each: x, the pre-activation; w, the
// trained weight; 0 to 9, an earlier node of the list; A to Z, one of the constants.
struct OnnxNode {
  const char* op;
  const char* inputs;
  const char* attribute = nullptr;  // that is the activation's parameter
};

struct ActivationType {
  const char* name;      // in checkpoints: never changes
  const char* function;  // as configs write it
  // The argument that is Activation::parameter, null: there is none; and its default.
  const char* argument = nullptr;
  double default_value = 0;
  bool trained = false;            // the parameter is a weight that training changes, and the argument its first value
  std::span<const OnnxNode> onnx;  // the last one is the result; empty: x itself
  std::span<const float> onnx_constants = {};
};

namespace activation_types {

inline constexpr OnnxNode kReluNodes[] = {{"Relu", "x"}};
inline constexpr ActivationType kRelu = {"relu", "nn.ReLU", nullptr, 0, false, kReluNodes};
inline constexpr OnnxNode kSigmoidNodes[] = {{"Sigmoid", "x"}};
inline constexpr ActivationType kSigmoid = {"sigmoid", "nn.Sigmoid", nullptr, 0, false, kSigmoidNodes};
inline constexpr OnnxNode kTanhNodes[] = {{"Tanh", "x"}};
inline constexpr ActivationType kTanh = {"tanh", "nn.Tanh", nullptr, 0, false, kTanhNodes};
inline constexpr OnnxNode kLeakyReluNodes[] = {{"LeakyRelu", "x", "alpha"}};
inline constexpr ActivationType kLeakyRelu = {"leaky_relu", "nn.LeakyReLU", "negative_slope",
                                              0.01,         false,          kLeakyReluNodes};
inline constexpr OnnxNode kSiluNodes[] = {{"Sigmoid", "x"}, {"Mul", "x0"}};
inline constexpr ActivationType kSilu = {"silu", "nn.SiLU", nullptr, 0, false, kSiluNodes};
// x (1 + erf(x / sqrt 2)) / 2
inline constexpr OnnxNode kGeluNodes[] = {{"Div", "xA"}, {"Erf", "0"}, {"Mul", "xC"}, {"Add", "1B"}, {"Mul", "23"}};
inline constexpr float kGeluConstants[] = {1.41421356237f, 1, 0.5f};
inline constexpr ActivationType kGelu = {"gelu", "nn.GELU", nullptr, 0, false, kGeluNodes, kGeluConstants};
inline constexpr ActivationType kIdentity = {"identity", "nn.Identity", nullptr, 0, false, {}};
inline constexpr OnnxNode kEluNodes[] = {{"Elu", "x", "alpha"}};
inline constexpr ActivationType kElu = {"elu", "nn.ELU", "alpha", 1, false, kEluNodes};
inline constexpr OnnxNode kPreluNodes[] = {{"PRelu", "xw"}};
inline constexpr ActivationType kPrelu = {"prelu", "nn.PReLU", "init", 0.25, true, kPreluNodes};

}  // namespace activation_types

constexpr const ActivationType* FindType(ActivationKind kind) {
  switch (kind) {
    case ActivationKind::kRelu:
      return &activation_types::kRelu;
    case ActivationKind::kSigmoid:
      return &activation_types::kSigmoid;
    case ActivationKind::kTanh:
      return &activation_types::kTanh;
    case ActivationKind::kLeakyRelu:
      return &activation_types::kLeakyRelu;
    case ActivationKind::kSilu:
      return &activation_types::kSilu;
    case ActivationKind::kGelu:
      return &activation_types::kGelu;
    case ActivationKind::kIdentity:
      return &activation_types::kIdentity;
    case ActivationKind::kElu:
      return &activation_types::kElu;
    case ActivationKind::kPrelu:
      return &activation_types::kPrelu;
  }
  return nullptr;
}

}  // namespace pepnet

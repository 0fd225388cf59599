// Activation: the function behind a layer, and the description of each kind. Value and derivative
// of those that are functions of one number are in worker/model/fused/kernels/fused_kernels.cc, the
// others in worker/model/torch/layers.cc; docs/extending.md shows how a kind is added.
#pragma once

#include <span>
#include <string>

#include "common/job_config/type_table.h"

namespace pepnet {

enum class ActivationKind {
  kRelu,
  kSigmoid,
  kTanh,
  kLeakyRelu,
  kSilu,
  kGelu,
  kIdentity,
  kElu,
  kPrelu,
  kGeluTanh,
  kMish,
  kSoftplus,
  kHardswish,
  kHardsigmoid,
  kSelu,
  kCelu,
  kRelu6,
  kHardtanh,
  kSoftsign,
  kSoftshrink,
  kHardshrink,
  kTanhshrink,
  kLogSigmoid,
  kThreshold,
  kDice,
  kRrelu,
  kSoftmax,
  kSoftmin,
  kLogSoftmax,
};
struct Activation {
  ActivationKind kind = ActivationKind::kRelu;
  // The first argument of its type: leaky relu's negative_slope, prelu's initial weight, ...
  double parameter = 0;
  double parameter2 = 0;  // the second one
  int weights = 1;        // prelu: one weight for all channels, or one for each
};

// One node of an activation's ONNX graph. `inputs`, a letter each: x, the pre-activation; w, the
// trained weight; p and q, the two parameters; 0 to 9, an earlier node of the list; A to Z, one of
// the constants.
struct OnnxNode {
  const char* op;
  const char* inputs;
  const char* attribute = nullptr;  // that is the activation's first parameter
};

// An argument as configs write it: nn.ELU(alpha=1).
struct ActivationArgument {
  const char* name;
  double default_value = 0;
  bool required = false;
};

struct ActivationType {
  const char* name;      // in checkpoints: never changes
  const char* function;  // as configs write it
  // At most two: Activation::parameter and parameter2.
  std::span<const ActivationArgument> arguments;
  std::span<const OnnxNode> onnx;  // the last one is the result; empty: x itself
  std::span<const float> onnx_constants = {};
  // The name of a weight that training changes; the first argument is its first value. Null: none.
  const char* weight = nullptr;
  // It normalises each channel over the rows of a batch before anything else, has one weight a
  // channel, and its own ONNX graph (cli/export/onnx/layers.cc).
  bool normalises = false;
  // "": legal; else what a message says behind the name
  std::string (*check)(const Activation&) = nullptr;
  // Each channel of its result depends on all channels of the row; its argument is torch's dim,
  // which is the last axis.
  bool mixes_channels = false;
  // It draws numbers in training (RandomPurpose::kSlopes); its ONNX graph is what evaluation
  // computes.
  bool draws = false;
};

// Whether each number of its result depends on one number alone, so that a kernel may take them in
// any order.
constexpr bool IsElementwise(const ActivationType& type) {
  return !type.normalises && !type.mixes_channels && !type.draws;
}

namespace activation_types {

inline constexpr OnnxNode kReluNodes[] = {{"Relu", "x"}};
inline constexpr ActivationType kRelu = {"relu", "nn.ReLU", {}, kReluNodes};
inline constexpr OnnxNode kSigmoidNodes[] = {{"Sigmoid", "x"}};
inline constexpr ActivationType kSigmoid = {"sigmoid", "nn.Sigmoid", {}, kSigmoidNodes};
inline constexpr OnnxNode kTanhNodes[] = {{"Tanh", "x"}};
inline constexpr ActivationType kTanh = {"tanh", "nn.Tanh", {}, kTanhNodes};
inline constexpr ActivationArgument kLeakyReluArguments[] = {{"negative_slope", 0.01}};
inline constexpr OnnxNode kLeakyReluNodes[] = {{"LeakyRelu", "x", "alpha"}};
inline constexpr ActivationType kLeakyRelu = {"leaky_relu", "nn.LeakyReLU", kLeakyReluArguments,
                                              kLeakyReluNodes};
inline constexpr OnnxNode kSiluNodes[] = {{"Sigmoid", "x"}, {"Mul", "x0"}};
inline constexpr ActivationType kSilu = {"silu", "nn.SiLU", {}, kSiluNodes};
// x (1 + erf(x / sqrt 2)) / 2
inline constexpr OnnxNode kGeluNodes[] = {
    {"Div", "xA"}, {"Erf", "0"}, {"Mul", "xC"}, {"Add", "1B"}, {"Mul", "23"}};
inline constexpr float kGeluConstants[] = {1.41421356237f, 1, 0.5f};
inline constexpr ActivationType kGelu = {"gelu", "nn.GELU", {}, kGeluNodes, kGeluConstants};
inline constexpr ActivationType kIdentity = {"identity", "nn.Identity", {}, {}};
inline constexpr ActivationArgument kEluArguments[] = {{"alpha", 1}};
inline constexpr OnnxNode kEluNodes[] = {{"Elu", "x", "alpha"}};
inline constexpr ActivationType kElu = {"elu", "nn.ELU", kEluArguments, kEluNodes};
inline constexpr ActivationArgument kPreluArguments[] = {{"init", 0.25}};
inline constexpr OnnxNode kPreluNodes[] = {{"PRelu", "xw"}};
inline constexpr ActivationType kPrelu = {"prelu",     "nn.PReLU", kPreluArguments,
                                          kPreluNodes, {},         "weight"};
// x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
inline constexpr OnnxNode kGeluTanhNodes[] = {{"Mul", "xx"}, {"Mul", "0x"}, {"Mul", "1A"},
                                              {"Add", "x2"}, {"Mul", "3B"}, {"Tanh", "4"},
                                              {"Add", "5C"}, {"Mul", "x6"}, {"Mul", "7D"}};
inline constexpr float kGeluTanhConstants[] = {0.044715f, 0.79788456080f, 1, 0.5f};
inline constexpr ActivationType kGeluTanh = {
    "gelu_tanh", "nn.GELU(approximate='tanh')", {}, kGeluTanhNodes, kGeluTanhConstants};
// x tanh(log(1 + exp x))
inline constexpr OnnxNode kMishNodes[] = {{"Softplus", "x"}, {"Tanh", "0"}, {"Mul", "x1"}};
inline constexpr ActivationType kMish = {"mish", "nn.Mish", {}, kMishNodes};
// log(1 + exp(beta x)) / beta; x where beta x is above the threshold
inline std::string CheckBeta(const Activation& activation) {
  return activation.parameter > 0 ? "" : "needs beta > 0";
}
inline constexpr ActivationArgument kSoftplusArguments[] = {{"beta", 1}, {"threshold", 20}};
inline constexpr OnnxNode kSoftplusNodes[] = {
    {"Mul", "xp"}, {"Softplus", "0"}, {"Div", "1p"}, {"Greater", "0q"}, {"Where", "3x2"}};
inline constexpr ActivationType kSoftplus = {
    "softplus", "nn.Softplus", kSoftplusArguments, kSoftplusNodes, {}, nullptr, false, CheckBeta};
// min(max(x + 3, 0), 6) / 6, and x times that
inline constexpr OnnxNode kHardsigmoidNodes[] = {{"Add", "xA"}, {"Clip", "0BC"}, {"Div", "1C"}};
inline constexpr float kHardsigmoidConstants[] = {3, 0, 6};
inline constexpr ActivationType kHardsigmoid = {
    "hardsigmoid", "nn.Hardsigmoid", {}, kHardsigmoidNodes, kHardsigmoidConstants};
inline constexpr OnnxNode kHardswishNodes[] = {
    {"Add", "xA"}, {"Clip", "0BC"}, {"Div", "1C"}, {"Mul", "x2"}};
inline constexpr float kHardswishConstants[] = {3, 0, 6};
inline constexpr ActivationType kHardswish = {
    "hardswish", "nn.Hardswish", {}, kHardswishNodes, kHardswishConstants};
inline constexpr OnnxNode kSeluNodes[] = {{"Selu", "x"}};
inline constexpr ActivationType kSelu = {"selu", "nn.SELU", {}, kSeluNodes};
inline std::string CheckAlpha(const Activation& activation) {
  return activation.parameter != 0 ? "" : "needs an alpha other than 0";
}
inline constexpr ActivationArgument kCeluArguments[] = {{"alpha", 1}};
inline constexpr OnnxNode kCeluNodes[] = {{"Celu", "x", "alpha"}};
inline constexpr ActivationType kCelu = {"celu", "nn.CELU", kCeluArguments, kCeluNodes,
                                         {},     nullptr,   false,          CheckAlpha};
inline constexpr OnnxNode kRelu6Nodes[] = {{"Clip", "xAB"}};
inline constexpr float kRelu6Constants[] = {0, 6};
inline constexpr ActivationType kRelu6 = {"relu6", "nn.ReLU6", {}, kRelu6Nodes, kRelu6Constants};
inline std::string CheckEnds(const Activation& activation) {
  return activation.parameter < activation.parameter2 ? "" : "needs min_val < max_val";
}
inline constexpr ActivationArgument kHardtanhArguments[] = {{"min_val", -1}, {"max_val", 1}};
inline constexpr OnnxNode kHardtanhNodes[] = {{"Clip", "xpq"}};
inline constexpr ActivationType kHardtanh = {
    "hardtanh", "nn.Hardtanh", kHardtanhArguments, kHardtanhNodes, {}, nullptr, false, CheckEnds};
inline constexpr OnnxNode kSoftsignNodes[] = {{"Softsign", "x"}};
inline constexpr ActivationType kSoftsign = {"softsign", "nn.Softsign", {}, kSoftsignNodes};
inline std::string CheckLambda(const Activation& activation) {
  return activation.parameter >= 0 ? "" : "needs lambd >= 0";
}
inline constexpr ActivationArgument kSoftshrinkArguments[] = {{"lambd", 0.5}};
inline constexpr OnnxNode kSoftshrinkNodes[] = {{"Neg", "p"}, {"Clip", "x0p"}, {"Sub", "x1"}};
inline constexpr ActivationType kSoftshrink = {
    "softshrink", "nn.Softshrink", kSoftshrinkArguments, kSoftshrinkNodes, {},
    nullptr,      false,           CheckLambda};
inline constexpr ActivationArgument kHardshrinkArguments[] = {{"lambd", 0.5}};
inline constexpr OnnxNode kHardshrinkNodes[] = {{"Abs", "x"}, {"Greater", "0p"}, {"Where", "1xA"}};
inline constexpr float kHardshrinkConstants[] = {0};
inline constexpr ActivationType kHardshrink = {
    "hardshrink", "nn.Hardshrink", kHardshrinkArguments, kHardshrinkNodes, kHardshrinkConstants,
    nullptr,      false,           CheckLambda};
inline constexpr OnnxNode kTanhshrinkNodes[] = {{"Tanh", "x"}, {"Sub", "x0"}};
inline constexpr ActivationType kTanhshrink = {"tanhshrink", "nn.Tanhshrink", {}, kTanhshrinkNodes};
inline constexpr OnnxNode kLogSigmoidNodes[] = {{"Neg", "x"}, {"Softplus", "0"}, {"Neg", "1"}};
inline constexpr ActivationType kLogSigmoid = {
    "log_sigmoid", "nn.LogSigmoid", {}, kLogSigmoidNodes};
inline constexpr ActivationArgument kThresholdArguments[] = {{"threshold", 0, true},
                                                             {"value", 0, true}};
inline constexpr OnnxNode kThresholdNodes[] = {{"Greater", "xp"}, {"Where", "0xq"}};
inline constexpr ActivationType kThreshold = {"threshold", "nn.Threshold", kThresholdArguments,
                                              kThresholdNodes};
// p x + alpha (1 - p) x, p = sigmoid of x normalised over the batch (Zhou et al., "Deep Interest
// Network", KDD 2018)
inline constexpr ActivationType kDice = {"dice", "Dice", {}, {}, {}, "alpha", true};
// x where x > 0, else a x: a of each number is drawn from [lower, upper) in training, and (lower +
// upper) / 2 else
inline std::string CheckSlopes(const Activation& activation) {
  return activation.parameter <= activation.parameter2 ? "" : "needs lower <= upper";
}
inline constexpr ActivationArgument kRreluArguments[] = {{"lower", 1.0 / 8}, {"upper", 1.0 / 3}};
inline constexpr OnnxNode kRreluNodes[] = {{"Add", "pq"}, {"Mul", "0A"}, {"PRelu", "x1"}};
inline constexpr float kRreluConstants[] = {0.5f};
inline constexpr ActivationType kRrelu = {.name = "rrelu",
                                          .function = "nn.RReLU",
                                          .arguments = kRreluArguments,
                                          .onnx = kRreluNodes,
                                          .onnx_constants = kRreluConstants,
                                          .check = CheckSlopes,
                                          .draws = true};
// exp(x_c) / sum over the channels c of exp(x_c), of -x, and its logarithm. The last axis is what
// ONNX takes, too.
inline constexpr ActivationArgument kChannelsArguments[] = {{"dim", -1}};
inline constexpr OnnxNode kSoftmaxNodes[] = {{"Softmax", "x"}};
inline constexpr ActivationType kSoftmax = {.name = "softmax",
                                            .function = "nn.Softmax",
                                            .arguments = kChannelsArguments,
                                            .onnx = kSoftmaxNodes,
                                            .mixes_channels = true};
inline constexpr OnnxNode kSoftminNodes[] = {{"Neg", "x"}, {"Softmax", "0"}};
inline constexpr ActivationType kSoftmin = {.name = "softmin",
                                            .function = "nn.Softmin",
                                            .arguments = kChannelsArguments,
                                            .onnx = kSoftminNodes,
                                            .mixes_channels = true};
inline constexpr OnnxNode kLogSoftmaxNodes[] = {{"LogSoftmax", "x"}};
inline constexpr ActivationType kLogSoftmax = {.name = "log_softmax",
                                               .function = "nn.LogSoftmax",
                                               .arguments = kChannelsArguments,
                                               .onnx = kLogSoftmaxNodes,
                                               .mixes_channels = true};

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
    case ActivationKind::kGeluTanh:
      return &activation_types::kGeluTanh;
    case ActivationKind::kMish:
      return &activation_types::kMish;
    case ActivationKind::kSoftplus:
      return &activation_types::kSoftplus;
    case ActivationKind::kHardswish:
      return &activation_types::kHardswish;
    case ActivationKind::kHardsigmoid:
      return &activation_types::kHardsigmoid;
    case ActivationKind::kSelu:
      return &activation_types::kSelu;
    case ActivationKind::kCelu:
      return &activation_types::kCelu;
    case ActivationKind::kRelu6:
      return &activation_types::kRelu6;
    case ActivationKind::kHardtanh:
      return &activation_types::kHardtanh;
    case ActivationKind::kSoftsign:
      return &activation_types::kSoftsign;
    case ActivationKind::kSoftshrink:
      return &activation_types::kSoftshrink;
    case ActivationKind::kHardshrink:
      return &activation_types::kHardshrink;
    case ActivationKind::kTanhshrink:
      return &activation_types::kTanhshrink;
    case ActivationKind::kLogSigmoid:
      return &activation_types::kLogSigmoid;
    case ActivationKind::kThreshold:
      return &activation_types::kThreshold;
    case ActivationKind::kDice:
      return &activation_types::kDice;
    case ActivationKind::kRrelu:
      return &activation_types::kRrelu;
    case ActivationKind::kSoftmax:
      return &activation_types::kSoftmax;
    case ActivationKind::kSoftmin:
      return &activation_types::kSoftmin;
    case ActivationKind::kLogSoftmax:
      return &activation_types::kLogSoftmax;
  }
  return nullptr;
}

// The activation with the default of every argument (0 for one that is required).
constexpr Activation DefaultActivation(ActivationKind kind) {
  const std::span<const ActivationArgument> arguments = TypeOf(kind).arguments;
  return {kind, arguments.empty() ? 0 : arguments[0].default_value,
          arguments.size() < 2 ? 0 : arguments[1].default_value};
}

}  // namespace pepnet

// Activation: the function behind a layer.
#pragma once

namespace pepnet {

enum class ActivationKind { kIdentity, kRelu, kSigmoid, kTanh, kLeakyRelu, kSilu, kGelu, kElu, kPrelu };
struct Activation {
  ActivationKind kind = ActivationKind::kRelu;
  double parameter = 0;  // leaky relu: negative_slope; elu: alpha; prelu: initial weight
};

}  // namespace pepnet

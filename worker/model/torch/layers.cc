#include "worker/model/torch/layers.h"

#include <ATen/ops/elu.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/prelu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tanh.h>

#include "common/base/log_functions.h"
#include "common/base/mutant.h"
#include "worker/model/dropout_mask.h"
#include "worker/model/torch/dropout_tensor.h"
#include "worker/model/torch/transfer.h"

namespace pepnet {

LeafMaker::LeafMaker(DenseParameters* parameters, at::ScalarType type)
    : parameters_(parameters),
      arenas_{parameters->values().data(), parameters->gradients().data(), at::kCPU},
      type_(type) {}

at::Tensor LeafMaker::OptionalLeaf(const std::string& name) {
  const int i = parameters_->Find(name);
  if (i < 0) return {};
  const std::vector<int64_t>& shape = parameters_->specs()[i].shape;
  const size_t offset = parameters_->offset(i);
  at::Tensor leaf = TensorOver(arenas_.values + offset, shape, at::kFloat, arenas_.device);
  if (type_ != at::kFloat) leaf = leaf.to(type_);
  leaf.set_requires_grad(true);
  // A defined .grad makes backward accumulate in place, so into the arena.
  if (type_ == at::kFloat) {
    leaf.mutable_grad() = TensorOver(arenas_.gradients + offset, shape, at::kFloat, arenas_.device);
  }
  leaves_[name] = leaf;
  return leaf;
}

at::Tensor LeafMaker::Leaf(const std::string& name) {
  at::Tensor leaf = OptionalLeaf(name);
  CheckOrDie(leaf.defined(), "the parameter list lacks " + name);
  return leaf;
}

LinearLayer::LinearLayer(LeafMaker* maker, const std::string& module)
    : weight(maker->Leaf(module + ".weight")), bias(maker->OptionalLeaf(module + ".bias")) {}

at::Tensor LinearLayer::operator()(const at::Tensor& x) const { return at::linear(x, weight, bias); }

GateLayer::GateLayer(LeafMaker* maker, const std::string& module, double gamma)
    : first(maker, module + ".dense_layers.0"), second(maker, module + ".dense_layers.2"), gamma(gamma) {}

at::Tensor GateLayer::operator()(const at::Tensor& x) const {
  return at::sigmoid(second(at::relu(first(x)))).mul(gamma);
}

LayerNormLayer::LayerNormLayer(LeafMaker* maker, const std::string& module)
    : weight(maker->Leaf(module + ".weight")), bias(maker->Leaf(module + ".bias")) {}

at::Tensor LayerNormLayer::operator()(const at::Tensor& x) const {
  return at::layer_norm(x, weight.sizes(), weight, bias, 1e-5);
}

ActivationLayer::ActivationLayer(LeafMaker* maker, const std::string& module, const Activation& activation)
    : activation(activation) {
  if (activation.kind == ActivationKind::kPrelu) weight = maker->Leaf(module + ".weight");
}

at::Tensor ActivationLayer::operator()(const at::Tensor& x) const {
  switch (activation.kind) {
    case ActivationKind::kIdentity:
      return x;
    case ActivationKind::kRelu:
      return at::relu(x);
    case ActivationKind::kSigmoid:
      return at::sigmoid(x);
    case ActivationKind::kTanh:
      return at::tanh(x);
    case ActivationKind::kLeakyRelu:
      return at::leaky_relu(x, activation.parameter);
    case ActivationKind::kSilu:
      return at::silu(x);
    case ActivationKind::kGelu:
      return at::gelu(x);
    case ActivationKind::kElu:
      return at::elu(x, activation.parameter);
    case ActivationKind::kPrelu:
      return at::prelu(x, weight.to(x.scalar_type()));
  }
  CheckOrDie(false, "unknown activation");
  return x;
}

at::Tensor DropoutLayer::operator()(const at::Tensor& x, const DropoutState& state) const {
  if (!state.enabled || ratio <= 0) return x;
  const uint64_t key = DropoutKey(state.seed, number, state.step);
  const int64_t first_row = MutantActive(Mutant::kDropoutByLocalRow) ? 0 : state.first_row;
  const DropoutRows rows{first_row, x.size(0), x.size(1)};
  return x.mul(state.on_device ? DropoutMaskOnDevice(key, ratio, rows, x.device())
                               : DropoutMaskOnHost(key, ratio, rows));
}

}  // namespace pepnet

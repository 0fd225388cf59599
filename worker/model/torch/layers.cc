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
#include <torch/csrc/autograd/custom_function.h>

#include "common/base/log_functions.h"
#include "common/base/mutant.h"
#include "worker/model/dropout_mask.h"
#include "worker/model/fused/kernels/fused_kernels.h"
#include "worker/model/torch/dropout_tensor.h"
#include "worker/model/torch/transfer.h"
#include "worker/model/variational_dropout.h"

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
  if (TypeOf(activation.kind).trained) weight = maker->Leaf(module + ".weight");
}

namespace {

// The activations that libtorch can say itself: written independently of the fused engine's
// kernels, which tests compare with them.
struct TensorExpression {
  ActivationKind kind;
  at::Tensor (*function)(const at::Tensor& x, double parameter, const at::Tensor& weight);
};
constexpr TensorExpression kExpressions[] = {
    {ActivationKind::kIdentity, [](const at::Tensor& x, double, const at::Tensor&) { return x; }},
    {ActivationKind::kRelu, [](const at::Tensor& x, double, const at::Tensor&) { return at::relu(x); }},
    {ActivationKind::kSigmoid, [](const at::Tensor& x, double, const at::Tensor&) { return at::sigmoid(x); }},
    {ActivationKind::kTanh, [](const at::Tensor& x, double, const at::Tensor&) { return at::tanh(x); }},
    {ActivationKind::kLeakyRelu,
     [](const at::Tensor& x, double slope, const at::Tensor&) { return at::leaky_relu(x, slope); }},
    {ActivationKind::kSilu, [](const at::Tensor& x, double, const at::Tensor&) { return at::silu(x); }},
    {ActivationKind::kGelu, [](const at::Tensor& x, double, const at::Tensor&) { return at::gelu(x); }},
    {ActivationKind::kElu, [](const at::Tensor& x, double alpha, const at::Tensor&) { return at::elu(x, alpha); }},
    {ActivationKind::kPrelu,
     [](const at::Tensor& x, double, const at::Tensor& weight) { return at::prelu(x, weight.to(x.scalar_type())); }},
};

// The fused engine's kernel on the host in float32, forward and backward.
class KernelFunction : public torch::autograd::Function<KernelFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, int64_t kind,
                            double parameter) {
    at::Tensor u = x.detach().to(at::kCPU, at::kFloat).contiguous().clone();
    at::Tensor out = at::empty_like(u);
    context->save_for_backward({u.clone()});
    context->saved_data["kind"] = kind;
    context->saved_data["parameter"] = parameter;
    ActivatedForward(Layer(kind, parameter, &u, &out));
    return out.to(x.device(), x.scalar_type());
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    at::Tensor u = context->get_saved_variables()[0].clone();
    const at::Tensor d = gradients[0].to(at::kCPU, at::kFloat).contiguous();
    ActivatedBackward(Layer(context->saved_data["kind"].toInt(), context->saved_data["parameter"].toDouble(), &u, &u),
                      d.data_ptr<float>(), nullptr, nullptr);
    return {u.to(gradients[0].device(), gradients[0].scalar_type()), {}, {}};
  }

 private:
  static Activated Layer(int64_t kind, double parameter, at::Tensor* u, at::Tensor* out) {
    Activated layer;
    layer.rows = 1;
    layer.width = u->numel();
    layer.activation = {static_cast<ActivationKind>(kind), static_cast<float>(parameter)};
    layer.u = u->data_ptr<float>();
    layer.out = out->data_ptr<float>();
    return layer;
  }
};

}  // namespace

at::Tensor KernelActivated(const Activation& activation, const at::Tensor& x) {
  CheckOrDie(!TypeOf(activation.kind).trained, "a trained activation needs a libtorch expression");
  return KernelFunction::apply(x, static_cast<int64_t>(activation.kind), activation.parameter);
}

at::Tensor ActivationLayer::operator()(const at::Tensor& x) const {
  for (const TensorExpression& expression : kExpressions) {
    if (expression.kind == activation.kind) return expression.function(x, activation.parameter, weight);
  }
  return KernelActivated(activation, x);
}

at::Tensor DropoutLayer::operator()(const at::Tensor& x, const DropoutState& state) const {
  if (!state.enabled || ratio <= 0) return x;
  const uint64_t key = DropoutKey(state.seed, number, state.step);
  const int64_t first_row = MutantActive(Mutant::kDropoutByLocalRow) ? 0 : state.first_row;
  const DropoutRows rows{first_row, x.size(0), x.size(1)};
  return x.mul(state.on_device ? DropoutMaskOnDevice(key, ratio, rows, x.device())
                               : DropoutMaskOnHost(key, ratio, rows));
}

VariationalLayer::VariationalLayer(LeafMaker* maker, const VariationalDropout& dropout)
    : dropout(dropout), weight(maker->Leaf(dropout.parameter)) {}

at::Tensor VariationalLayer::Factors(int64_t rows, const DropoutState& state) const {
  const at::Tensor p = weight.to(at::kDouble).sigmoid().unsqueeze(0);
  if (!state.enabled) return p.neg().add(1);
  const uint64_t key = DropoutKey(state.seed, dropout.layer, state.step);
  const int64_t first_row = MutantActive(Mutant::kDropoutByLocalRow) ? 0 : state.first_row;
  const DropoutRows places{first_row, rows, weight.size(0)};
  const at::Tensor u =
      (state.on_device ? UniformsOnDevice(key, places, weight.device()) : UniformsOnHost(key, places)).to(at::kDouble);
  const auto log_odds = [](const at::Tensor& x) {
    return x.add(kVariationalEpsilon).log().sub(x.neg().add(1 + kVariationalEpsilon).log());
  };
  return log_odds(p).add(log_odds(u)).div(kVariationalTemperature).sigmoid().neg().add(1);
}

at::Tensor VariationalLayer::Penalty() const {
  return weight.to(at::kDouble).sigmoid().neg().add(1).sum().mul(dropout.lambda);
}

}  // namespace pepnet

#include "worker/model/torch/layers.h"

#include <ATen/ops/celu.h>
#include <ATen/ops/elu.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/hardshrink.h>
#include <ATen/ops/hardsigmoid.h>
#include <ATen/ops/hardswish.h>
#include <ATen/ops/hardtanh.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mish.h>
#include <ATen/ops/prelu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/selu.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/softshrink.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/threshold.h>
#include <ATen/ops/where.h>
#include <torch/csrc/autograd/custom_function.h>

#include "absl/strings/str_cat.h"
#include "common/base/log_functions.h"
#include "common/base/mutant.h"
#include "common/base/random.h"
#include "worker/model/dropout_mask.h"
#include "worker/model/fused/kernels/fused_kernels.h"
#include "worker/model/torch/device/transfer.h"
#include "worker/model/torch/dropout_tensor.h"
#include "worker/model/variational_dropout.h"

namespace pepnet {

LeafMaker::LeafMaker(DenseParameters* parameters, at::ScalarType type)
    : parameters_(parameters),
      arenas_{parameters->values().data(), parameters->gradients().data(), at::kCPU},
      type_(type) {}

at::Tensor LeafMaker::Find(const std::string& name, int* number) const {
  *number = parameters_->Find(name);
  if (*number < 0) return {};
  const at::Tensor place =
      TensorOver(arenas_.values + parameters_->offset(*number), parameters_->specs()[*number].shape,
                 at::kFloat, arenas_.device);
  // Of another type the leaf is a copy, whose gradient could not reach the arena.
  return type_ == at::kFloat ? place : place.to(type_);
}

at::Tensor LeafMaker::OptionalLeaf(const std::string& name) {
  int i = -1;
  at::Tensor leaf = Find(name, &i);
  if (i < 0) return leaf;
  leaf.set_requires_grad(true);
  // A defined .grad makes backward accumulate in place, so into the arena.
  if (type_ == at::kFloat) {
    leaf.mutable_grad() = TensorOver(arenas_.gradients + parameters_->offset(i),
                                     parameters_->specs()[i].shape, at::kFloat, arenas_.device);
  }
  leaves_[name] = leaf;
  return leaf;
}

at::Tensor LeafMaker::Statistics(const std::string& name, std::span<float>* host) {
  int i = -1;
  at::Tensor tensor = Find(name, &i);
  CheckOrDie(i >= 0, "the parameter list lacks " + name);
  // Of another type the tensor is a copy, which training does not move.
  if (type_ == at::kFloat) *host = parameters_->value(i);
  return tensor;
}

at::Tensor LeafMaker::Leaf(const std::string& name) {
  at::Tensor leaf = OptionalLeaf(name);
  CheckOrDie(leaf.defined(), "the parameter list lacks " + name);
  return leaf;
}

LinearLayer::LinearLayer(LeafMaker* maker, const std::string& module)
    : weight(maker->Leaf(module + ".weight")), bias(maker->OptionalLeaf(module + ".bias")) {}

at::Tensor LinearLayer::operator()(const at::Tensor& x) const {
  return at::linear(x, weight, bias);
}

GateLayer::GateLayer(LeafMaker* maker, const std::string& module, double gamma)
    : first(maker, module + ".dense_layers.0"),
      second(maker, module + ".dense_layers.2"),
      gamma(gamma) {}

at::Tensor GateLayer::operator()(const at::Tensor& x) const {
  return at::sigmoid(second(at::relu(first(x)))).mul(gamma);
}

LayerNormLayer::LayerNormLayer(LeafMaker* maker, const std::string& module)
    : weight(maker->Leaf(module + ".weight")), bias(maker->Leaf(module + ".bias")) {}

at::Tensor LayerNormLayer::operator()(const at::Tensor& x) const {
  return at::layer_norm(x, weight.sizes(), weight, bias, 1e-5);
}

ActivationLayer::ActivationLayer(LeafMaker* maker, const std::string& module,
                                 const Activation& activation)
    : activation(activation), module_hash(HashName(module)) {
  const ActivationType& type = TypeOf(activation.kind);
  if (type.weight != nullptr) weight = maker->Leaf(absl::StrCat(module, ".", type.weight));
  if (type.normalises) norm.emplace(maker, module + ".bn");
}

namespace {

// The activations that libtorch can say itself: written independently of the fused engine's
// kernels, which tests compare with them.
struct TensorExpression {
  ActivationKind kind;
  at::Tensor (*function)(const at::Tensor& x, const Activation& activation);
};
constexpr TensorExpression kExpressions[] = {
    {ActivationKind::kIdentity, [](const at::Tensor& x, const Activation&) { return x; }},
    {ActivationKind::kRelu, [](const at::Tensor& x, const Activation&) { return at::relu(x); }},
    {ActivationKind::kSigmoid,
     [](const at::Tensor& x, const Activation&) { return at::sigmoid(x); }},
    {ActivationKind::kTanh, [](const at::Tensor& x, const Activation&) { return at::tanh(x); }},
    {ActivationKind::kLeakyRelu,
     [](const at::Tensor& x, const Activation& activation) {
       return at::leaky_relu(x, activation.parameter);
     }},
    {ActivationKind::kSilu, [](const at::Tensor& x, const Activation&) { return at::silu(x); }},
    {ActivationKind::kGelu, [](const at::Tensor& x, const Activation&) { return at::gelu(x); }},
    {ActivationKind::kElu,
     [](const at::Tensor& x, const Activation& activation) {
       return at::elu(x, activation.parameter);
     }},
    {ActivationKind::kGeluTanh,
     [](const at::Tensor& x, const Activation&) { return at::gelu(x, "tanh"); }},
    {ActivationKind::kMish, [](const at::Tensor& x, const Activation&) { return at::mish(x); }},
    {ActivationKind::kSoftplus,
     [](const at::Tensor& x, const Activation& activation) {
       return at::softplus(x, activation.parameter, activation.parameter2);
     }},
    {ActivationKind::kHardswish,
     [](const at::Tensor& x, const Activation&) { return at::hardswish(x); }},
    {ActivationKind::kHardsigmoid,
     [](const at::Tensor& x, const Activation&) { return at::hardsigmoid(x); }},
    {ActivationKind::kSelu, [](const at::Tensor& x, const Activation&) { return at::selu(x); }},
    {ActivationKind::kCelu,
     [](const at::Tensor& x, const Activation& activation) {
       return at::celu(x, activation.parameter);
     }},
    {ActivationKind::kRelu6,
     [](const at::Tensor& x, const Activation&) { return at::hardtanh(x, 0, 6); }},
    {ActivationKind::kHardtanh,
     [](const at::Tensor& x, const Activation& activation) {
       return at::hardtanh(x, activation.parameter, activation.parameter2);
     }},
    {ActivationKind::kSoftsign,
     [](const at::Tensor& x, const Activation&) { return x.div(x.abs().add(1)); }},
    {ActivationKind::kSoftshrink,
     [](const at::Tensor& x, const Activation& activation) {
       return at::softshrink(x, activation.parameter);
     }},
    {ActivationKind::kHardshrink,
     [](const at::Tensor& x, const Activation& activation) {
       return at::hardshrink(x, activation.parameter);
     }},
    {ActivationKind::kTanhshrink,
     [](const at::Tensor& x, const Activation&) { return x.sub(x.tanh()); }},
    {ActivationKind::kLogSigmoid,
     [](const at::Tensor& x, const Activation&) { return at::log_sigmoid(x); }},
    {ActivationKind::kThreshold,
     [](const at::Tensor& x, const Activation& activation) {
       return at::threshold(x, activation.parameter, activation.parameter2);
     }},
    {ActivationKind::kRrelu,  // in evaluation
     [](const at::Tensor& x, const Activation& activation) {
       return at::leaky_relu(x, (activation.parameter + activation.parameter2) / 2);
     }},
    {ActivationKind::kSoftmax,
     [](const at::Tensor& x, const Activation&) { return at::softmax(x, -1); }},
    {ActivationKind::kSoftmin,
     [](const at::Tensor& x, const Activation&) { return at::softmax(x.neg(), -1); }},
    {ActivationKind::kLogSoftmax,
     [](const at::Tensor& x, const Activation&) { return at::log_softmax(x, -1); }},
};

// The fused engine's kernel on the host in float32, forward and backward.
class KernelFunction : public torch::autograd::Function<KernelFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            int64_t kind, double parameter, double parameter2) {
    at::Tensor u = x.detach().to(at::kCPU, at::kFloat).contiguous().clone();
    at::Tensor out = at::empty_like(u);
    context->save_for_backward({u.clone()});
    context->saved_data["kind"] = kind;
    context->saved_data["parameter"] = parameter;
    context->saved_data["parameter2"] = parameter2;
    ActivatedForward(Layer(kind, parameter, parameter2, &u, &out));
    return out.to(x.device(), x.scalar_type());
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    at::Tensor u = context->get_saved_variables()[0].clone();
    const at::Tensor d = gradients[0].to(at::kCPU, at::kFloat).contiguous();
    const Activated layer =
        Layer(context->saved_data["kind"].toInt(), context->saved_data["parameter"].toDouble(),
              context->saved_data["parameter2"].toDouble(), &u, &u);
    ActivatedBackward(layer, d.data_ptr<float>(), nullptr, nullptr);
    return {u.to(gradients[0].device(), gradients[0].scalar_type()), {}, {}, {}};
  }

 private:
  static Activated Layer(int64_t kind, double parameter, double parameter2, at::Tensor* u,
                         at::Tensor* out) {
    Activated layer;
    layer.rows = 1;
    layer.width = u->numel();
    layer.activation = {static_cast<ActivationKind>(kind), static_cast<float>(parameter),
                        static_cast<float>(parameter2)};
    layer.u = u->data_ptr<float>();
    layer.out = out->data_ptr<float>();
    return layer;
  }
};

}  // namespace

at::Tensor KernelActivated(const Activation& activation, const at::Tensor& x) {
  const ActivationType& type = TypeOf(activation.kind);
  CheckOrDie(type.weight == nullptr && IsElementwise(type),
             "this activation needs a libtorch expression");
  return KernelFunction::apply(x, static_cast<int64_t>(activation.kind), activation.parameter,
                               activation.parameter2);
}

// x where x > 0, else a x with a drawn from [lower, upper). The channels of all positions of a
// sequence are the elements of its row, so that a slope depends neither on other sequences nor on
// who has the row (law L2).
at::Tensor ActivationLayer::WithDrawnSlopes(const at::Tensor& x, const ForwardPass& pass) const {
  const uint64_t key =
      RandomKey(pass.seed, RandomPurpose::kSlopes, module_hash, static_cast<uint64_t>(pass.step));
  const int64_t first_row = MutantActive(Mutant::kDropoutByLocalRow) ? 0 : pass.first_row;
  const DropoutRows places{first_row, x.size(0), x.flatten(1).size(1)};
  const at::Tensor u =
      pass.on_device ? UniformsOnDevice(key, places, x.device()) : UniformsOnHost(key, places);
  const double lower = activation.parameter, range = activation.parameter2 - lower;
  const at::Tensor slopes = u.to(x.scalar_type()).mul(range).add(lower).view(x.sizes());
  return at::where(x.gt(0), x, x.mul(slopes));
}

at::Tensor ActivationLayer::operator()(const at::Tensor& x, const ForwardPass& pass) const {
  if (TypeOf(activation.kind).draws && pass.training) return WithDrawnSlopes(x, pass);
  if (norm.has_value()) {  // Dice
    const at::Tensor p = at::sigmoid((*norm)(x, pass));
    return p.mul(x).add(p.neg().add(1).mul(x).mul(weight.to(x.scalar_type())));
  }
  // PReLU: one weight, or one for each channel, which libtorch expects on the second axis
  if (weight.defined()) {
    const at::Tensor slopes = weight.to(x.scalar_type());
    if (x.dim() == 2 || slopes.numel() == 1) return at::prelu(x, slopes);
    return at::prelu(x.flatten(0, -2), slopes).view(x.sizes());
  }
  for (const TensorExpression& expression : kExpressions) {
    if (expression.kind == activation.kind) return expression.function(x, activation);
  }
  return KernelActivated(activation, x);
}

PerceptronLayer::PerceptronLayer(LeafMaker* maker, const std::string& perceptron, const Mlp& mlp)
    : linear(maker, perceptron + "0"),
      activation(maker, perceptron + ActivationName(mlp), mlp.activation) {
  if (mlp.use_ln) layer_norm.emplace(maker, perceptron + NormName(mlp));
  if (mlp.use_bn) batch_norm.emplace(maker, perceptron + NormName(mlp));
}

at::Tensor PerceptronLayer::operator()(const at::Tensor& x, const ForwardPass& pass) const {
  at::Tensor y = linear(x);
  if (layer_norm.has_value()) y = (*layer_norm)(y);
  if (batch_norm.has_value()) y = (*batch_norm)(y, pass);
  return activation(y, pass);
}

at::Tensor DropoutLayer::operator()(const at::Tensor& x, const ForwardPass& pass) const {
  if (!pass.training || ratio <= 0) return x;
  const uint64_t key = DropoutKey(pass.seed, number, pass.step);
  const int64_t first_row = MutantActive(Mutant::kDropoutByLocalRow) ? 0 : pass.first_row;
  const DropoutRows rows{first_row, x.size(0), x.size(1)};
  return x.mul(pass.on_device ? DropoutMaskOnDevice(key, ratio, rows, x.device())
                              : DropoutMaskOnHost(key, ratio, rows));
}

VariationalLayer::VariationalLayer(LeafMaker* maker, const VariationalDropout& dropout)
    : dropout(dropout), weight(maker->Leaf(dropout.parameter)) {}

at::Tensor VariationalLayer::Factors(int64_t rows, const ForwardPass& pass) const {
  const at::Tensor p = weight.to(at::kDouble).sigmoid().unsqueeze(0);
  if (!pass.training) return p.neg().add(1);
  const uint64_t key = DropoutKey(pass.seed, dropout.layer, pass.step);
  const int64_t first_row = MutantActive(Mutant::kDropoutByLocalRow) ? 0 : pass.first_row;
  const DropoutRows places{first_row, rows, weight.size(0)};
  const at::Tensor u = (pass.on_device ? UniformsOnDevice(key, places, weight.device())
                                       : UniformsOnHost(key, places))
                           .to(at::kDouble);
  const auto log_odds = [](const at::Tensor& x) {
    return x.add(kVariationalEpsilon).log().sub(x.neg().add(1 + kVariationalEpsilon).log());
  };
  return log_odds(p).add(log_odds(u)).div(kVariationalTemperature).sigmoid().neg().add(1);
}

at::Tensor VariationalLayer::Penalty() const {
  return weight.to(at::kDouble).sigmoid().neg().add(1).sum().mul(dropout.lambda);
}

}  // namespace pepnet

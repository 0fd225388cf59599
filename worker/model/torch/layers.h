// The building blocks of the network as libtorch expressions. Internal to this folder: includes
// torch.
//
// Every layer holds leaf tensors that lie inside the arenas of DenseParameters, or inside copies of
// them on a device: values are read in place, and backward adds into the gradient arena, because
// each leaf's .grad is a view of it. In float64 the leaves are copies with gradients of their own:
// what tests measure the float32 engines with.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "common/job_config/activation.h"
#include "common/job_config/mlp.h"
#include "common/job_config/model.h"
#include "worker/model/parameters.h"

namespace pepnet {

class Collective;

// The arenas that leaves lie in, of DenseParameters' layout.
struct ParameterArenas {
  float* values = nullptr;
  float* gradients = nullptr;
  at::Device device = at::kCPU;
};

// Finds parameters by name and makes leaves of them. An undefined tensor stands for a parameter
// that the list does not have.
class LeafMaker {
 public:
  // Leaves in the arenas of `parameters`. `type`: at::kFloat or at::kDouble.
  explicit LeafMaker(DenseParameters* parameters, at::ScalarType type = at::kFloat);
  // Leaves in other arenas.
  LeafMaker(DenseParameters* parameters, const ParameterArenas& arenas)
      : parameters_(parameters), arenas_(arenas) {}
  at::Tensor Leaf(const std::string& name);  // must exist
  at::Tensor OptionalLeaf(const std::string& name);
  // Running statistics that are not trained: a tensor without gradient, and the host's values of
  // it, which training writes (empty in float64).
  at::Tensor Statistics(const std::string& name, std::span<float>* host);
  // All leaves made so far, by parameter name.
  const std::map<std::string, at::Tensor>& leaves() const { return leaves_; }

 private:
  // The parameter's place in the arenas; undefined: there is none of that name.
  at::Tensor Find(const std::string& name, int* number) const;

  DenseParameters* const parameters_;
  const ParameterArenas arenas_;
  const at::ScalarType type_ = at::kFloat;
  std::map<std::string, at::Tensor> leaves_;
};

// One pass of a batch through the network. In evaluation every dropout mask is 1, and batch norm
// takes its running statistics.
struct ForwardPass {
  bool training = false;
  // For dropout, in training.
  uint64_t seed = 0;
  int64_t step = 0;
  int64_t first_row = 0;  // global row of the batch's first row
  // Masks are computed with tensors where the network computes, not by this CPU.
  bool on_device = false;
  // For batch norm, in training: those whose rows make up the batch, each of which makes the same
  // passes. Null: this worker has all rows.
  Collective* workers = nullptr;
};

// y = W x + b
struct LinearLayer {
  LinearLayer(LeafMaker* maker, const std::string& module);
  at::Tensor operator()(const at::Tensor& x) const;
  at::Tensor weight, bias;  // bias undefined: none
};

// gamma * sigmoid(W2 relu(W1 x + b1) + b2)
struct GateLayer {
  GateLayer(LeafMaker* maker, const std::string& module, double gamma);
  at::Tensor operator()(const at::Tensor& x) const;
  LinearLayer first, second;
  double gamma;
};

// y = g * (x - mean) / sqrt(var + 1e-5) + b over the last axis
struct LayerNormLayer {
  LayerNormLayer(LeafMaker* maker, const std::string& module);
  at::Tensor operator()(const at::Tensor& x) const;
  at::Tensor weight, bias;
};

// The activation by the fused engine's kernel (worker/model/fused/kernels/fused_kernels.h), with
// its gradient: of activations that have no libtorch expression. Computed on the host in float32.
at::Tensor KernelActivated(const Activation& activation, const at::Tensor& x);

// Each channel less its mean, over its standard deviation: of the global batch in training, which
// moves the running values, and of the running values else (Ioffe and Szegedy, "Batch
// Normalization", ICML 2015). All axes but the last one count as rows. eps 1e-5, momentum 0.1, the
// running variance is the unbiased one.
struct BatchNormLayer {
  BatchNormLayer(LeafMaker* maker, const std::string& module);
  at::Tensor operator()(const at::Tensor& x, const ForwardPass& pass) const;
  at::Tensor weight, bias;  // undefined: 1 and 0
  // The running values on the host; before the tensors, whose making sets them.
  std::span<float> host_mean, host_var;
  at::Tensor running_mean, running_var;
};

struct ActivationLayer {
  ActivationLayer(LeafMaker* maker, const std::string& module, const Activation& activation);
  at::Tensor operator()(const at::Tensor& x, const ForwardPass& pass) const;
  // nn.RReLU in training.
  at::Tensor WithDrawnSlopes(const at::Tensor& x, const ForwardPass& pass) const;
  Activation activation;
  uint64_t module_hash;                // part of the key of what it draws
  at::Tensor weight;                   // of trained activations
  std::optional<BatchNormLayer> norm;  // Dice's
};

// A hidden layer without its dropout: linear, normalisation, activation.
struct PerceptronLayer {
  // perceptron: the module's name with a point behind it.
  PerceptronLayer(LeafMaker* maker, const std::string& perceptron, const Mlp& mlp);
  at::Tensor operator()(const at::Tensor& x, const ForwardPass& pass) const;
  LinearLayer linear;
  std::optional<LayerNormLayer> layer_norm;
  std::optional<BatchNormLayer> batch_norm;
  ActivationLayer activation;
};

// The remaining share of each source of a group (worker/model/variational_dropout.h), computed in
// float64.
struct VariationalLayer {
  VariationalLayer(LeafMaker* maker, const VariationalDropout& dropout);
  // [rows, sources] in training, else [1, sources].
  at::Tensor Factors(int64_t rows, const ForwardPass& pass) const;
  // lambda * sum of (1 - p): a scalar.
  at::Tensor Penalty() const;
  VariationalDropout dropout;
  at::Tensor weight;  // [sources]
};

// x * mask / (1 - ratio) with the mask of worker/model/dropout_mask.h, made where x is
// (worker/model/torch/dropout_tensor.h); costs nothing where ratio is 0.
struct DropoutLayer {
  at::Tensor operator()(const at::Tensor& x, const ForwardPass& pass) const;
  int64_t number = 0;  // of the layer, part of the key
  double ratio = 0;
};

}  // namespace pepnet

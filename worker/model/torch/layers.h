// The building blocks of the network as libtorch expressions. Internal to this folder: includes torch.
//
// Every layer holds leaf tensors that lie inside the arenas of DenseParameters, or inside copies of them on a device: values
// are read in place, and backward adds into the gradient arena, because each leaf's .grad is a view of it. In float64 the
// leaves are copies with gradients of their own: what tests measure the float32 engines with.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>

#include "common/job_config/activation.h"
#include "common/job_config/model.h"
#include "worker/model/parameters.h"

namespace pepnet {

// The arenas that leaves lie in, of DenseParameters' layout.
struct ParameterArenas {
  float* values = nullptr;
  float* gradients = nullptr;
  at::Device device = at::kCPU;
};

// Finds parameters by name and makes leaves of them. An undefined tensor stands for a parameter that the list does not
// have.
class LeafMaker {
 public:
  // Leaves in the arenas of `parameters`. `type`: at::kFloat or at::kDouble.
  explicit LeafMaker(DenseParameters* parameters, at::ScalarType type = at::kFloat);
  // Leaves in other arenas.
  LeafMaker(const DenseParameters* parameters, const ParameterArenas& arenas)
      : parameters_(parameters), arenas_(arenas) {}
  at::Tensor Leaf(const std::string& name);  // must exist
  at::Tensor OptionalLeaf(const std::string& name);
  // All leaves made so far, by parameter name.
  const std::map<std::string, at::Tensor>& leaves() const { return leaves_; }

 private:
  const DenseParameters* const parameters_;
  const ParameterArenas arenas_;
  const at::ScalarType type_ = at::kFloat;
  std::map<std::string, at::Tensor> leaves_;
};

// Rows and step of the batch under way, for dropout. `enabled` false: evaluation, every mask is 1.
struct DropoutState {
  bool enabled = false;
  uint64_t seed = 0;
  int64_t step = 0;
  int64_t first_row = 0;   // global row of the batch's first row
  bool on_device = false;  // masks are computed with tensors where the network computes, not by this CPU
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

// The activation by the fused engine's kernel (worker/model/fused/kernels/fused_kernels.h), with its
// gradient: of activations that have no libtorch expression. Computed on the host in float32.
at::Tensor KernelActivated(const Activation& activation, const at::Tensor& x);

struct ActivationLayer {
  ActivationLayer(LeafMaker* maker, const std::string& module, const Activation& activation);
  at::Tensor operator()(const at::Tensor& x) const;
  Activation activation;
  at::Tensor weight;  // of trained activations (PReLU)
};

// What is left of each source of a group (worker/model/variational_dropout.h), computed in float64.
struct VariationalLayer {
  VariationalLayer(LeafMaker* maker, const VariationalDropout& dropout);
  // [rows, sources] in training, else [1, sources].
  at::Tensor Factors(int64_t rows, const DropoutState& state) const;
  // lambda * sum of (1 - p): a scalar.
  at::Tensor Penalty() const;
  VariationalDropout dropout;
  at::Tensor weight;  // [sources]
};

// x * mask / (1 - ratio) with the mask of worker/model/dropout_mask.h, made where x is (worker/model/torch/dropout_tensor.h); costs
// nothing where ratio is 0.
struct DropoutLayer {
  at::Tensor operator()(const at::Tensor& x, const DropoutState& state) const;
  int64_t number = 0;  // of the layer, part of the key
  double ratio = 0;
};

}  // namespace pepnet

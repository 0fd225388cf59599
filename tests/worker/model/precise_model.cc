#include "tests/worker/model/precise_model.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <torch/csrc/autograd/autograd.h>

#include "common/base/random.h"
#include "worker/model/output_rules.h"
#include "worker/model/torch/losses.h"
#include "worker/model/torch/network.h"

namespace pepnet {
namespace {

std::vector<double> Values(const at::Tensor& tensor, int64_t size) {
  if (!tensor.defined()) return std::vector<double>(static_cast<size_t>(size));  // unused: zero
  const at::Tensor values = tensor.detach().contiguous();
  return {values.const_data_ptr<double>(), values.const_data_ptr<double>() + values.numel()};
}

at::Tensor Apply(const OutputRule& rule, const at::Tensor& z) {
  switch (rule.kind) {
    case OutputRule::Kind::kRaw:
      return z;
    case OutputRule::Kind::kSigmoid:
      return at::sigmoid(z);
    case OutputRule::Kind::kSoftmax:
      return at::softmax(z, 1);
    case OutputRule::Kind::kSoftmaxColumn1:
      return at::softmax(z, 1).select(1, 1);
  }
  return {};
}

void Disturb(const at::Tensor& tensor, double noise, uint64_t seed, uint64_t stream) {
  const at::NoGradGuard no_grad;
  double* const values = tensor.mutable_data_ptr<double>();
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    const float u = UnitFloat(Philox4x32(RandomKey(seed, RandomPurpose::kTest, 50, stream), 0, i)[0]);
    values[i] *= 1 + noise * (2 * static_cast<double>(u) - 1);
  }
}

}  // namespace

PreciseStep TakePreciseStep(const JobConfig& config, DenseParameters* parameters, const ModelInput& input,
                            uint64_t seed, double gradient_scale, double noise, uint64_t noise_seed) {
  const Batch& batch = *input.batch;
  LeafMaker maker(parameters, at::kDouble);
  const Network network(&config, &maker);
  uint64_t stream = 0;
  for (const auto& [name, leaf] : maker.leaves()) Disturb(leaf, noise, noise_seed, stream++);
  const std::vector<SequenceIndex> sequences = IndexSequences(config, batch, at::kCPU);
  std::vector<at::Tensor> leaves(config.leaves.size());
  for (size_t f = 0; f < leaves.size(); ++f) {
    const Leaf& leaf = config.leaves[f];
    leaves[f] = at::from_blob(const_cast<float*>(input.leaves[f]), {VectorsOf(leaf, batch), leaf.dim}).to(at::kDouble);
    Disturb(leaves[f], noise, noise_seed, stream++);
    leaves[f].set_requires_grad(true);
  }

  PreciseStep step;
  const std::vector<RowLoss> losses = RowLosses(
      config, MakeLabels(batch), network.Forward(leaves, sequences, {true, seed, input.step, batch.first_row}).towers);
  std::vector<at::Tensor> roots, seeds;
  for (const RowLoss& loss : losses) {
    const std::vector<float>& scale = (*input.row_scales)[loss.task];
    const at::Tensor scales = at::from_blob(const_cast<float*>(scale.data()), {batch.rows}).to(at::kDouble);
    step.losses.push_back(loss.values.mul(scales).sum().item<double>());
    roots.push_back(loss.values);
    seeds.push_back(scales.mul(gradient_scale));
  }
  torch::autograd::backward(roots, seeds);
  for (const ParameterSpec& spec : parameters->specs()) {
    step.dense.push_back(Values(maker.leaves().at(spec.name).grad(), spec.elements()));
  }
  for (size_t f = 0; f < leaves.size(); ++f) {
    const Leaf& leaf = config.leaves[f];
    step.leaves.push_back(leaf.table >= 0 ? Values(leaves[f].grad(), VectorsOf(leaf, batch) * leaf.dim)
                                          : std::vector<double>());
  }
  const at::NoGradGuard no_grad;
  const NetworkResult evaluation = network.Forward(leaves, sequences, {});
  for (const OutputRule& rule : OutputRules(config)) {
    step.outputs.push_back(Values(Apply(rule, evaluation.towers[rule.tower]), 0));
  }
  return step;
}

}  // namespace pepnet

#include "tests/worker/model/precise_model.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <torch/csrc/autograd/autograd.h>

#include "common/base/random.h"
#include "worker/model/output_rules.h"
#include "worker/model/session_loss.h"
#include "worker/model/torch/losses.h"
#include "worker/model/torch/network.h"
#include "worker/model/variational_dropout.h"

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
    const float u =
        UnitFloat(Philox4x32(RandomKey(seed, RandomPurpose::kTest, 50, stream), 0, i)[0]);
    values[i] *= 1 + noise * (2 * static_cast<double>(u) - 1);
  }
}

// (1 - alpha) g of every row, [rows]: a softmax over the row and its session's rows of the other
// label (spec 2.2).
at::Tensor RankingTerms(const Loss& loss, const Batch& batch, const LabelColumn& label,
                        const at::Tensor& z) {
  const auto session = [&](int64_t row) {
    const std::span<const int64_t> ids = batch.RowIds(loss.session_feature, row);
    return ids.empty() ? int64_t{0} : ids.front();
  };
  std::vector<at::Tensor> terms;
  for (int64_t i = 0; i < batch.rows; ++i) {
    const int64_t own = label.integers[i];
    std::vector<at::Tensor> rivals = {z[i][own]};
    for (int64_t j = 0; j < batch.rows; ++j) {
      if (label.integers[j] != own && session(j) == session(i)) rivals.push_back(z[j][own]);
    }
    terms.push_back(at::stack(rivals).logsumexp(0).sub(z[i][own]).mul(1 - loss.jrc_alpha));
  }
  return at::stack(terms);
}

}  // namespace

PreciseStep TakePreciseStep(const JobConfig& config, DenseParameters* parameters,
                            const ModelInput& input, uint64_t seed, double gradient_scale,
                            double noise, uint64_t noise_seed) {
  const Batch& batch = *input.batch;
  LeafMaker maker(parameters, at::kDouble);
  const Network network(&config, &maker);
  uint64_t stream = 0;
  for (const auto& [name, leaf] : maker.leaves()) Disturb(leaf, noise, noise_seed, stream++);
  const std::vector<SequenceIndex> sequences = IndexSequences(config, batch, at::kCPU);
  std::vector<at::Tensor> leaves(config.leaves.size());
  for (size_t f = 0; f < leaves.size(); ++f) {
    const Leaf& leaf = config.leaves[f];
    leaves[f] =
        at::from_blob(const_cast<float*>(input.leaves[f]), {VectorsOf(leaf, batch), leaf.dim})
            .to(at::kDouble);
    Disturb(leaves[f], noise, noise_seed, stream++);
    leaves[f].set_requires_grad(true);
  }

  PreciseStep step;
  const NetworkResult training =
      network.Forward(leaves, sequences, {true, seed, input.step, batch.first_row});
  const std::vector<RowLoss> losses = RowLosses(config, MakeLabels(batch), training.towers);
  const std::vector<LossSlot> slots = LossSlots(config);
  std::vector<at::Tensor> roots, seeds;
  for (size_t i = 0; i < losses.size(); ++i) {
    const RowLoss& loss = losses[i];
    const std::vector<float>& scale = (*input.row_scales)[loss.task];
    const at::Tensor scales =
        at::from_blob(const_cast<float*>(scale.data()), {batch.rows}).to(at::kDouble);
    at::Tensor values = loss.values;
    if (HasSessions(TypeOf(slots[i].loss->kind))) {
      values = values.add(RankingTerms(*slots[i].loss, batch,
                                       batch.labels[config.model.towers[loss.task].label],
                                       training.towers[loss.task]));
    }
    step.losses.push_back(values.mul(scales).sum().item<double>());
    roots.push_back(values);
    seeds.push_back(scales.mul(gradient_scale));
  }
  for (const auto& [name, penalty] : training.penalties) {
    const at::Tensor share = at::full_like(penalty, PenaltyShare(batch.rows, batch.global_rows));
    step.losses.push_back(penalty.mul(share).item<double>());
    roots.push_back(penalty);
    seeds.push_back(share.mul(gradient_scale));
  }
  torch::autograd::backward(roots, seeds);
  for (const ParameterSpec& spec : parameters->specs()) {
    step.dense.push_back(Values(maker.leaves().at(spec.name).grad(), spec.elements()));
  }
  for (size_t f = 0; f < leaves.size(); ++f) {
    const Leaf& leaf = config.leaves[f];
    step.leaves.push_back(leaf.table >= 0
                              ? Values(leaves[f].grad(), VectorsOf(leaf, batch) * leaf.dim)
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

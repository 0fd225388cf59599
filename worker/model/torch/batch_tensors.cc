#include "worker/model/torch/batch_tensors.h"

#include <cstring>
#include <span>
#include <utility>

#include "common/base/log_functions.h"

namespace pepnet {
namespace {

void CheckLeaves(const JobConfig& config, const ModelInput& input) {
  CheckOrDie(input.leaves.size() == config.leaves.size(), "one pointer per leaf");
  for (size_t l = 0; l < config.leaves.size(); ++l) {
    const Leaf& leaf = config.leaves[l];
    CheckOrDie(VectorsOf(leaf, *input.batch) == 0 || input.leaves[l] != nullptr,
               "no values for feature " + config.features[leaf.feature].name);
  }
}

// Sets what backward accumulates into.
void MakeLeaf(const at::Tensor& leaf, const at::Tensor& gradient) {
  leaf.set_requires_grad(true);
  leaf.mutable_grad() = gradient;
}

// The tensors at which backward of sum over losses and rows of l_i * scale_i * gradient_scale
// starts.
std::vector<std::vector<float>> Seeds(const std::vector<std::vector<float>>& row_scales,
                                      double gradient_scale) {
  std::vector<std::vector<float>> seeds = row_scales;
  for (std::vector<float>& task : seeds) {
    for (float& s : task) s = static_cast<float>(s * gradient_scale);
  }
  return seeds;
}

}  // namespace

BatchTensors BatchInPlace(const JobConfig& config, const ModelInput& input, BatchUse use,
                          double gradient_scale, std::vector<AlignedBuffer<float>>* gradients) {
  CheckLeaves(config, input);
  BatchTensors tensors;
  tensors.leaves.resize(config.leaves.size());
  if (use == BatchUse::kTraining) gradients->resize(config.leaves.size());
  for (size_t l = 0; l < config.leaves.size(); ++l) {
    const Leaf& leaf = config.leaves[l];
    // Leaves without a table get no gradient: what they hold is input.
    if (use == BatchUse::kTraining) (*gradients)[l].Resize(0);
    const std::vector<int64_t> shape = {VectorsOf(leaf, *input.batch), leaf.dim};
    // libtorch has no type for constant memory; nothing writes to a leaf's values.
    tensors.leaves[l] =
        TensorOver(const_cast<float*>(input.leaves[l]), shape, at::kFloat, at::kCPU);
    if (use != BatchUse::kTraining || leaf.table < 0) continue;
    // Backward adds to a leaf's .grad, which must be there and zero. It stands in the caller's
    // buffer, so that nothing has to be copied afterwards.
    AlignedBuffer<float>& gradient = (*gradients)[l];
    gradient.ResizeZeroed(static_cast<size_t>(shape[0] * shape[1]));
    MakeLeaf(tensors.leaves[l], TensorOver(gradient.data(), shape, at::kFloat, at::kCPU));
  }
  tensors.sequences = IndexSequences(config, *input.batch, at::kCPU);
  if (use != BatchUse::kOutputs) tensors.labels = MakeLabels(*input.batch);
  if (use != BatchUse::kTraining) return tensors;
  for (const std::vector<float>& seeds : Seeds(*input.row_scales, gradient_scale)) {
    tensors.seeds.push_back(AlignedTensor<float>(seeds, at::kFloat));
  }
  return tensors;
}

size_t DeviceBatch::Floats(const Leaf& leaf) const {
  return static_cast<size_t>(VectorsOf(leaf, *batch_) * leaf.dim);
}

BatchTensors DeviceBatch::Upload(const ModelInput& input, BatchUse use, double gradient_scale) {
  CheckLeaves(*config_, input);
  batch_ = input.batch;
  const size_t count = config_->leaves.size();
  BatchTensors tensors;
  tensors.leaves.resize(count);
  // All arrays of the batch go to the device in one copy: each has its place in one block, and the
  // tensors are views of the block there.
  struct Outgoing {
    std::span<const std::byte> data;
    std::vector<int64_t> shape;
    at::ScalarType type;
    at::Tensor* tensor;
    size_t place;
  };
  std::vector<Outgoing> list;
  values_.Clear();
  auto add = [&](auto values, std::vector<int64_t> shape, at::ScalarType type, at::Tensor* tensor) {
    const std::span<const std::byte> bytes = std::as_bytes(values);
    list.push_back({bytes, std::move(shape), type, tensor, values_.Add(bytes.size())});
  };
  for (size_t l = 0; l < count; ++l) {
    const Leaf& leaf = config_->leaves[l];
    add(std::span(input.leaves[l], Floats(leaf)), {VectorsOf(leaf, *batch_), leaf.dim}, at::kFloat,
        &tensors.leaves[l]);
  }
  if (use != BatchUse::kOutputs) {
    const std::vector<LabelColumn>& labels = input.batch->labels;
    tensors.labels.values.resize(labels.size());
    tensors.labels.integers.resize(labels.size());
    for (size_t c = 0; c < labels.size(); ++c) {
      const int64_t values = static_cast<int64_t>(labels[c].values.size());
      const int64_t integers = static_cast<int64_t>(labels[c].integers.size());
      add(std::span(labels[c].values), {values}, at::kFloat, &tensors.labels.values[c]);
      add(std::span(labels[c].integers), {integers}, at::kLong, &tensors.labels.integers[c]);
    }
  }
  // These must outlive the copies below, which read them.
  std::vector<std::vector<float>> seeds;
  if (use == BatchUse::kTraining) seeds = Seeds(*input.row_scales, gradient_scale);
  tensors.seeds.resize(seeds.size());
  for (size_t t = 0; t < seeds.size(); ++t) {
    add(std::span(std::as_const(seeds[t])), {static_cast<int64_t>(seeds[t].size())}, at::kFloat,
        &tensors.seeds[t]);
  }

  values_.Allocate();
  for (const Outgoing& array : list) {
    if (!array.data.empty()) {
      std::memcpy(values_.host(array.place), array.data.data(), array.data.size());
    }
    *array.tensor = values_.on_device(array.place, array.shape, array.type);
  }
  values_.Upload();
  // The index is built on the host and moved: lengths are needed on both sides.
  tensors.sequences = IndexSequences(*config_, *batch_, values_.device());
  if (use != BatchUse::kTraining) return tensors;

  gradients_.Clear();
  gradient_places_.assign(count, 0);
  for (size_t l = 0; l < count; ++l) {
    const Leaf& leaf = config_->leaves[l];
    if (leaf.table >= 0) gradient_places_[l] = gradients_.Add(Floats(leaf) * sizeof(float));
  }
  // The gradients come back in one copy, too.
  gradients_.Allocate();
  gradients_.ZeroDevice();
  for (size_t l = 0; l < count; ++l) {
    const Leaf& leaf = config_->leaves[l];
    if (leaf.table < 0) continue;
    MakeLeaf(tensors.leaves[l],
             gradients_.on_device(gradient_places_[l], {VectorsOf(leaf, *batch_), leaf.dim},
                                  at::kFloat));
  }
  return tensors;
}

void DeviceBatch::TakeGradients(std::vector<AlignedBuffer<float>>* gradients) {
  gradients->resize(config_->leaves.size());
  for (size_t l = 0; l < gradients->size(); ++l) {
    const Leaf& leaf = config_->leaves[l];
    AlignedBuffer<float>& gradient = (*gradients)[l];
    gradient.Resize(leaf.table >= 0 ? Floats(leaf) : 0);
    if (!gradient.empty()) {
      std::memcpy(gradient.data(), gradients_.host(gradient_places_[l]), gradient.bytes());
    }
  }
}

}  // namespace pepnet

#include "worker/model/torch/batch_tensors.h"

#include <cstring>
#include <span>
#include <utility>

#include "common/base/log_functions.h"

namespace pepnet {
namespace {

bool HasGradient(const Feature& feature) { return feature.in_group && feature.table >= 0; }

void CheckFeatures(const JobConfig& config, const ModelInput& input) {
  CheckOrDie(input.features.size() == config.features.size(), "one pointer per feature");
  for (size_t f = 0; f < config.features.size(); ++f) {
    const Feature& feature = config.features[f];
    CheckOrDie(!feature.in_group || input.batch->rows == 0 || input.features[f] != nullptr,
               "no values for feature " + feature.name);
  }
}

// Sets what backward accumulates into.
void MakeLeaf(const at::Tensor& leaf, const at::Tensor& gradient) {
  leaf.set_requires_grad(true);
  leaf.mutable_grad() = gradient;
}

// Where backward of sum over losses and rows of l_i * scale_i * gradient_scale starts.
std::vector<std::vector<float>> Seeds(const std::vector<std::vector<float>>& row_scales, double gradient_scale) {
  std::vector<std::vector<float>> seeds = row_scales;
  for (std::vector<float>& task : seeds) {
    for (float& s : task) s = static_cast<float>(s * gradient_scale);
  }
  return seeds;
}

}  // namespace

BatchTensors BatchInPlace(const JobConfig& config, const ModelInput& input, BatchUse use, double gradient_scale,
                          std::vector<AlignedBuffer<float>>* gradients) {
  CheckFeatures(config, input);
  const int64_t rows = input.batch->rows;
  BatchTensors tensors;
  tensors.features.resize(config.features.size());
  if (use == BatchUse::kTraining) gradients->resize(config.features.size());
  for (size_t f = 0; f < config.features.size(); ++f) {
    const Feature& feature = config.features[f];
    if (use == BatchUse::kTraining) (*gradients)[f].Resize(0);
    if (!feature.in_group) continue;
    const std::vector<int64_t> shape = {rows, feature.dim};
    // libtorch has no type for constant memory; nothing writes to a feature's values.
    tensors.features[f] = TensorOver(const_cast<float*>(input.features[f]), shape, at::kFloat, at::kCPU);
    if (use != BatchUse::kTraining || !HasGradient(feature)) continue;
    AlignedBuffer<float>& gradient = (*gradients)[f];
    gradient.ResizeZeroed(static_cast<size_t>(rows * feature.dim));
    MakeLeaf(tensors.features[f], TensorOver(gradient.data(), shape, at::kFloat, at::kCPU));
  }
  if (use != BatchUse::kOutputs) tensors.labels = MakeLabels(*input.batch);
  if (use != BatchUse::kTraining) return tensors;
  for (const std::vector<float>& seeds : Seeds(*input.row_scales, gradient_scale)) {
    tensors.seeds.push_back(AlignedTensor<float>(seeds, at::kFloat));
  }
  return tensors;
}

BatchTensors DeviceBatch::Upload(const ModelInput& input, BatchUse use, double gradient_scale) {
  CheckFeatures(*config_, input);
  rows_ = input.batch->rows;
  const size_t count = config_->features.size();
  BatchTensors tensors;
  tensors.features.resize(count);
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
  for (size_t f = 0; f < count; ++f) {
    const Feature& feature = config_->features[f];
    if (!feature.in_group) continue;
    add(std::span(input.features[f], static_cast<size_t>(rows_ * feature.dim)), {rows_, feature.dim}, at::kFloat,
        &tensors.features[f]);
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
  std::vector<std::vector<float>> seeds;
  if (use == BatchUse::kTraining) seeds = Seeds(*input.row_scales, gradient_scale);
  tensors.seeds.resize(seeds.size());
  for (size_t t = 0; t < seeds.size(); ++t) {
    add(std::span(std::as_const(seeds[t])), {static_cast<int64_t>(seeds[t].size())}, at::kFloat, &tensors.seeds[t]);
  }

  values_.Allocate();
  for (const Outgoing& array : list) {
    if (!array.data.empty()) std::memcpy(values_.host(array.place), array.data.data(), array.data.size());
    *array.tensor = values_.on_device(array.place, array.shape, array.type);
  }
  values_.Upload();
  if (use != BatchUse::kTraining) return tensors;

  gradients_.Clear();
  gradient_places_.assign(count, 0);
  for (size_t f = 0; f < count; ++f) {
    const Feature& feature = config_->features[f];
    if (HasGradient(feature)) gradient_places_[f] = gradients_.Add(rows_ * feature.dim * sizeof(float));
  }
  gradients_.Allocate();
  gradients_.ZeroDevice();
  for (size_t f = 0; f < count; ++f) {
    const Feature& feature = config_->features[f];
    if (!HasGradient(feature)) continue;
    MakeLeaf(tensors.features[f], gradients_.on_device(gradient_places_[f], {rows_, feature.dim}, at::kFloat));
  }
  return tensors;
}

void DeviceBatch::TakeGradients(std::vector<AlignedBuffer<float>>* gradients) {
  gradients->resize(config_->features.size());
  for (size_t f = 0; f < gradients->size(); ++f) {
    const Feature& feature = config_->features[f];
    AlignedBuffer<float>& gradient = (*gradients)[f];
    gradient.Resize(HasGradient(feature) ? static_cast<size_t>(rows_ * feature.dim) : 0);
    if (!gradient.empty()) std::memcpy(gradient.data(), gradients_.host(gradient_places_[f]), gradient.bytes());
  }
}

}  // namespace pepnet

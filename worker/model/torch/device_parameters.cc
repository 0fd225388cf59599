#include "worker/model/torch/device_parameters.h"

#include <ATen/ops/empty.h>

namespace pepnet {

DeviceParameters::DeviceParameters(DenseParameters* parameters, at::Device device)
    : parameters_(parameters), gradients_(device) {
  const std::span<float> values = parameters->values();
  const int64_t floats = static_cast<int64_t>(values.size());
  // The arena is page-locked, so that copies to and from the device need not wait.
  pinned_values_ = PinnedMemory(values.data(), values.size_bytes());
  values_ = at::empty({floats}, at::TensorOptions(at::kFloat).device(device));
  const size_t place = gradients_.Add(values.size_bytes());
  gradients_.Allocate();
  arenas_ = {values_.mutable_data_ptr<float>(),
             gradients_.on_device(place, {floats}, at::kFloat).mutable_data_ptr<float>(), device};
}

void DeviceParameters::UploadValues() {
  const std::span<float> values = parameters_->values();
  // The values go up anew for every step: the optimizers step on the host, whose arena is the one
  // that is saved.
  values_.copy_(TensorOver(values.data(), {values_.numel()}, at::kFloat, at::kCPU),
                /*non_blocking=*/true);
}

void DeviceParameters::ZeroGradients() { gradients_.ZeroDevice(); }

void DeviceParameters::AddGradientsToHost() {
  // The gradients are added, not copied: DenseParameters::gradient() adds up, as on the host.
  const std::span<float> sums = parameters_->gradients();
  const at::Tensor step = TensorOver(gradients_.host(0), {values_.numel()}, at::kFloat, at::kCPU);
  TensorOver(sums.data(), {values_.numel()}, at::kFloat, at::kCPU).add_(step);
}

}  // namespace pepnet

// ComputeDevice in libtorch's words. Internal to this folder: includes torch.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "worker/model/compute_device.h"

namespace pepnet {

inline c10::Device TorchDevice(const ComputeDevice& device) {
  if (device.kind != ComputeDevice::Kind::kGpu) return c10::kCPU;
  return {c10::kCUDA, static_cast<c10::DeviceIndex>(device.index)};
}

// The stream that work for `device` is queued on now.
inline c10::Stream CurrentStream(c10::Device device) {
  return c10::impl::VirtualGuardImpl(device.type()).getStream(device);
}

// CUDA's handle of it; null where there are no streams.
inline void* CurrentStreamHandle(c10::Device device) {
  return device.is_cpu() ? nullptr : CurrentStream(device).native_handle();
}

// Returns when all that is queued there is done.
inline void SynchronizeDevice(c10::Device device) {
  if (!device.is_cpu()) CurrentStream(device).synchronize();
}

}  // namespace pepnet

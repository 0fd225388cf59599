// Transfer: arrays that cross between the host and a device together, in one asynchronous copy.
// Internal to this folder: includes torch.
//
// Memory:    one page-locked block of the host and one of the device, of the same layout: array
//            after array, each on a 64-byte boundary. Both are kept from one use to the next and
//            grow as needed.
// Order:     copies are queued on the device's current stream. The host's block must not be written
//            before an upload, or read before a download, is done; the caller synchronises.
// Device:    may be the CPU (a second block of the host), for tests.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "common/gpu/device_collective.h"

namespace pepnet {

// A tensor over memory of `device` that somebody else owns.
at::Tensor TensorOver(void* data, at::IntArrayRef shape, at::ScalarType type, at::Device device);

// A copy of `values` as kernels want it; vectors are not aligned.
template <typename T>
at::Tensor AlignedTensor(const std::vector<T>& values, at::ScalarType type) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, type);
  std::copy(values.begin(), values.end(), tensor.mutable_data_ptr<T>());
  return tensor;
}

class Transfer {
 public:
  explicit Transfer(at::Device device) : device_(device) {}

  // Forgets all arrays.
  void Clear() { bytes_ = 0; }
  // Adds an array and returns its place.
  size_t Add(size_t bytes);
  // After the last Add(): both blocks are as large as needed. Pointers and tensors are valid until
  // the next Allocate().
  void Allocate();

  std::byte* host(size_t place) { return block_.data() + place; }
  at::Tensor on_device(size_t place, at::IntArrayRef shape, at::ScalarType type);

  at::Device device() const { return device_; }
  void Upload();
  void Download();
  void ZeroDevice();

 private:
  at::Tensor DeviceBlock();  // the used part
  at::Tensor HostBlock();

  const at::Device device_;
  size_t bytes_ = 0;
  AlignedBuffer<std::byte> block_;
  PinnedMemory pinned_;  // block_; goes before it
  at::Tensor device_block_;
};

}  // namespace pepnet

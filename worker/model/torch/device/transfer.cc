#include "worker/model/torch/device/transfer.h"

#include <ATen/ops/from_blob.h>

namespace pepnet {

at::Tensor TensorOver(void* data, at::IntArrayRef shape, at::ScalarType type, at::Device device) {
  const at::TensorOptions options = at::TensorOptions(type).device(device);
  // Data may be null.
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return at::empty(shape, options);
  return at::for_blob(data, shape).options(options).target_device(device).make_tensor();
}

size_t Transfer::Add(size_t bytes) {
  // Each array begins on a cache line, whatever the size of the one before.
  const size_t place = bytes_;
  bytes_ += (bytes + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
  return place;
}

void Transfer::Allocate() {
  // A block that is large enough stays: page-locking is far dearer than the copies.
  if (bytes_ <= block_.size()) return;
  pinned_ = PinnedMemory();  // page-locked memory must not be freed
  block_ = AlignedBuffer<std::byte>(bytes_);
  pinned_ = PinnedMemory(block_.data(), block_.bytes());
  device_block_ =
      at::empty({static_cast<int64_t>(bytes_)}, at::TensorOptions(at::kByte).device(device_));
}

at::Tensor Transfer::on_device(size_t place, at::IntArrayRef shape, at::ScalarType type) {
  std::byte* const begin =
      device_block_.defined() ? static_cast<std::byte*>(device_block_.mutable_data_ptr()) : nullptr;
  return TensorOver(begin + place, shape, type, device_);
}

at::Tensor Transfer::DeviceBlock() {
  return device_block_.narrow(0, 0, static_cast<int64_t>(bytes_));
}

at::Tensor Transfer::HostBlock() {
  return TensorOver(block_.data(), {static_cast<int64_t>(bytes_)}, at::kByte, at::kCPU);
}

void Transfer::Upload() {
  if (bytes_ > 0) DeviceBlock().copy_(HostBlock(), /*non_blocking=*/true);
}

void Transfer::Download() {
  if (bytes_ > 0) HostBlock().copy_(DeviceBlock(), /*non_blocking=*/true);
}

void Transfer::ZeroDevice() {
  if (bytes_ > 0) DeviceBlock().zero_();
}

}  // namespace pepnet

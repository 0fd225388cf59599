// Stands in for nccl_collective.cc in a build without NCCL.
#include <utility>

#include "common/net/device_collective.h"

namespace pepnet {

GpuReport FindGpus() { return {0, "this build has no NCCL"}; }

StatusOr<std::unique_ptr<DeviceCollective>> MakeNcclCollective(Collective* host, int device,
                                                               const NcclOptions& options) {
  return absl::UnavailableError(FindGpus().reason);
}

PinnedMemory::PinnedMemory(void* data, size_t bytes) : data_(data) {}
PinnedMemory::~PinnedMemory() = default;
PinnedMemory::PinnedMemory(PinnedMemory&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
PinnedMemory& PinnedMemory::operator=(PinnedMemory&& other) noexcept {
  data_ = std::exchange(other.data_, nullptr);
  return *this;
}

}  // namespace pepnet

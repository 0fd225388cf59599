// The functions of device_collective.h in a build without NCCL (PEPNET_WITH_NCCL): there is no GPU.
#include <utility>

#include "common/gpu/device_collective.h"

namespace pepnet {

GpuReport FindGpus() {
  GpuReport report;
  report.reason = "this build has no NCCL (docs/building.md, PEPNET_WITH_NCCL)";
  return report;
}

StatusOr<std::unique_ptr<DeviceCollective>> MakeNcclCollective(Collective*, int,
                                                               const NcclOptions&) {
  return absl::UnavailableError(FindGpus().reason);
}

PinnedMemory::PinnedMemory(void*, size_t) {}
PinnedMemory::~PinnedMemory() = default;
PinnedMemory::PinnedMemory(PinnedMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)) {}
PinnedMemory& PinnedMemory::operator=(PinnedMemory&& other) noexcept {
  data_ = std::exchange(other.data_, nullptr);
  return *this;
}

}  // namespace pepnet

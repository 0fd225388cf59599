// The contract of every DeviceCollective beside that of a Collective. Its memory and streams are
// the CUDA runtime's: the one that the test is linked with, a real one or the fake.
#pragma once

#include <vector>

#include "common/gpu/device_collective.h"
#include "tests/common/net/collective_conformance.h"

namespace pepnet {

// Bits that a DeviceCollective promises, made by MakeNcclCollective() with worker i on GPU i.
CollectiveKind NcclKind(double timeout_s);

// Sums of arrays on the GPUs by the first `workers` ranks.
std::vector<RankCase> DeviceCollectiveCases(int workers);

// Makes NCCL's collective of all ranks of the transport, with worker i on GPU i, and runs `body` on
// it. `host_timeout_s`: of the collective of the host.
Status OnGpus(Transport* transport, const NcclOptions& options, double host_timeout_s,
              const std::function<Status(DeviceCollective*)>& body);

// A float array on this thread's GPU, for the life of the object.
class DeviceArray {
 public:
  explicit DeviceArray(size_t size);
  ~DeviceArray();
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  float* data() { return data_; }
  size_t size() const { return host_.size(); }
  // Puts worker `worker`'s test values into the array, on `stream` (0: the default stream).
  void Fill(int worker, void* stream);
  // The content of the array after all work on `stream`.
  StatusOr<std::vector<float>> Read(void* stream);

 private:
  std::vector<float> host_;  // what an asynchronous copy reads must live on
  float* data_ = nullptr;
};

}  // namespace pepnet

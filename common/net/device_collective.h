// DeviceCollective: a Collective that also sums arrays in the memory of this worker's GPU, while the GPU computes on.
//
// The dense gradients are summed where they are: the model begins the sum of a flat bucket as soon as backward has written
// it, and the buckets are summed one after the other on a stream of the collective's own.
//
// Order:     every worker begins the same sums (elements, what) in the same order.
// Streams:   named by the CUDA runtime's handle (void* here: one file of the tree includes CUDA, nccl_collective.cc).
// Threads:   as Collective. BeginSum() may come from another thread (libtorch's backward) while the owner waits for it.
// Bits:      every worker gets the same bits. Host spans and device arrays of floats and doubles are added in NCCL's order, which
//            is a function of topology and size with NcclOptions::deterministic; int64 sums are exact.
// Failure:   sticky, as Collective. While waiting, asynchronous errors of NCCL are polled; after an error or a deadline the
//            communicator is aborted, so that no kernel of this process waits for a dead peer for ever.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "common/net/collective.h"

namespace pepnet {

class DeviceCollective : public Collective {
 public:
  virtual int device() const = 0;  // number of the GPU among those that this process sees

  // data[0 .. elements) in this GPU's memory becomes the sum over the workers. Begins behind what is queued on `stream` now,
  // and returns at once. The array must not be touched before FinishSums().
  virtual Status BeginSum(float* data, size_t elements, void* stream, const std::string& what) = 0;

  // Returns when all sums that were begun are done, at the latest at the deadline; what is queued on `stream` later sees them.
  virtual Status FinishSums(void* stream, const std::string& what) = 0;
};

struct NcclOptions {
  double timeout_s = 300;      // deadline of every operation
  bool deterministic = false;  // the same bits for the same topology (one algorithm and protocol)
};

// What this build and this machine have of GPUs.
struct GpuReport {
  int count = 0;       // GPUs that this process sees
  std::string reason;  // if 0, why: "this build has no NCCL", "no CUDA driver", ...
};
GpuReport FindGpus();

// A communicator of `host`'s workers, whose id travels from worker 0 through `host`. Every worker calls it. Borrows `host`, which
// also carries strings and barriers (they are host data). Unavailable, with FindGpus().reason, where there is no GPU.
StatusOr<std::unique_ptr<DeviceCollective>> MakeNcclCollective(Collective* host, int device, const NcclOptions& options);

// Page-locks host memory for its life, so that copies to and from the GPU are asynchronous. Nothing happens without a GPU.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  PinnedMemory(void* data, size_t bytes);
  ~PinnedMemory();
  PinnedMemory(PinnedMemory&& other) noexcept;
  PinnedMemory& operator=(PinnedMemory&& other) noexcept;

 private:
  void* data_ = nullptr;
};

}  // namespace pepnet

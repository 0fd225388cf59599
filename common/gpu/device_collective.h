// DeviceCollective: a Collective that also sums arrays in the memory of this worker's GPU, while
// the GPU computes on.
//
// The dense gradients are summed where they are: the model begins the sum of a flat bucket as soon
// as backward has written it, and the buckets are summed one after the other on a stream of the
// collective's own.
//
// Order:     every worker begins the same sums in the same order.
// Streams:   named by the CUDA runtime's handle (void* here: one file of the tree includes CUDA,
//            nccl_collective.cc).
// Threads:   as Collective. BeginSum() may come from another thread (libtorch's backward) while the
//            owner waits for it. A thread that calls works on device() from then on.
// Host data: strings, gathers, barriers and sums of at most 8 KiB go through the collective of the
//            host and are what they are there (worker order). Longer sums of host spans travel over
//            the GPUs, through a page-locked buffer.
// Bits:      every worker gets the same bits. Sums over the GPUs add floats and doubles in NCCL's
//            order, which is a function of topology and size with NcclOptions::deterministic; int64
//            sums are exact.
// Failure:   sticky, as Collective. A wait ends at its deadline, at an asynchronous error of NCCL,
//            and as soon as a rank of the job is lost; then the communicator is aborted, so that no
//            kernel of this process waits for a dead peer for ever. Workers that begin sums of
//            different sizes get FailedPrecondition naming both: the sizes between two FinishSums()
//            are compared when they change, so a list that stays costs nothing; one that changes on
//            some workers only shows at their next call on the host, or at the deadline.
// End:       the destructor waits for nobody. Let the workers meet (Barrier) before it, or it cuts
//            others off their last sum.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "common/health/peer_watch.h"
#include "common/health/rank_status.h"
#include "common/net/collective.h"

namespace pepnet {

class DeviceCollective : public Collective {
 public:
  virtual int device() const = 0;  // number of the GPU among those that this process sees

  // data[0 .. elements) in this GPU's memory becomes the sum over the workers. Begins behind what
  // is queued on `stream` now, and returns at once. The array must not be touched before
  // FinishSums().
  virtual Status BeginSum(float* data, size_t elements, void* stream, const std::string& what) = 0;

  // Returns when all sums that were begun are done, at the latest at the deadline; what is queued
  // on `stream` later sees them.
  virtual Status FinishSums(void* stream, const std::string& what) = 0;
};

struct NcclOptions {
  double timeout_s = 300;  // deadline of every operation
  // The same bits for the same topology: one algorithm and one protocol (NCCL_ALGO=Ring,
  // NCCL_PROTO=Simple, which NCCL reads from the environment, where it has no other switch for all
  // its versions). A value that the user has set stays.
  bool deterministic = false;
  RankStatus* status = nullptr;      // where waits are entered; may be null
  const PeerWatch* peers = nullptr;  // a wait ends when one of them is lost; may be null
};

// The GPU support of this build and this machine.
struct GpuReport {
  int count = 0;                 // GPUs that this process sees
  std::vector<std::string> ids;  // of each: its address on the host's bus, "0000:17:00.0"
  // If 0, why: "this build has no NCCL; ...", "CUDA finds no GPU: ...".
  std::string reason;
};
GpuReport FindGpus();

// A communicator of `host`'s workers, whose id travels from worker 0 through `host`. Every worker
// calls it. Borrows `host`, on which nobody else may work meanwhile. `device`: one GPU per worker.
// Unavailable, with FindGpus().reason, on every worker if one of them has no GPU.
StatusOr<std::unique_ptr<DeviceCollective>> MakeNcclCollective(Collective* host, int device,
                                                               const NcclOptions& options);

// Page-locks host memory for its life, so that copies to and from the GPU are asynchronous. Nothing
// happens without a GPU; where the system refuses (ulimit -l), copies are slower and the log says
// so. Unlock before the memory is freed.
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

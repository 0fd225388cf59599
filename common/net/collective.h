// Collective: operations in which every worker of the job takes part, in the same order on each.
//
// Bits:      sums are formed in worker order 0, 1, 2, ... for every element, whatever the number of
//            elements or the order in which messages arrive, so that a result is a function of the
//            inputs alone (laws L2, L3).
// Threads:   one thread at a time.
// Deadlines: every operation fails with DeadlineExceeded naming `what`, the peer and the operation
//            after `timeout`.
// Failure:   a call on one worker that does not match the others' (operation, `what`, size) is
//            FailedPrecondition naming both. After an error every later call returns that error.
// Implementations: CollectiveOverTransport (MPI or in-process); NCCL for device buffers.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/net/transport.h"

namespace pepnet {

class Collective {
 public:
  virtual ~Collective() = default;
  virtual int index() const = 0;  // this worker, 0 .. count-1
  virtual int count() const = 0;

  // data[i] becomes the sum over workers of data[i]; all workers pass the same size (0 is legal).
  virtual Status AllreduceSum(std::span<float> data, const std::string& what) = 0;
  virtual Status AllreduceSum(std::span<double> data, const std::string& what) = 0;
  virtual Status AllreduceSum(std::span<int64_t> data, const std::string& what) = 0;
  // Every worker's bytes, by worker index, on every worker. Sizes may differ.
  virtual StatusOr<std::vector<std::string>> Allgather(const std::string& mine,
                                                       const std::string& what) = 0;
  // As Allgather, but only worker 0 gets the result (others get an empty vector).
  virtual StatusOr<std::vector<std::string>> GatherToFirst(const std::string& mine,
                                                           const std::string& what) = 0;
  // Worker 0's bytes on every worker.
  virtual StatusOr<std::string> BroadcastFromFirst(const std::string& mine,
                                                   const std::string& what) = 0;
  virtual Status Barrier(const std::string& what) = 0;
};

// `ranks[i]` is the transport rank of worker i; this process must be one of them. Borrows the
// transport.
std::unique_ptr<Collective> MakeCollective(Transport* transport, Channel channel,
                                           std::vector<int> ranks, double timeout_s);

}  // namespace pepnet

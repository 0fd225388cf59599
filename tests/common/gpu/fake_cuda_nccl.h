// FakeGpus: the functions of the CUDA runtime and of NCCL that nccl_collective.cc and its tests
// call, in host memory, with ranks as threads. Linked into one test, never into the product.
//
// Streams:  queues of operations. They move on, all of them, whenever somebody asks how far they
//           are (cudaEventQuery, cudaStreamSynchronize), under one lock: there are no threads here,
//           and nothing happens behind a test's back.
// Sums:     run when all ranks of the communicator have reached them, and add from the last rank to
//           the first, so that nobody takes them for sums in worker order. Sums of different sizes
//           or types never end, as on GPUs.
// Misuse:   what a real GPU answers with a crash or a hang is noted and fails the test (Verdict).
#pragma once

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <functional>
#include <memory>
#include <string>

namespace pepnet {

class FakeGpus {
 public:
  // One object at a time. `devices`: 0 gives cudaErrorNoDevice.
  explicit FakeGpus(int devices);
  ~FakeGpus();

  // ---- faults
  // The `nth` call of `function` from now, on any thread, returns `code` and does nothing else.
  void FailCall(const std::string& function, int code, int nth = 1);
  // The nth sum of rank `rank` does not end; its communicator reports `code`.
  void FailSum(int rank, int nth, ncclResult_t code);
  // No sum runs while they are held.
  void HoldSums(bool held);
  // Calls on a communicator return ncclInProgress and are done after so many
  // ncclCommGetAsyncError().
  void SetPollsPerCall(int polls);
  void SetVersion(int device, int version);

  // A kernel on `stream`: tried until it returns true; what is behind it waits.
  void Launch(cudaStream_t stream, std::function<bool()> kernel);

  // ---- what has happened
  int aborts() const;       // ncclCommAbort() of all ranks
  int sums() const;         // ncclAllReduce() of all ranks
  int pinned() const;       // pieces of memory that are page-locked by cudaHostRegister()
  int allocations() const;  // of cudaMalloc() and cudaHostAlloc(), so far
  // NCCL_ALGO and NCCL_PROTO when the last communicator was made: "Ring Simple"; "-" for one that
  // is not set.
  std::string settings() const;
  // "" if everything was used rightly and given back, else what was not.
  std::string Verdict() const;

  struct State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace pepnet

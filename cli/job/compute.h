// The device and precision of a job's workers: decided once, by all workers from the same info.
//
//   --device=gpu    a GPU for every worker, or an error that says what is missing
//   --device=auto   the same where every worker has one, else the CPU, with the reason
//   --device=cpu    the CPU
//
// The GPUs of a host go to its workers in worker order, servers not counted, each to one worker.
// They are told apart by their address on the bus: a scheduler may show each worker a GPU of its
// own and call it 0 every time.
#pragma once

#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/net/collective.h"

namespace pepnet {

// The devices of one worker's process and host.
struct ComputeInfo {
  std::string host;
  std::vector<std::string> gpus;  // addresses of those that libtorch can compute on, by its number
  std::string no_gpu;             // if there is none: why
  // Why GPUs of several workers could not sum their gradients; "" if they could.
  std::string no_nccl;
  bool cpu_bf16 = false;
};
// `looks_for_gpus` false: leaves the GPUs alone, and reports none.
ComputeInfo InfoOfThisWorker(bool looks_for_gpus);

struct ComputeRequest {
  std::string device = "auto";  // auto | cpu | gpu
  bool bf16 = false;            // mixed_precision "BF16"
  bool trains = false;          // gradients are summed over the workers
};

struct ComputeChoice {
  std::vector<int> gpus;  // by worker; empty: all compute on their CPUs
  bool bf16 = false;
  std::vector<std::string> lines, warnings;  // for worker 0's log
};

// `workers` by worker index. The same error on every worker if the request cannot be met.
StatusOr<ComputeChoice> ChooseCompute(const ComputeRequest& request,
                                      const std::vector<ComputeInfo>& workers);

// Exchanges the info among the workers and chooses. Every worker calls it.
StatusOr<ComputeChoice> AgreeOnCompute(const ComputeRequest& request, const ComputeInfo& mine,
                                       Collective* workers);

}  // namespace pepnet

// The GPUs that libtorch finds, without torch.
#pragma once

#include <cstdint>
#include <string>

#include "worker/model/compute_device.h"

namespace pepnet {

struct TorchGpus {
  int count = 0;       // that libtorch can compute on
  std::string reason;  // if 0, why
};
TorchGpus FindTorchGpus();

// GFLOP/s of one n x n x n product on the device, in float32 or bfloat16: the best of a few.
double DeviceMatrixPeak(const ComputeDevice& device, int64_t n, bool bf16);

// From here on libtorch picks those of a GPU's algorithms that give the same bits each time; call
// it before the first model is made. Writes CUBLAS_WORKSPACE_CONFIG, which cuBLAS asks for, unless
// it is set.
void ComputeDeterministicallyOnGpus();

}  // namespace pepnet

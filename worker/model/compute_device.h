// The device on which the dense network computes.
#pragma once

namespace pepnet {

struct ComputeDevice {
  enum class Kind {
    kHost,      // this process's threads, on the host's arrays in place
    kHostCopy,  // as kGpu does it, with copies in host memory for the GPU's: for tests
    kGpu,
  };
  Kind kind = Kind::kHost;
  int index = 0;  // kGpu: number among the GPUs that this process sees
};

}  // namespace pepnet

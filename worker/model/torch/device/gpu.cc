#include "worker/model/torch/device/gpu.h"

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "worker/model/torch/device/torch_device.h"

namespace pepnet {

TorchGpus FindTorchGpus() {
  if (!c10::impl::hasDeviceGuardImpl(at::kCUDA)) return {0, "this libtorch has no CUDA"};
  const int count = c10::impl::VirtualGuardImpl(at::kCUDA).deviceCount();
  if (count > 0) return {count, ""};
  return {
      0, "libtorch finds no GPU here (there is none, no driver, or CUDA_VISIBLE_DEVICES hides it)"};
}

double DeviceMatrixPeak(const ComputeDevice& device, int64_t n, bool bf16) {
  const at::NoGradGuard no_grad;
  const at::Device where = TorchDevice(device);
  const c10::DeviceGuard guard(where);
  const at::TensorOptions options =
      at::TensorOptions(bf16 ? at::kBFloat16 : at::kFloat).device(where);
  const at::Tensor a = at::full({n, n}, 0.1, options), b = at::full({n, n}, 0.2, options);
  double best = 0;
  constexpr int kTries = 4, kProducts = 5;  // the first try warms up
  // A product has 2 n^3 operations; the best of several tries counts, since others may use the GPU.
  for (int i = 0; i < kTries; ++i) {
    SynchronizeDevice(where);
    const auto start = std::chrono::steady_clock::now();
    for (int k = 0; k < kProducts; ++k) at::mm(a, b);
    SynchronizeDevice(where);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, 2e-9 * kProducts * static_cast<double>(n) * n * n / seconds);
  }
  return best;
}

void ComputeDeterministicallyOnGpus() {
  // Without a workspace of fixed size cuBLAS may choose another algorithm, and other bits, each
  // time. What the user has set stays.
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  // Every byte is written before it is read.
  at::globalContext().setDeterministicFillUninitializedMemory(false);
}

}  // namespace pepnet

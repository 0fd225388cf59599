// The masks of worker/model/dropout_mask.h as tensors. Internal to this folder: includes torch.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace pepnet {

struct DropoutRows {
  int64_t first_row = 0;  // global row
  int64_t rows = 0, width = 0;
};

// [rows, width] on the host, filled by libtorch's threads.
at::Tensor DropoutMaskOnHost(uint64_t key, double ratio, const DropoutRows& rows);

// The same bits, computed on `device` by tensor operations: about 120 of them, each over rows *
// width / 4 int64.
at::Tensor DropoutMaskOnDevice(uint64_t key, double ratio, const DropoutRows& rows,
                               at::Device device);

// The uniforms of FillUniforms(), [rows, width], where `device` is.
at::Tensor UniformsOnHost(uint64_t key, const DropoutRows& rows);
at::Tensor UniformsOnDevice(uint64_t key, const DropoutRows& rows, at::Device device);

}  // namespace pepnet

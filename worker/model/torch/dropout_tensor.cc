#include "worker/model/torch/dropout_tensor.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>

#include "worker/model/dropout_mask.h"

namespace pepnet {
namespace {

constexpr int64_t kLow32 = 0xFFFFFFFF;

// The 32-bit words of Philox lie in the lower halves of int64. A product of two of them wraps
// around as int64, its bits are right; shifting right copies the sign, which the mask removes.
struct Words {
  at::Tensor high, low;
};
Words Multiply(const at::Tensor& word, int64_t factor) {
  const at::Tensor product = word.mul(factor);
  return {product.__rshift__(32).bitwise_and_(kLow32), product.bitwise_and(kLow32)};
}

}  // namespace

at::Tensor DropoutMaskOnHost(uint64_t key, double ratio, const DropoutRows& rows) {
  at::Tensor mask = at::empty({rows.rows, rows.width}, at::kFloat);
  float* const values = mask.mutable_data_ptr<float>();
  constexpr int64_t kRowsPerTask = 16;
  at::parallel_for(0, rows.rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
    // A row's mask depends on the row alone, so the cut over threads is free.
    FillDropoutMask(key, ratio, rows.first_row + begin, end - begin, rows.width,
                    values + begin * rows.width);
  });
  return mask;
}

at::Tensor UniformsOnHost(uint64_t key, const DropoutRows& rows) {
  at::Tensor u = at::empty({rows.rows, rows.width}, at::kFloat);
  float* const values = u.mutable_data_ptr<float>();
  for (int64_t row = 0; row < rows.rows; ++row) {
    FillUniforms(key, rows.first_row + row, rows.width, values + row * rows.width);
  }
  return u;
}

namespace {

// The integers of 24 bits that masks and uniforms are made of, [rows, width]: Philox4x32 of
// common/base/random.h at the counters (row, block), all blocks at once; word j of block b is
// element 4 b + j.
at::Tensor WordsOnDevice(uint64_t key, const DropoutRows& rows, at::Device device) {
  const at::TensorOptions integers = at::TensorOptions(at::kLong).device(device);
  const int64_t blocks = (rows.width + 3) / 4;
  const at::Tensor row =
      at::arange(rows.first_row, rows.first_row + rows.rows, integers).unsqueeze(1);
  const at::Tensor block = at::arange(blocks, integers).unsqueeze(0);
  at::Tensor c0 = block.bitwise_and(kLow32), c1 = block.__rshift__(32);
  at::Tensor c2 = row.bitwise_and(kLow32), c3 = row.__rshift__(32);
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const Words p0 = Multiply(c0, 0xD2511F53), p1 = Multiply(c2, 0xCD9E8D57);
    c0 = p1.high.bitwise_xor(c1).bitwise_xor_(static_cast<int64_t>(k0));
    c2 = p0.high.bitwise_xor(c3).bitwise_xor_(static_cast<int64_t>(k1));
    c1 = p1.low;
    c3 = p0.low;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  const std::vector<int64_t> shape = {rows.rows, blocks};
  const at::Tensor words =
      at::stack({c0.expand(shape), c1.expand(shape), c2.expand(shape), c3.expand(shape)}, 2)
          .view({rows.rows, 4 * blocks})
          .narrow(1, 0, rows.width);
  return words.__rshift__(8);
}

}  // namespace

// u = (word >> 8) * 2^-24 >= ratio
at::Tensor DropoutMaskOnDevice(uint64_t key, double ratio, const DropoutRows& rows,
                               at::Device device) {
  const at::NoGradGuard no_grad;
  return WordsOnDevice(key, rows, device)
      .ge(DropoutThreshold(ratio))
      .to(at::kFloat)
      .mul_(KeptScale(ratio));
}

at::Tensor UniformsOnDevice(uint64_t key, const DropoutRows& rows, at::Device device) {
  const at::NoGradGuard no_grad;
  return WordsOnDevice(key, rows, device).to(at::kFloat).mul_(0x1p-24);
}

}  // namespace pepnet

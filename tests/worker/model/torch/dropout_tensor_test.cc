#include "worker/model/torch/dropout_tensor.h"

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <vector>

#include "worker/model/dropout_mask.h"

namespace pepnet {
namespace {

std::vector<float> Values(const at::Tensor& mask) {
  const at::Tensor values = mask.contiguous();
  return {values.const_data_ptr<float>(), values.const_data_ptr<float>() + values.numel()};
}

// Tensor operations on the CPU stand for those on a GPU: integer arithmetic is the same everywhere.
TEST(DropoutTensorTest, TheMaskMadeOnADeviceIsTheHostsBitForBit) {
  const int64_t far = (int64_t{1} << 32) - 2;  // rows on both sides of 2^32
  for (const DropoutRows& rows :
       {DropoutRows{0, 9, 5}, {far, 5, 64}, {123, 40, 1}, {7, 1, 515}, {0, 0, 3}}) {
    for (const double ratio : {0.1, 0.3, 0.5, 1.0}) {
      for (const uint64_t key : {DropoutKey(11, 2, 7), ~uint64_t{0}, uint64_t{0}}) {
        const at::Tensor mask = DropoutMaskOnDevice(key, ratio, rows, at::kCPU);
        ASSERT_EQ(mask.sizes(), (std::vector<int64_t>{rows.rows, rows.width}));
        std::vector<float> expected(rows.rows * rows.width, -1);
        FillDropoutMask(key, ratio, rows.first_row, rows.rows, rows.width, expected.data());
        EXPECT_EQ(Values(mask), expected) << rows.first_row << " " << rows.width << " " << ratio;
        EXPECT_EQ(Values(DropoutMaskOnHost(key, ratio, rows)), expected);
      }
    }
  }
}

}  // namespace
}  // namespace pepnet

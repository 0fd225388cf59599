// Matrix products on arrays with strides, against sums in double.
#include "worker/model/fused/kernels/fused_gemm.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

namespace pepnet {
namespace {

using Product = void (*)(int64_t m, int64_t n, int64_t k, ConstMatrix x, ConstMatrix w, float beta,
                         Matrix y);

// Rows of `columns` numbers in [-1, 1], `stride` apart, with NaN between them: nothing may be read
// or written there.
std::vector<float> Numbers(int64_t rows, int64_t columns, int64_t stride, int seed) {
  std::vector<float> numbers(rows * stride, std::numeric_limits<float>::quiet_NaN());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      numbers[r * stride + c] = std::sin(static_cast<float>(seed + 131 * r + 17 * c));
    }
  }
  return numbers;
}

struct Case {
  const char* name;
  Product product;
  bool transpose_x;  // x is [k, m]
  bool transpose_w;  // w is [n, k]
};

class FusedGemmTest : public testing::TestWithParam<Case> {};

TEST_P(FusedGemmTest, EqualsSumsInDouble) {
  const Case& c = GetParam();
  constexpr int64_t kGap = 3;
  for (const int64_t m : {0, 1, 7, 130}) {
    for (const int64_t n : {1, 5, 64, 257}) {
      for (const int64_t k : {0, 1, 33, 300}) {
        for (const float beta : {0.0f, 1.0f}) {
          const int64_t x_columns = c.transpose_x ? m : k, w_columns = c.transpose_w ? k : n;
          const int64_t x_stride = x_columns + kGap, w_stride = w_columns + kGap,
                        y_stride = n + kGap;
          const std::vector<float> x = Numbers(c.transpose_x ? k : m, x_columns, x_stride, 1);
          const std::vector<float> w = Numbers(c.transpose_w ? n : k, w_columns, w_stride, 2);
          // With beta = 0 what y held before does not count, NaN included.
          const std::vector<float> before = Numbers(m, beta == 0 ? 0 : n, y_stride, 3);
          std::vector<float> y = before;
          c.product(m, n, k, {x.data(), x_stride}, {w.data(), w_stride}, beta,
                    {y.data(), y_stride});
          for (int64_t i = 0; i < m; ++i) {
            for (int64_t j = 0; j < n; ++j) {
              double sum = beta == 0 ? 0 : before[i * y_stride + j];
              for (int64_t l = 0; l < k; ++l) {
                sum += static_cast<double>(x[c.transpose_x ? l * x_stride + i : i * x_stride + l]) *
                       w[c.transpose_w ? j * w_stride + l : l * w_stride + j];
              }
              ASSERT_NEAR(y[i * y_stride + j], sum, 1e-6 * (1 + static_cast<double>(k)))
                  << "y[" << i << "][" << j << "] of " << m << " x " << n << " x " << k << ", beta "
                  << beta;
            }
            for (int64_t j = n; j < y_stride; ++j) {
              ASSERT_TRUE(std::isnan(y[i * y_stride + j])) << "written behind row " << i;
            }
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Products, FusedGemmTest,
                         testing::Values(Case{"NT", GemmNT, false, true},
                                         Case{"NN", GemmNN, false, false},
                                         Case{"TN", GemmTN, true, false}),
                         [](const auto& info) { return std::string(info.param.name); });

#ifdef PEPNET_TORCH_HAS_MKL
TEST(FusedGemmAvx512Test, MklTakesAvx512ProductsWhereTheProcessorHasThem) {
  if (getenv("MKL_ENABLE_INSTRUCTIONS") != nullptr || getenv("MKL_CBWR") != nullptr) {
    GTEST_SKIP() << "the environment chooses MKL's products";
  }
  // MKL's own function; a libtorch without it may not ask mkl_serv_intel_cpu_true() any more.
  auto* const detect = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "mkl_serv_cpu_detect"));
  ASSERT_NE(detect, nullptr) << "this libtorch's MKL chooses its products in another way";
  constexpr int kAvx512 = 7;
  const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  EXPECT_EQ(detect() == kAvx512, has) << "MKL takes products of kind " << detect();
}
#endif

}  // namespace
}  // namespace pepnet

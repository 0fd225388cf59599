#include "worker/model/fused/kernels/fused_gemm.h"

#ifdef PEPNET_TORCH_HAS_MKL
#include <limits>

#include "common/base/log_functions.h"

// BLAS as libtorch carries it (MKL in the x86-64 wheels), called without tensors in between.
extern "C" void sgemm_(const char* a_type, const char* b_type, const int* m, const int* n,
                       const int* k, const float* alpha, const float* a, const int* a_stride,
                       const float* b, const int* b_stride, const float* beta, float* c,
                       const int* c_stride);
// MKL's: threads of the calling thread's products, 0 for the process's number. Returns the number
// before.
extern "C" int MKL_Set_Num_Threads_Local(int threads);

// MKL asks this function of its own whether the vendor is Intel before it asks for instructions, so
// AVX-512 products, twice as fast, were not for other processors that have them. A definition in
// the program comes before that of libtorch for both engines. MKL_ENABLE_INSTRUCTIONS=AVX2 still
// holds it back. docs/decisions/0029-products-with-avx512.md
extern "C" __attribute__((visibility("default"))) int mkl_serv_intel_cpu_true() {
  __builtin_cpu_init();  // a library's constructor could ask before those of the program have run
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return avx512 || __builtin_cpu_is("intel") ? 1 : 0;
}
#else
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>
#endif

namespace pepnet {
namespace {

#ifdef PEPNET_TORCH_HAS_MKL
// A row stride that BLAS accepts; an array of at most one row may have a stride of zero.
int Stride(int64_t stride, int64_t columns) {
  const int64_t used = stride > columns ? stride : columns;
  CheckOrDie(used <= std::numeric_limits<int>::max(), "matrix too wide for BLAS");
  return static_cast<int>(used > 0 ? used : 1);
}

// BLAS thinks in columns: a row-major y [m, n] is its transpose, and y^T = op(w)^T op(x)^T.
void Gemm(bool transpose_x, bool transpose_w, int64_t m, int64_t n, int64_t k, ConstMatrix x,
          ConstMatrix w, float beta, Matrix y) {
  // With beta = 0 BLAS writes y without reading it, so y may be uninitialised memory, NaN included.
  if (m == 0 || n == 0) return;
  CheckOrDie(m <= std::numeric_limits<int>::max() && n <= std::numeric_limits<int>::max() &&
                 k <= std::numeric_limits<int>::max(),
             "matrix too large for BLAS");
  const int rows = static_cast<int>(m), columns = static_cast<int>(n), inner = static_cast<int>(k);
  const int x_stride = Stride(x.stride, transpose_x ? m : k),
            w_stride = Stride(w.stride, transpose_w ? k : n);
  const int y_stride = Stride(y.stride, n);
  const float one = 1;
  sgemm_(transpose_w ? "T" : "N", transpose_x ? "T" : "N", &columns, &rows, &inner, &one, w.data,
         &w_stride, x.data, &x_stride, &beta, y.data, &y_stride);
}
#else
at::Tensor View(const float* data, int64_t rows, int64_t columns, int64_t stride) {
  return at::from_blob(const_cast<float*>(data), {rows, columns}, {stride, 1});
}

void Gemm(bool transpose_x, bool transpose_w, int64_t m, int64_t n, int64_t k, ConstMatrix x,
          ConstMatrix w, float beta, Matrix y) {
  if (m == 0 || n == 0) return;
  const at::NoGradGuard no_grad;
  const at::Tensor a =
      transpose_x ? View(x.data, k, m, x.stride).t() : View(x.data, m, k, x.stride);
  const at::Tensor b =
      transpose_w ? View(w.data, n, k, w.stride).t() : View(w.data, k, n, w.stride);
  at::Tensor c = View(y.data, m, n, y.stride);
  if (beta == 0) {
    at::mm_out(c, a, b);
  } else {
    at::addmm_out(c, c, a, b, beta, 1);
  }
}
#endif

}  // namespace

#ifdef PEPNET_TORCH_HAS_MKL
OwnThreadScope::OwnThreadScope() : before_(MKL_Set_Num_Threads_Local(1)) {}
OwnThreadScope::~OwnThreadScope() { MKL_Set_Num_Threads_Local(before_); }
#else
OwnThreadScope::OwnThreadScope() = default;
OwnThreadScope::~OwnThreadScope() = default;
#endif

void GemmNT(int64_t m, int64_t n, int64_t k, ConstMatrix x, ConstMatrix w, float beta, Matrix y) {
  Gemm(false, true, m, n, k, x, w, beta, y);
}

void GemmNN(int64_t m, int64_t n, int64_t k, ConstMatrix x, ConstMatrix w, float beta, Matrix y) {
  Gemm(false, false, m, n, k, x, w, beta, y);
}

void GemmTN(int64_t m, int64_t n, int64_t k, ConstMatrix x, ConstMatrix w, float beta, Matrix y) {
  Gemm(true, false, m, n, k, x, w, beta, y);
}

}  // namespace pepnet

// Matrix products on row-major arrays with row strides, on libtorch's BLAS and without its tensors.
// Internal to worker/model/fused.
//
// Threads: a product runs on the calling thread alone while an OwnThreadScope of that thread lives,
// else on libtorch's.
#pragma once

#include <cstdint>

namespace pepnet {

// An array of rows, `stride` floats apart.
struct Matrix {
  float* data = nullptr;
  int64_t stride = 0;
  Matrix Row(int64_t row) const { return {data + row * stride, stride}; }
  Matrix Column(int64_t column) const { return {data + column, stride}; }
};

struct ConstMatrix {
  ConstMatrix(const float* data, int64_t stride) : data(data), stride(stride) {}
  ConstMatrix(const Matrix& m) : data(m.data), stride(m.stride) {}  // NOLINT: a view of the same
  const float* data;
  int64_t stride;
};

// For a thread that shares its rows' work with nobody: libtorch tells MKL to use all threads even
// inside a parallel region.
class OwnThreadScope {
 public:
  OwnThreadScope();
  ~OwnThreadScope();
  OwnThreadScope(const OwnThreadScope&) = delete;
  OwnThreadScope& operator=(const OwnThreadScope&) = delete;

 private:
  int before_ = 0;
};

// y [m, n] = x [m, k] w^T + beta y, w [n, k]: a layer's forward.
void GemmNT(int64_t m, int64_t n, int64_t k, ConstMatrix x, ConstMatrix w, float beta, Matrix y);
// y [m, n] = x [m, k] w + beta y, w [k, n]: a layer's input gradient.
void GemmNN(int64_t m, int64_t n, int64_t k, ConstMatrix x, ConstMatrix w, float beta, Matrix y);
// y [m, n] = x^T w + beta y, x [k, m], w [k, n]: a layer's weight gradient.
void GemmTN(int64_t m, int64_t n, int64_t k, ConstMatrix x, ConstMatrix w, float beta, Matrix y);

}  // namespace pepnet

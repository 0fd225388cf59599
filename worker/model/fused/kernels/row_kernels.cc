#include "worker/model/fused/kernels/row_kernels.h"

#include <cstdint>
#include <cstring>

#include "common/base/processor.h"
#include "worker/model/fused/kernels/simd_exp.h"

namespace pepnet {
namespace {

// Eight sums side by side, the same eight on every instruction set.
constexpr int64_t kLanes = 8;
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));

// By reference: a vector by value is passed otherwise with AVX than without.
PEPNET_SIMD_INLINE void Load(const float* from, Lanes& x) { std::memcpy(&x, from, sizeof(x)); }

PEPNET_SIMD_INLINE float SumOf(const Lanes& x) {
  // The tree is fixed. Left to itself a compiler could sum in another order for each vector width,
  // and the same checkpoint would go on with other bits on another machine.
  return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
}

PEPNET_SIMD_INLINE float Dot(int64_t width, const float* x, const float* y) {
  Lanes lanes = {};
  int64_t c = 0;
  for (; c + kLanes <= width; c += kLanes) {
    Lanes a, b;
    Load(x + c, a);
    Load(y + c, b);
    lanes += a * b;
  }
  // The rest is summed apart, so that the eight sums see whole vectors alone.
  float rest = 0;
  for (; c < width; ++c) rest += x[c] * y[c];
  return SumOf(lanes) + rest;
}

// sum of x m y
PEPNET_SIMD_INLINE float MaskedDot(int64_t width, const float* x, const float* mask,
                                   const float* y) {
  Lanes lanes = {};
  int64_t c = 0;
  for (; c + kLanes <= width; c += kLanes) {
    Lanes a, b, kept;
    Load(x + c, a);
    Load(y + c, b);
    Load(mask + c, kept);
    lanes += a * (kept * b);
  }
  float rest = 0;
  for (; c < width; ++c) rest += x[c] * (mask[c] * y[c]);
  return SumOf(lanes) + rest;
}

PEPNET_SIMD_INLINE float SumOfAll(int64_t count, const float* x) {
  Lanes lanes = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    Lanes next;
    Load(x + i, next);
    lanes += next;
  }
  float rest = 0;
  for (; i < count; ++i) rest += x[i];
  return SumOf(lanes) + rest;
}

// y += weight * x
PEPNET_SIMD_INLINE void AddTimes(int64_t width, float weight, const float* __restrict x,
                                 float* __restrict y) {
  for (int64_t c = 0; c < width; ++c) y[c] += weight * x[c];
}

PEPNET_SIMD_INLINE void AddWeighted(int64_t positions, int64_t width, const float* weights,
                                    const float* x, float* y) {
  for (int64_t i = 0; i < positions; ++i) AddTimes(width, weights[i], x + i * width, y);
}

PEPNET_SIMD_INLINE void Clear(int64_t width, float* y) {
  for (int64_t c = 0; c < width; ++c) y[c] = 0;
}

PEPNET_SIMD_INLINE void ScaleBy(int64_t count, float scale, float* __restrict x) {
  for (int64_t i = 0; i < count; ++i) x[i] *= scale;
}

// NaN among z may be skipped here; its own exp() shows it.
PEPNET_SIMD_INLINE float MostOf(int64_t count, const float* z) {
  float most = z[0];
  int64_t i = 0;
  if (count >= kLanes) {
    Lanes lanes, next;
    Load(z, lanes);
    for (i = kLanes; i + kLanes <= count; i += kLanes) {
      Load(z + i, next);
      lanes = next > lanes ? next : lanes;
    }
    for (int64_t lane = 0; lane < kLanes; ++lane) most = lanes[lane] > most ? lanes[lane] : most;
  }
  for (; i < count; ++i) most = z[i] > most ? z[i] : most;
  return most;
}

PEPNET_SIMD_INLINE void SoftmaxOf(int64_t count, float* z) {
  // The largest element is taken off: exp(z - max) is at most 1 and cannot overflow, and at least
  // one term is 1, so the sum is not zero.
  const float most = MostOf(count, z);
  float* __restrict e = z;
  for (int64_t i = 0; i < count; ++i) e[i] = Exp(e[i] - most);
  ScaleBy(count, 1.0f / SumOfAll(count, z), z);
}

}  // namespace

PEPNET_SIMD_CLONES void Dots(int64_t positions, int64_t width, const float* x, const float* w,
                             float* y) {
  for (int64_t i = 0; i < positions; ++i) y[i] = Dot(width, x + i * width, w);
}

PEPNET_SIMD_CLONES void WeightedSum(int64_t positions, int64_t width, const float* weights,
                                    const float* x, float* y) {
  Clear(width, y);
  AddWeighted(positions, width, weights, x, y);
}

PEPNET_SIMD_CLONES void AddWeightedSum(int64_t positions, int64_t width, const float* weights,
                                       const float* x, float* y) {
  AddWeighted(positions, width, weights, x, y);
}

PEPNET_SIMD_CLONES void ScaledSum(int64_t positions, int64_t width, float scale, const float* x,
                                  float* y) {
  Clear(width, y);
  for (int64_t i = 0; i < positions; ++i) AddTimes(width, 1.0f, x + i * width, y);
  ScaleBy(width, scale, y);
}

PEPNET_SIMD_CLONES void FillRows(int64_t positions, int64_t width, const float* x, float* y) {
  for (int64_t i = 0; i < positions; ++i) {
    const float* __restrict from = x;
    float* __restrict to = y + i * width;
    for (int64_t c = 0; c < width; ++c) to[c] = from[c];
  }
}

PEPNET_SIMD_CLONES void AddOuter(int64_t positions, int64_t width, const float* weights,
                                 const float* x, float* y) {
  for (int64_t i = 0; i < positions; ++i) AddTimes(width, weights[i], x, y + i * width);
}

PEPNET_SIMD_CLONES void Outer(int64_t positions, int64_t width, const float* weights,
                              const float* x, float* y) {
  for (int64_t i = 0; i < positions; ++i) {
    const float weight = weights[i];
    const float* __restrict from = x;
    float* __restrict to = y + i * width;
    for (int64_t c = 0; c < width; ++c) to[c] = weight * from[c];
  }
}

PEPNET_SIMD_CLONES void AddScaledToEach(int64_t positions, int64_t width, float scale,
                                        const float* x, float* y) {
  for (int64_t i = 0; i < positions; ++i) AddTimes(width, scale, x, y + i * width);
}

PEPNET_SIMD_CLONES void Relu(int64_t count, float* x) {
  float* __restrict y = x;
  for (int64_t i = 0; i < count; ++i) y[i] = y[i] < 0 ? 0.0f : y[i];
}

PEPNET_SIMD_CLONES void ReluBackward(int64_t positions, int64_t width, const float* x, float* d,
                                     float* sums) {
  for (int64_t i = 0; i < positions; ++i) {
    const float* __restrict y = x + i * width;
    float* __restrict gradient = d + i * width;
    for (int64_t c = 0; c < width; ++c) gradient[c] = y[c] > 0 ? gradient[c] : 0.0f;
    if (sums == nullptr) continue;
    float* __restrict sum = sums;
    for (int64_t c = 0; c < width; ++c) sum[c] += gradient[c];
  }
}

PEPNET_SIMD_CLONES void Softmax(int64_t positions, float* z) { SoftmaxOf(positions, z); }

PEPNET_SIMD_CLONES void SoftmaxRows(int64_t rows, int64_t positions, float* z) {
  for (int64_t row = 0; row < rows; ++row) SoftmaxOf(positions, z + row * positions);
}

PEPNET_SIMD_CLONES void SoftmaxBackward(int64_t positions, const float* w, float* d) {
  // Softmax's derivative w (d - w . d) subtracts this product from all.
  const float mean = Dot(positions, w, d);
  const float* __restrict weight = w;
  float* __restrict gradient = d;
  for (int64_t i = 0; i < positions; ++i) gradient[i] = weight[i] * (gradient[i] - mean);
}

PEPNET_SIMD_CLONES void MaskedColumnMeans(int64_t n, float share, const float* w, const float* mask,
                                          float* mean) {
  Clear(n, mean);
  for (int64_t i = 0; i < n; ++i) {
    const float* __restrict weight = w + i * n;
    float* __restrict sum = mean;
    if (mask == nullptr) {
      for (int64_t j = 0; j < n; ++j) sum[j] += weight[j];
    } else {
      const float* __restrict kept = mask + i * n;
      for (int64_t j = 0; j < n; ++j) sum[j] += kept[j] * weight[j];
    }
  }
  ScaleBy(n, share, mean);
}

PEPNET_SIMD_CLONES void MaskedSoftmaxBackward(int64_t n, const float* d, const float* mask,
                                              float* w) {
  const float* __restrict gradient = d;
  for (int64_t i = 0; i < n; ++i) {
    float* __restrict weight = w + i * n;
    if (mask == nullptr) {
      // Every row i has the same d: only the sum over i is asked for, so dL/da_ij does not depend
      // on i.
      const float mean = Dot(n, weight, gradient);
      for (int64_t j = 0; j < n; ++j) weight[j] = weight[j] * (gradient[j] - mean);
    } else {
      const float* __restrict kept = mask + i * n;
      const float mean = MaskedDot(n, weight, kept, gradient);
      for (int64_t j = 0; j < n; ++j) weight[j] = weight[j] * (kept[j] * gradient[j] - mean);
    }
  }
}

PEPNET_SIMD_CLONES void Scale(int64_t count, float scale, float* x) { ScaleBy(count, scale, x); }

PEPNET_SIMD_CLONES void MultiplyBy(int64_t count, const float* x, float* y) {
  const float* __restrict from = x;
  float* __restrict to = y;
  for (int64_t i = 0; i < count; ++i) to[i] *= from[i];
}

PEPNET_SIMD_CLONES void AddScaled(int64_t count, float scale, const float* x, float* y) {
  AddTimes(count, scale, x, y);
}

PEPNET_SIMD_CLONES float Sum(int64_t count, const float* x) { return SumOfAll(count, x); }

PEPNET_SIMD_CLONES void JoinedWeight(int64_t channels, int64_t width, const float* a,
                                     const float* b, const float* q, float* w) {
  for (int64_t c = 0; c < channels; ++c) {
    const float factor = q[c];
    const float* __restrict first = a + c * width;
    const float* __restrict second = b + c * width;
    float* __restrict joined = w + c * width;
    for (int64_t j = 0; j < width; ++j) joined[j] = first[j] + factor * second[j];
  }
}

PEPNET_SIMD_CLONES void JoinedWeightBackward(int64_t channels, int64_t width, const float* d,
                                             const float* b, const float* q, float* da, float* db,
                                             float* dq) {
  for (int64_t c = 0; c < channels; ++c) {
    const float factor = q[c];
    const float* __restrict gradient = d + c * width;
    float* __restrict first = da + c * width;
    float* __restrict second = db + c * width;
    for (int64_t j = 0; j < width; ++j) {
      first[j] += gradient[j];
      second[j] += factor * gradient[j];
    }
    if (dq != nullptr) dq[c] += Dot(width, gradient, b + c * width);
  }
}

PEPNET_SIMD_CLONES void PackWithProduct(int64_t positions, int64_t channels, const float* s,
                                        const float* q, float* y) {
  for (int64_t i = 0; i < positions; ++i) {
    const float* __restrict position = s + i * channels;
    const float* __restrict query = q;
    float* __restrict to = y + i * 2 * channels;
    for (int64_t c = 0; c < channels; ++c) {
      to[c] = position[c];
      to[channels + c] = query[c] * position[c];
    }
  }
}

PEPNET_SIMD_CLONES void PackWithProductBackward(int64_t positions, int64_t channels, const float* s,
                                                const float* q, const float* d, float* ds,
                                                float* dq) {
  for (int64_t i = 0; i < positions; ++i) {
    const float* __restrict query = q;
    const float* __restrict gradient = d + i * 2 * channels;
    const float* __restrict product = gradient + channels;
    float* __restrict to = ds + i * channels;
    for (int64_t c = 0; c < channels; ++c) to[c] += gradient[c] + query[c] * product[c];
    if (dq == nullptr) continue;
    const float* __restrict position = s + i * channels;
    float* __restrict query_gradient = dq;
    for (int64_t c = 0; c < channels; ++c) query_gradient[c] += position[c] * product[c];
  }
}

PEPNET_SIMD_CLONES void PreluWeightedMean(int64_t positions, int64_t width, float slope,
                                          const float* z, const float* x, float* y) {
  const float share = 1.0f / static_cast<float>(positions);
  Clear(width, y);
  for (int64_t i = 0; i < positions; ++i) {
    AddTimes(width, z[i] > 0 ? z[i] : z[i] * slope, x + i * width, y);
  }
  ScaleBy(width, share, y);
}

PEPNET_SIMD_CLONES float PreluWeightedMeanBackward(int64_t positions, int64_t width, float slope,
                                                   const float* z, const float* x, const float* d,
                                                   float* dz, float* dx) {
  const float share = 1.0f / static_cast<float>(positions);
  // All positions share the slope, whose gradient is summed in double.
  double slope_gradient = 0;
  for (int64_t i = 0; i < positions; ++i) {
    const bool above = z[i] > 0;
    const float weight = above ? z[i] : z[i] * slope;
    const float weight_gradient = Dot(width, x + i * width, d) * share;
    AddTimes(width, weight * share, d, dx + i * width);
    dz[i] = above ? weight_gradient : weight_gradient * slope;
    if (!above) slope_gradient += static_cast<double>(weight_gradient) * z[i];
  }
  return static_cast<float>(slope_gradient);
}

}  // namespace pepnet

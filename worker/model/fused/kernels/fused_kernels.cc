#include "worker/model/fused/kernels/fused_kernels.h"

#include <cmath>

#include "common/base/log_functions.h"
#include "common/base/processor.h"
#include "worker/model/dropout_mask.h"
#include "worker/model/fused/kernels/simd_exp.h"

namespace pepnet {
namespace {

PEPNET_SIMD_INLINE float Sigmoid(float x) { return 1.0f / (1.0f + Exp(-x)); }

// Value and derivative at a pre-activation; w and v are the activation's parameters. A NaN goes
// through. PReLU's weight has its own derivative: x where x <= 0.
struct IdentityFunction {
  float w;
  PEPNET_SIMD_INLINE float Value(float x) const { return x; }
  PEPNET_SIMD_INLINE float Derivative(float) const { return 1.0f; }
};
struct ReluFunction {
  float w;
  PEPNET_SIMD_INLINE float Value(float x) const { return x < 0 ? 0.0f : x; }
  PEPNET_SIMD_INLINE float Derivative(float x) const { return x > 0 ? 1.0f : 0.0f; }
};
struct LeakyFunction {  // LeakyReLU and PReLU
  float w;
  PEPNET_SIMD_INLINE float Value(float x) const { return x > 0 ? x : x * w; }
  PEPNET_SIMD_INLINE float Derivative(float x) const { return x > 0 ? 1.0f : w; }
};
struct SigmoidFunction {
  float w;
  PEPNET_SIMD_INLINE float Value(float x) const { return Sigmoid(x); }
  PEPNET_SIMD_INLINE float Derivative(float x) const {
    const float s = Sigmoid(x);
    return s * (1.0f - s);
  }
};
struct SiluFunction {
  float w;
  PEPNET_SIMD_INLINE float Value(float x) const { return x * Sigmoid(x); }
  PEPNET_SIMD_INLINE float Derivative(float x) const {
    const float s = Sigmoid(x);
    return s * (1.0f + x * (1.0f - s));
  }
};
struct ClampFunction {  // ReLU6 and Hardtanh
  float w, v;
  PEPNET_SIMD_INLINE float Value(float x) const { return x < w ? w : x > v ? v : x; }
  PEPNET_SIMD_INLINE float Derivative(float x) const { return x > w && x < v ? 1.0f : 0.0f; }
};
struct HardsigmoidFunction {
  PEPNET_SIMD_INLINE float Value(float x) const {
    return (x < -3 ? 0.0f : x > 3 ? 6.0f : x + 3) / 6.0f;
  }
  PEPNET_SIMD_INLINE float Derivative(float x) const {
    return x > -3 && x < 3 ? 1.0f / 6.0f : 0.0f;
  }
};
struct HardswishFunction {
  PEPNET_SIMD_INLINE float Value(float x) const { return x * HardsigmoidFunction().Value(x); }
  PEPNET_SIMD_INLINE float Derivative(float x) const {
    return x <= -3 ? 0.0f : x < 3 ? x / 3.0f + 0.5f : 1.0f;
  }
};
struct SoftsignFunction {
  PEPNET_SIMD_INLINE float Value(float x) const { return x / (1.0f + std::fabs(x)); }
  PEPNET_SIMD_INLINE float Derivative(float x) const {
    const float y = 1.0f / (1.0f + std::fabs(x));
    return y * y;
  }
};
struct SoftshrinkFunction {
  float w;
  PEPNET_SIMD_INLINE float Value(float x) const {
    return std::fabs(x) <= w ? 0.0f : x > 0 ? x - w : x + w;
  }
  PEPNET_SIMD_INLINE float Derivative(float x) const { return std::fabs(x) <= w ? 0.0f : 1.0f; }
};
struct HardshrinkFunction {
  float w;
  PEPNET_SIMD_INLINE float Value(float x) const { return std::fabs(x) <= w ? 0.0f : x; }
  PEPNET_SIMD_INLINE float Derivative(float x) const { return std::fabs(x) <= w ? 0.0f : 1.0f; }
};
struct ThresholdFunction {
  float w, v;
  PEPNET_SIMD_INLINE float Value(float x) const { return x <= w ? v : x; }
  PEPNET_SIMD_INLINE float Derivative(float x) const { return x <= w ? 0.0f : 1.0f; }
};
// The rest goes through the scalar library.
struct TanhFunction {
  float w;
  float Value(float x) const { return std::tanh(x); }
  float Derivative(float x) const {
    const float y = std::tanh(x);
    return 1.0f - y * y;
  }
};
struct GeluFunction {  // x Phi(x), Phi the normal distribution
  float w;
  static float Phi(float x) { return 0.5f * (1.0f + std::erf(x * 0.70710678f)); }
  float Value(float x) const { return x * Phi(x); }
  float Derivative(float x) const { return Phi(x) + x * 0.39894228f * std::exp(-0.5f * x * x); }
};
struct GeluTanhFunction {
  static constexpr float kCubic = 0.044715f;
  static float Inner(float x) { return std::tanh(0.79788456f * (x + kCubic * x * x * x)); }
  float Value(float x) const { return 0.5f * x * (1.0f + Inner(x)); }
  float Derivative(float x) const {
    const float t = Inner(x);
    return 0.5f * (1.0f + t) +
           0.5f * x * (1.0f - t * t) * 0.79788456f * (1.0f + 3.0f * kCubic * x * x);
  }
};
struct EluFunction {
  float w;
  float Value(float x) const { return x > 0 ? x : w * std::expm1(x); }
  float Derivative(float x) const { return x > 0 ? 1.0f : w * std::exp(x); }
};
struct CeluFunction {
  float w;
  float Value(float x) const { return x > 0 ? x : w * std::expm1(x / w); }
  float Derivative(float x) const { return x > 0 ? 1.0f : std::exp(x / w); }
};
struct SeluFunction {  // Klambauer et al., "Self-Normalizing Neural Networks", NIPS 2017
  static constexpr float kScale = 1.05070099f, kAlpha = 1.67326324f;
  float Value(float x) const { return kScale * (x > 0 ? x : kAlpha * std::expm1(x)); }
  float Derivative(float x) const { return kScale * (x > 0 ? 1.0f : kAlpha * std::exp(x)); }
};
float LogOnePlusExp(float x) { return (x > 0 ? x : 0.0f) + std::log1p(std::exp(-std::fabs(x))); }
struct SoftplusFunction {
  float w, v;
  float Value(float x) const { return x * w > v ? x : LogOnePlusExp(x * w) / w; }
  float Derivative(float x) const { return x * w > v ? 1.0f : Sigmoid(x * w); }
};
struct LogSigmoidFunction {
  float Value(float x) const { return -LogOnePlusExp(-x); }
  float Derivative(float x) const { return Sigmoid(-x); }
};
struct MishFunction {
  float Value(float x) const { return x * std::tanh(LogOnePlusExp(x)); }
  float Derivative(float x) const {
    const float t = std::tanh(LogOnePlusExp(x));
    return t + x * (1.0f - t * t) * Sigmoid(x);
  }
};
struct TanhshrinkFunction {
  float Value(float x) const { return x - std::tanh(x); }
  float Derivative(float x) const {
    const float y = std::tanh(x);
    return y * y;
  }
};

template <typename Body>
PEPNET_SIMD_INLINE void WithFunction(const KernelActivation& activation, const Body& body) {
  // The switch stands outside the loops over rows: each function gets loops of its own, with its
  // formula inlined and vectorised, instead of a branch an element. The bodies must be inlined, or
  // they would be compiled without the instruction set of the clone that calls them.
  const float w = activation.parameter, v = activation.parameter2;
  switch (activation.kind) {
    case ActivationKind::kIdentity:
      return body(IdentityFunction{w});
    case ActivationKind::kRelu:
      return body(ReluFunction{w});
    case ActivationKind::kSigmoid:
      return body(SigmoidFunction{w});
    case ActivationKind::kTanh:
      return body(TanhFunction{w});
    case ActivationKind::kLeakyRelu:
    case ActivationKind::kPrelu:
      return body(LeakyFunction{w});
    case ActivationKind::kSilu:
      return body(SiluFunction{w});
    case ActivationKind::kGelu:
      return body(GeluFunction{w});
    case ActivationKind::kElu:
      return body(EluFunction{w});
    case ActivationKind::kGeluTanh:
      return body(GeluTanhFunction{});
    case ActivationKind::kMish:
      return body(MishFunction{});
    case ActivationKind::kSoftplus:
      return body(SoftplusFunction{w, v});
    case ActivationKind::kHardswish:
      return body(HardswishFunction{});
    case ActivationKind::kHardsigmoid:
      return body(HardsigmoidFunction{});
    case ActivationKind::kSelu:
      return body(SeluFunction{});
    case ActivationKind::kCelu:
      return body(CeluFunction{w});
    case ActivationKind::kRelu6:
      return body(ClampFunction{0, 6});
    case ActivationKind::kHardtanh:
      return body(ClampFunction{w, v});
    case ActivationKind::kSoftsign:
      return body(SoftsignFunction{});
    case ActivationKind::kSoftshrink:
      return body(SoftshrinkFunction{w});
    case ActivationKind::kHardshrink:
      return body(HardshrinkFunction{w});
    case ActivationKind::kTanhshrink:
      return body(TanhshrinkFunction{});
    case ActivationKind::kLogSigmoid:
      return body(LogSigmoidFunction{});
    case ActivationKind::kThreshold:
      return body(ThresholdFunction{w, v});
    // Of these one number is not enough: the fused engine leaves them to the reference engine.
    case ActivationKind::kDice:
    case ActivationKind::kRrelu:
    case ActivationKind::kSoftmax:
    case ActivationKind::kSoftmin:
    case ActivationKind::kLogSoftmax:
      return CheckOrDie(false, "the fused engine has no such activation");
  }
}

void FillMaskRow(const KernelDropout& dropout, int64_t row, int64_t width) {
  FillDropoutMask(dropout.key, dropout.ratio, dropout.rows[row], 1, width, dropout.mask_row);
}

// One layer of PPNet on one row (spec 1.4):
//   out = dropout(f(a + a_bias) * gamma * sigmoid(s + s_bias))
// `a` keeps the layer's value before f and `s` the gate, 0 where dropout has struck: what the
// backward pass needs, and nothing else: a gate that is 0 of itself has derivatives 0 as well, so
// no mask has to be kept beside it.
template <typename Function>
PEPNET_SIMD_INLINE void GateProductRow(const Function f, int64_t width, float scale,
                                       const float* __restrict a_bias,
                                       const float* __restrict s_bias, const float* __restrict mask,
                                       float* __restrict a, float* __restrict s,
                                       float* __restrict out) {
  for (int64_t c = 0; c < width; ++c) {
    // The bias of both linear layers is added here: the products before it write to uninitialised
    // memory and need no pass to fill it.
    const float pre = a[c] + a_bias[c];
    const float gate = Sigmoid(s[c] + s_bias[c]);
    const float kept = mask == nullptr || mask[c] != 0 ? gate : 0.0f;
    a[c] = pre;
    s[c] = kept;
    out[c] = f.Value(pre) * (kept * scale);
  }
}

// Its derivatives, with d that of the loss by `out`, in place:
//   a = d gamma gate f'(a)            by the value before f
//   s = d gamma f(a) gate (1 - gate)  by the value before the sigmoid
// A dropped element has gate 0, so both are 0 without a branch.
template <typename Function>
PEPNET_SIMD_INLINE void GateProductBackwardRow(const Function f, int64_t width, float scale,
                                               const float* __restrict d, float* __restrict a,
                                               float* __restrict s, float* __restrict a_sum,
                                               float* __restrict s_sum) {
  for (int64_t c = 0; c < width; ++c) {
    const float gate = s[c], pre = a[c];
    // The scale is that of forward: gamma, and 1 / (1 - ratio) under dropout.
    const float through = d[c] * scale * gate;
    const float da = through * f.Derivative(pre);
    const float ds = through * f.Value(pre) * (1.0f - gate);
    a[c] = da;
    s[c] = ds;
    a_sum[c] += da;
    s_sum[c] += ds;
  }
}

template <typename Function>
PEPNET_SIMD_INLINE void ActivatedRow(const Function f, int64_t width, float* __restrict u,
                                     float* __restrict out) {
  for (int64_t c = 0; c < width; ++c) out[c] = f.Value(u[c]);
}

// Gradient of PReLU's weight from one row, given the gradient of the activation's value: sum of d x
// over x <= 0.
double PreluWeightGradient(int64_t width, const float* x, const float* d, float scale,
                           const float* factor) {
  // One weight gathers all elements of a block; in float the sum of so many terms would lose its
  // low bits.
  double sum = 0;
  for (int64_t c = 0; c < width; ++c) {
    if (x[c] <= 0) {
      sum += static_cast<double>(d[c]) * scale * (factor == nullptr ? 1.0f : factor[c]) * x[c];
    }
  }
  return sum;
}

}  // namespace

PEPNET_SIMD_CLONES void BiasRelu(int64_t rows, int64_t width, const float* bias, float* x) {
  for (int64_t row = 0; row < rows; ++row) {
    // __restrict stands on pointers of the loop's own: as far as the compiler knows, the parameters
    // may overlap, and it would not vectorise or would test for it in every row.
    const float* __restrict b = bias;
    float* __restrict y = x + row * width;
    for (int64_t c = 0; c < width; ++c) {
      // The comparison is written so that a NaN, for which every comparison is false, stays one.
      const float v = y[c] + b[c];
      y[c] = v < 0 ? 0.0f : v;
    }
  }
}

PEPNET_SIMD_CLONES void BiasReluBackward(int64_t rows, int64_t width, const float* x, float* d,
                                         float* bias_gradient) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* __restrict y = x + row * width;
    float* __restrict g = d + row * width;
    float* __restrict sum = bias_gradient;
    for (int64_t c = 0; c < width; ++c) {
      const float v = y[c] > 0 ? g[c] : 0.0f;
      g[c] = v;
      sum[c] += v;
    }
  }
}

PEPNET_SIMD_CLONES void GateForward(int64_t rows, int64_t width, const float* bias, float gamma,
                                    const float* x, int64_t x_stride, float* s, float* out,
                                    int64_t out_stride) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* __restrict b = bias;
    const float* __restrict m = x + row * x_stride;
    float* __restrict gate = s + row * width;
    float* __restrict e = out + row * out_stride;
    for (int64_t c = 0; c < width; ++c) {
      const float v = Sigmoid(gate[c] + b[c]);
      gate[c] = v;
      e[c] = v * gamma * m[c];
    }
  }
}

PEPNET_SIMD_CLONES void GateBackward(int64_t rows, int64_t width, float gamma, const float* x,
                                     int64_t x_stride, float* s, float* d, int64_t d_stride,
                                     float* bias_gradient) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* __restrict m = x + row * x_stride;
    float* __restrict gate = s + row * width;
    float* __restrict g = d + row * d_stride;
    float* __restrict sum = bias_gradient;
    for (int64_t c = 0; c < width; ++c) {
      // With v = sigmoid(s) and g the gradient of out = gamma v m:
      //   dL/dm = g gamma v;  dL/ds = g gamma v m (1 - v)
      const float v = gate[c];
      const float through = g[c] * gamma * v;
      const float ds = through * m[c] * (1.0f - v);
      g[c] = through;
      gate[c] = ds;
      sum[c] += ds;
    }
  }
}

PEPNET_SIMD_CLONES void GateProductForward(const GateProduct& layer) {
  const int64_t width = layer.width;
  // With dropout the kept elements' factor 1 / (1 - ratio) joins gamma, so a mask only selects.
  const float* const mask = layer.dropout.ratio > 0 ? layer.dropout.mask_row : nullptr;
  const float scale = layer.gamma * (mask != nullptr ? KeptScale(layer.dropout.ratio) : 1.0f);
  WithFunction(
      layer.activation, [&](const auto f) __attribute__((always_inline)) {
        for (int64_t row = 0; row < layer.rows; ++row) {
          float* const a = layer.a + row * width;
          float* const s = layer.s + row * width;
          float* const out = layer.out + row * width;
          // The branch stands outside the loop over columns, which is vectorised once for each
          // case.
          if (mask == nullptr) {
            GateProductRow(f, width, scale, layer.a_bias, layer.s_bias, nullptr, a, s, out);
          } else {
            FillMaskRow(layer.dropout, row, width);
            GateProductRow(f, width, scale, layer.a_bias, layer.s_bias, mask, a, s, out);
          }
        }
      });
}

PEPNET_SIMD_CLONES void GateProductBackward(const GateProduct& layer, const float* d,
                                            int64_t d_stride, float* a_bias_gradient,
                                            float* s_bias_gradient, float* activation_gradient) {
  const int64_t width = layer.width;
  const float scale =
      layer.gamma * (layer.dropout.ratio > 0 ? KeptScale(layer.dropout.ratio) : 1.0f);
  double prelu = 0;
  WithFunction(
      layer.activation, [&](const auto f) __attribute__((always_inline)) {
        for (int64_t row = 0; row < layer.rows; ++row) {
          float* const a = layer.a + row * width;
          float* const s = layer.s + row * width;
          // This comes before the row's kernel, which overwrites a and s.
          if (layer.activation.kind == ActivationKind::kPrelu) {
            prelu += PreluWeightGradient(width, a, d + row * d_stride, scale, s);
          }
          GateProductBackwardRow(f, width, scale, d + row * d_stride, a, s, a_bias_gradient,
                                 s_bias_gradient);
        }
      });
  if (layer.activation.kind == ActivationKind::kPrelu) {
    *activation_gradient += static_cast<float>(prelu);
  }
}

PEPNET_SIMD_CLONES void ActivatedForward(const Activated& layer) {
  const int64_t width = layer.width;
  // The bias stays in u: backward needs the value before the activation.
  if (layer.bias != nullptr) AddBias(layer.rows, width, layer.bias, layer.u);
  WithFunction(
      layer.activation, [&](const auto f) __attribute__((always_inline)) {
        for (int64_t row = 0; row < layer.rows; ++row) {
          float* const out = layer.out + row * width;
          ActivatedRow(f, width, layer.u + row * width, out);
          if (layer.dropout.ratio <= 0) continue;
          FillMaskRow(layer.dropout, row, width);
          uint8_t* const kept = layer.kept + row * width;
          for (int64_t c = 0; c < width; ++c) {
            out[c] *= layer.dropout.mask_row[c];
            kept[c] = layer.dropout.mask_row[c] != 0;
          }
        }
      });
}

PEPNET_SIMD_CLONES void ActivatedBackward(const Activated& layer, const float* d,
                                          float* bias_gradient, float* activation_gradient) {
  const int64_t width = layer.width;
  const bool dropout = layer.dropout.ratio > 0;
  const float scale = dropout ? KeptScale(layer.dropout.ratio) : 1.0f;
  double prelu = 0;
  WithFunction(
      layer.activation, [&](const auto f) __attribute__((always_inline)) {
        for (int64_t row = 0; row < layer.rows; ++row) {
          float* __restrict u = layer.u + row * width;
          const float* __restrict g = d + row * width;
          if (dropout) {
            const uint8_t* __restrict kept = layer.kept + row * width;
            for (int64_t c = 0; c < width; ++c) {
              const float through = kept[c] != 0 ? g[c] * scale : 0.0f;
              // PReLU's weight gradient reads u, and so comes before u is overwritten.
              if (layer.activation.kind == ActivationKind::kPrelu && u[c] <= 0) {
                prelu += static_cast<double>(through) * u[c];
              }
              u[c] = through * f.Derivative(u[c]);
            }
          } else {
            if (layer.activation.kind == ActivationKind::kPrelu) {
              prelu += PreluWeightGradient(width, u, g, 1.0f, nullptr);
            }
            for (int64_t c = 0; c < width; ++c) u[c] = g[c] * f.Derivative(u[c]);
          }
        }
      });
  // The bias has a pass of its own, row after row: the order of a column's sum is that of the rows,
  // with dropout and without.
  if (bias_gradient != nullptr) AddColumnSums(layer.rows, width, layer.u, bias_gradient);
  if (layer.activation.kind == ActivationKind::kPrelu) {
    *activation_gradient += static_cast<float>(prelu);
  }
}

void LayerNormForward(int64_t rows, int64_t width, const float* bias, const float* weight,
                      const float* beta, float* x, float* rstd, float* out) {
  if (bias != nullptr) AddBias(rows, width, bias, x);
  const double n = static_cast<double>(width);
  for (int64_t row = 0; row < rows; ++row) {
    float* const v = x + row * width;
    // The moments take two passes, in double: the mean of squares less the square of the mean would
    // cancel for rows far from zero.
    double mean = 0, variance = 0;
    for (int64_t c = 0; c < width; ++c) mean += v[c];
    mean /= n;
    for (int64_t c = 0; c < width; ++c) variance += (v[c] - mean) * (v[c] - mean);
    const double inverse = 1.0 / std::sqrt(variance / n + 1e-5);
    rstd[row] = static_cast<float>(inverse);
    for (int64_t c = 0; c < width; ++c) {
      // The normalised row takes the place of the input. Backward needs it and rstd = 1 /
      // deviation, and nothing else.
      v[c] = static_cast<float>((v[c] - mean) * inverse);
      out[row * width + c] = weight[c] * v[c] + beta[c];
    }
  }
}

// With v the normalised row, dv = g * weight the gradient by it, and means over the row:
//   gradient by the row before it was normalised = (dv - mean(dv) - v mean(dv v)) * rstd
void LayerNormBackward(int64_t rows, int64_t width, const float* weight, const float* rstd,
                       const float* d, float* x, float* bias_gradient, float* weight_gradient,
                       float* beta_gradient) {
  const double n = static_cast<double>(width);
  for (int64_t row = 0; row < rows; ++row) {
    float* const v = x + row * width;
    const float* const g = d + row * width;
    // The first pass sums up for both means and adds to the gradients of weight and beta; the
    // second one overwrites x and so must come after it.
    double sum = 0, product = 0;
    for (int64_t c = 0; c < width; ++c) {
      const double dv = static_cast<double>(g[c]) * weight[c];
      sum += dv;
      product += dv * v[c];
      weight_gradient[c] += g[c] * v[c];
      beta_gradient[c] += g[c];
    }
    for (int64_t c = 0; c < width; ++c) {
      const double dv = static_cast<double>(g[c]) * weight[c];
      v[c] = static_cast<float>((dv - sum / n - v[c] * product / n) * rstd[row]);
      if (bias_gradient != nullptr) bias_gradient[c] += v[c];
    }
  }
}

PEPNET_SIMD_CLONES void AddColumnSums(int64_t rows, int64_t width, const float* d, float* sums) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* __restrict g = d + row * width;
    float* __restrict sum = sums;
    for (int64_t c = 0; c < width; ++c) sum[c] += g[c];
  }
}

PEPNET_SIMD_CLONES void AddBias(int64_t rows, int64_t width, const float* bias, float* x) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* __restrict b = bias;
    float* __restrict y = x + row * width;
    for (int64_t c = 0; c < width; ++c) y[c] += b[c];
  }
}

PEPNET_SIMD_CLONES void AddTo(int64_t count, const float* x, float* y) {
  const float* __restrict from = x;
  float* __restrict to = y;
  for (int64_t i = 0; i < count; ++i) to[i] += from[i];
}

}  // namespace pepnet

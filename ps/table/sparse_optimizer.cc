#include "ps/table/sparse_optimizer.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/base/processor.h"

namespace pepnet {
namespace {

constexpr float kEpsilon = 1e-8f;          // fixed in the reference, not configurable
constexpr float kLarsCoefficient = 1e-3f;  // eta; likewise
constexpr size_t kPrefetchRows = 8;

inline __attribute__((always_inline)) void PrefetchRow(std::span<const RowUpdate> rows, size_t i) {
  if (i >= rows.size()) return;
  PrefetchWrite(rows[i].value);
  PrefetchWrite(rows[i].state);
  PrefetchRead(rows[i].gradient);
}

// Calls update(value, state, gradient) for each row, with the rows to come on their way into the
// cache.
template <typename Update>
inline __attribute__((always_inline)) void ForEachRow(std::span<const RowUpdate> rows,
                                                      const Update& update) {
  for (size_t i = 0; i < rows.size(); ++i) {
    PrefetchRow(rows, i + kPrefetchRows);
    update(rows[i].value, rows[i].state, rows[i].gradient);
  }
}

// Sum of term(e)^2 over a row. Four partial sums by e % 4, added pairwise: one order for vector and
// scalar code.
template <typename Term>
float SumOfSquares(int dim, const Term& term) {
  float sum[4] = {0, 0, 0, 0};
  int e = 0;
  for (; e + 4 <= dim; e += 4) {
    for (int lane = 0; lane < 4; ++lane) {
      const float x = term(e + lane);
      sum[lane] += x * x;
    }
  }
  for (int lane = 0; e < dim; ++e, ++lane) {
    const float x = term(e);
    sum[lane] += x * x;
  }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

template <typename Term>
float MeanOfSquares(int dim, const Term& term) {
  return SumOfSquares(dim, term) / static_cast<float>(dim);
}

//   w = w - lr g
void Sgd(float lr, int dim, std::span<const RowUpdate> rows) {
  ForEachRow(rows, [=](float* __restrict w, float*, const float* __restrict g) {
    for (int e = 0; e < dim; ++e) w[e] -= lr * g[e];
  });
}

//   s = s + g^2                      per element
//   w = w - lr g / (sqrt(s) + eps)
template <int fixed_dim>  // 0: any
inline __attribute__((always_inline)) void AdagradRows(float lr, int any_dim,
                                                       std::span<const RowUpdate> rows) {
  const int dim = fixed_dim > 0 ? fixed_dim : any_dim;
  ForEachRow(
      rows, [=](float* __restrict w, float* __restrict s, const float* __restrict g)
                __attribute__((always_inline)) {
                  for (int e = 0; e < dim; ++e) {
                    s[e] += g[e] * g[e];
                    w[e] -= lr * g[e] / (std::sqrt(s[e]) + kEpsilon);
                  }
                });
}

inline __attribute__((always_inline)) void AdagradOfAnyWidth(float lr, int dim,
                                                             std::span<const RowUpdate> rows) {
  switch (dim) {
    case 8:
      return AdagradRows<8>(lr, dim, rows);
    case 16:
      return AdagradRows<16>(lr, dim, rows);
    case 32:
      return AdagradRows<32>(lr, dim, rows);
    default:
      return AdagradRows<0>(lr, dim, rows);
  }
}

// The usual optimizer has a version for wider vectors: the same operations on each element, so the
// same bits.
#if defined(__x86_64__)
__attribute__((target("avx2"))) void AdagradAvx2(float lr, int dim,
                                                 std::span<const RowUpdate> rows) {
  AdagradOfAnyWidth(lr, dim, rows);
}
#endif

void Adagrad(float lr, int dim, std::span<const RowUpdate> rows) {
#if defined(__x86_64__)
  static const bool has_avx2 = __builtin_cpu_supports("avx2");
  if (has_avx2) return AdagradAvx2(lr, dim, rows);
#endif
  AdagradOfAnyWidth(lr, dim, rows);
}

//   g' = g + wd w for L2, else g
//   s  = s + mean_e(g'^2)            one s per row
//   m  = lr / (sqrt(s) + eps)
//   w  = c w - m g,                  c = 1 - m wd (L2), 1 - lr wd (DECOUPLE), 1 (NONE)
template <WeightDecayMode mode>
void RowwiseAdagrad(float lr, float wd, int dim, std::span<const RowUpdate> rows) {
  ForEachRow(rows, [=](float* __restrict w, float* __restrict s, const float* __restrict g) {
    *s += MeanOfSquares(
        dim, [=](int e) { return mode == WeightDecayMode::kL2 ? g[e] + wd * w[e] : g[e]; });
    const float m = lr / (std::sqrt(*s) + kEpsilon);
    if constexpr (mode == WeightDecayMode::kNone) {
      for (int e = 0; e < dim; ++e) w[e] -= m * g[e];
    } else {
      const float c = 1.0f - (mode == WeightDecayMode::kL2 ? m : lr) * wd;
      for (int e = 0; e < dim; ++e) w[e] = c * w[e] - m * g[e];
    }
  });
}

// u = z without l1 of its size.
inline float Shrunk(float z, float l1) {
  return std::abs(z) <= l1 ? 0.0f : z - std::copysign(l1, z);
}

//   z  = -w (beta / lr + l2)                    before the first update of an element (s = 0): w is
//                                               the minimiser there
//   s' = s + g^2
//   z  = z + g - (sqrt(s') - sqrt(s)) / lr w
//   u  = z - sign(z) l1, 0 where |z| <= l1
//   w  = -c u / ((beta + sqrt(s')) / lr + l2),  c = max(0, 1 - l21 sqrt(dim) / |u|)   over the row
void Ftrl(const SparseOptimizer& optimizer, float lr, int dim, std::span<const RowUpdate> rows) {
  if (lr == 0) return;
  const auto beta = static_cast<float>(optimizer.beta), l1 = static_cast<float>(optimizer.l1),
             l2 = static_cast<float>(optimizer.l2);
  const float group = static_cast<float>(optimizer.l21) * std::sqrt(static_cast<float>(dim));
  ForEachRow(rows, [=](float* __restrict w, float* __restrict state, const float* __restrict g) {
    float* const s = state;
    float* const z = state + dim;
    for (int e = 0; e < dim; ++e) {
      if (s[e] == 0) z[e] = -w[e] * (beta / lr + l2);
      const float next = s[e] + g[e] * g[e];
      z[e] += g[e] - (std::sqrt(next) - std::sqrt(s[e])) / lr * w[e];
      s[e] = next;
    }
    float kept = 1;
    if (group > 0) {
      const float norm = std::sqrt(MeanOfSquares(dim, [=](int e) { return Shrunk(z[e], l1); }) *
                                   static_cast<float>(dim));
      kept = norm > group ? 1 - group / norm : 0;
    }
    for (int e = 0; e < dim; ++e) {
      w[e] = -kept * Shrunk(z[e], l1) / ((beta + std::sqrt(s[e])) / lr + l2);
    }
  });
}

//   k  = update / decay_steps, whole             the row's own k stands behind its s
//   s  = max(decay_rate^(k - k_row) s, s_0)
//   then as adagrad
void AdagradDecay(const SparseOptimizer& optimizer, float lr, int64_t update, int dim,
                  std::span<const RowUpdate> rows) {
  const int64_t whole_decays = update / static_cast<int64_t>(optimizer.decay_steps);
  const auto decays = static_cast<float>(whole_decays);
  const auto floor = static_cast<float>(optimizer.initial_accumulator_value);
  ForEachRow(rows, [&](float* __restrict w, float* __restrict s, const float* __restrict g) {
    const float missing = decays - s[dim];
    const float factor =
        missing == 0
            ? 1
            : static_cast<float>(std::pow(optimizer.decay_rate, static_cast<double>(missing)));
    s[dim] = decays;
    for (int e = 0; e < dim; ++e) {
      s[e] = std::max(factor * s[e], floor) + g[e] * g[e];
      w[e] -= lr * g[e] / (std::sqrt(s[e]) + kEpsilon);
    }
  });
}

// Numbers of an adam step that are the same for all rows; the powers of beta are formed in double.
struct AdamFactors {
  float beta1, beta2, one_minus_beta1, one_minus_beta2;
  float correction1, correction2;  // 1 - beta^t

  AdamFactors(const SparseOptimizer& optimizer, int64_t t)
      : beta1(static_cast<float>(optimizer.beta1)),
        beta2(static_cast<float>(optimizer.beta2)),
        one_minus_beta1(static_cast<float>(1.0 - optimizer.beta1)),
        one_minus_beta2(static_cast<float>(1.0 - optimizer.beta2)),
        correction1(static_cast<float>(1.0 - std::pow(optimizer.beta1, static_cast<double>(t)))),
        correction2(static_cast<float>(1.0 - std::pow(optimizer.beta2, static_cast<double>(t)))) {}
};

//   m = b1 m + (1 - b1) g
//   v = b2 v + (1 - b2) g^2
//   w = w - lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + wd w)
//   with t the number of table updates, not of the row's
void Adam(const AdamFactors& f, float lr, float wd, int dim, std::span<const RowUpdate> rows) {
  ForEachRow(rows, [=](float* __restrict w, float* __restrict state, const float* __restrict g) {
    float* __restrict m = state;
    float* __restrict v = state + dim;
    for (int e = 0; e < dim; ++e) {
      m[e] = f.beta1 * m[e] + f.one_minus_beta1 * g[e];
      v[e] = f.beta2 * v[e] + f.one_minus_beta2 * (g[e] * g[e]);
      w[e] -=
          lr * (m[e] / f.correction1 / (std::sqrt(v[e] / f.correction2) + kEpsilon) + wd * w[e]);
    }
  });
}

//   As adam, with one v per row: v = b2 v + (1 - b2) mean_e(g^2).
void PartialRowwiseAdam(const AdamFactors& f, float lr, float wd, int dim,
                        std::span<const RowUpdate> rows) {
  ForEachRow(rows, [=](float* __restrict w, float* __restrict state, const float* __restrict g) {
    float* __restrict m = state;
    float& v = state[dim];
    v = f.beta2 * v + f.one_minus_beta2 * MeanOfSquares(dim, [=](int e) { return g[e]; });
    const float denominator = std::sqrt(v / f.correction2) + kEpsilon;
    for (int e = 0; e < dim; ++e) {
      m[e] = f.beta1 * m[e] + f.one_minus_beta1 * g[e];
      w[e] -= lr * (m[e] / f.correction1 / denominator + wd * w[e]);
    }
  });
}

// w = w - lr (|w| / |r|) r, the end of both lambs: the step is as long as lr says of the row. r = 0
// moves nothing.
inline void StepByLength(float lr, int dim, float* __restrict w, const float* __restrict r) {
  const float length = std::sqrt(SumOfSquares(dim, [=](int e) { return r[e]; }));
  if (length == 0) return;
  const float rate = lr * (std::sqrt(SumOfSquares(dim, [=](int e) { return w[e]; })) / length);
  for (int e = 0; e < dim; ++e) w[e] -= rate * r[e];
}

//   m, v = as adam
//   r = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + wd w
//   w = w - lr (|w| / |r|) r
void Lamb(const AdamFactors& f, float lr, float wd, int dim, std::span<const RowUpdate> rows) {
  std::vector<float> r(dim);
  ForEachRow(rows, [&](float* __restrict w, float* __restrict state, const float* __restrict g) {
    float* __restrict m = state;
    float* __restrict v = state + dim;
    for (int e = 0; e < dim; ++e) {
      m[e] = f.beta1 * m[e] + f.one_minus_beta1 * g[e];
      v[e] = f.beta2 * v[e] + f.one_minus_beta2 * (g[e] * g[e]);
      r[e] = m[e] / f.correction1 / (std::sqrt(v[e] / f.correction2) + kEpsilon) + wd * w[e];
    }
    StepByLength(lr, dim, w, r.data());
  });
}

//   As lamb, with one v per row: v = b2 v + (1 - b2) mean_e(g^2).
void PartialRowwiseLamb(const AdamFactors& f, float lr, float wd, int dim,
                        std::span<const RowUpdate> rows) {
  std::vector<float> r(dim);
  ForEachRow(rows, [&](float* __restrict w, float* __restrict state, const float* __restrict g) {
    float* __restrict m = state;
    float& v = state[dim];
    v = f.beta2 * v + f.one_minus_beta2 * MeanOfSquares(dim, [=](int e) { return g[e]; });
    const float denominator = std::sqrt(v / f.correction2) + kEpsilon;
    for (int e = 0; e < dim; ++e) {
      m[e] = f.beta1 * m[e] + f.one_minus_beta1 * g[e];
      r[e] = m[e] / f.correction1 / denominator + wd * w[e];
    }
    StepByLength(lr, dim, w, r.data());
  });
}

//   r = lr eta |w| / (|g| + wd |w|)             0 where that is 0 / 0
//   m = mom m + r (g + wd w)
//   w = w - m
void LarsSgd(const SparseOptimizer& optimizer, float lr, float wd, int dim,
             std::span<const RowUpdate> rows) {
  const auto momentum = static_cast<float>(optimizer.momentum);
  ForEachRow(rows, [=](float* __restrict w, float* __restrict m, const float* __restrict g) {
    const float length = std::sqrt(SumOfSquares(dim, [=](int e) { return w[e]; }));
    const float bound = std::sqrt(SumOfSquares(dim, [=](int e) { return g[e]; })) + wd * length;
    const float rate = bound == 0 ? 0 : lr * kLarsCoefficient * length / bound;
    for (int e = 0; e < dim; ++e) {
      m[e] = momentum * m[e] + rate * (g[e] + wd * w[e]);
      w[e] -= m[e];
    }
  });
}

//   g' = g + wd w
//   v  = rho v + (1 - rho) g'^2
//   d  = sqrt(u + eps) / sqrt(v + eps) g'
//   u  = rho u + (1 - rho) d^2
//   w  = w - lr d
void Adadelta(const SparseOptimizer& optimizer, float lr, float wd, int dim,
              std::span<const RowUpdate> rows) {
  const auto rho = static_cast<float>(optimizer.rho), share = static_cast<float>(1 - optimizer.rho);
  const auto eps = static_cast<float>(optimizer.eps);
  ForEachRow(rows,
             [=](float* __restrict w, float* __restrict state, const float* __restrict gradient) {
               float* __restrict v = state;
               float* __restrict u = state + dim;
               for (int e = 0; e < dim; ++e) {
                 const float g = gradient[e] + wd * w[e];
                 v[e] = rho * v[e] + share * (g * g);
                 const float d = std::sqrt(u[e] + eps) / std::sqrt(v[e] + eps) * g;
                 u[e] = rho * u[e] + share * (d * d);
                 w[e] -= lr * d;
               }
             });
}

//   g' = g + wd w
//   v  = alpha v + (1 - alpha) g'^2
//   w  = w - lr g' / (sqrt(v) + eps)
void Rmsprop(const SparseOptimizer& optimizer, float lr, float wd, int dim,
             std::span<const RowUpdate> rows) {
  const auto alpha = static_cast<float>(optimizer.alpha),
             share = static_cast<float>(1 - optimizer.alpha);
  const auto eps = static_cast<float>(optimizer.eps);
  ForEachRow(rows, [=](float* __restrict w, float* __restrict v, const float* __restrict gradient) {
    for (int e = 0; e < dim; ++e) {
      const float g = gradient[e] + wd * w[e];
      v[e] = alpha * v[e] + share * (g * g);
      w[e] -= lr * g / (std::sqrt(v[e]) + eps);
    }
  });
}

}  // namespace

void UpdateRows(const SparseOptimizer& optimizer, double lr, int64_t update, int dim,
                std::span<const RowUpdate> rows) {
  const float rate = static_cast<float>(lr);
  const float wd = static_cast<float>(optimizer.weight_decay);
  switch (optimizer.kind) {
    case SparseOptimizerKind::kSgd:
      return Sgd(rate, dim, rows);
    case SparseOptimizerKind::kAdagrad:
      return Adagrad(rate, dim, rows);
    case SparseOptimizerKind::kRowwiseAdagrad:
      switch (optimizer.weight_decay_mode) {
        case WeightDecayMode::kNone:
          return RowwiseAdagrad<WeightDecayMode::kNone>(rate, wd, dim, rows);
        case WeightDecayMode::kL2:
          return RowwiseAdagrad<WeightDecayMode::kL2>(rate, wd, dim, rows);
        case WeightDecayMode::kDecouple:
          return RowwiseAdagrad<WeightDecayMode::kDecouple>(rate, wd, dim, rows);
      }
      return;
    case SparseOptimizerKind::kAdam:
      return Adam(AdamFactors(optimizer, update), rate, wd, dim, rows);
    case SparseOptimizerKind::kPartialRowwiseAdam:
      return PartialRowwiseAdam(AdamFactors(optimizer, update), rate, wd, dim, rows);
    case SparseOptimizerKind::kFtrl:
      return Ftrl(optimizer, rate, dim, rows);
    case SparseOptimizerKind::kAdagradDecay:
      return AdagradDecay(optimizer, rate, update, dim, rows);
    case SparseOptimizerKind::kLarsSgd:
      return LarsSgd(optimizer, rate, wd, dim, rows);
    case SparseOptimizerKind::kLamb:
      return Lamb(AdamFactors(optimizer, update), rate, wd, dim, rows);
    case SparseOptimizerKind::kPartialRowwiseLamb:
      return PartialRowwiseLamb(AdamFactors(optimizer, update), rate, wd, dim, rows);
    case SparseOptimizerKind::kAdadelta:
      return Adadelta(optimizer, rate, wd, dim, rows);
    case SparseOptimizerKind::kRmsprop:
      return Rmsprop(optimizer, rate, wd, dim, rows);
  }
}

void FillInitialState(const SparseOptimizer& optimizer, std::span<float> state) {
  std::fill(state.begin(), state.end(),
            static_cast<float>(TypeOf(optimizer.kind).initial_state(optimizer)));
}

}  // namespace pepnet

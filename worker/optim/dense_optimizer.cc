#include "worker/optim/dense_optimizer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/base/logging.h"

namespace pepnet {
namespace {

// The loops below run over restrict pointers and hold selects but no branches, so that the compiler
// vectorises them. Factors are computed in double and rounded once, as torch does with Python
// scalars; each element goes through torch's operations in torch's order. One deliberate
// difference: 0 / 0, which only eps = 0 allows, counts as 0; in torch it is NaN. Thereby padding
// floats, whose gradient is always 0, stay 0 under every configuration.

// a / b, but 0 if a is 0.
inline float Ratio(float a, float b) { return a == 0.0f ? 0.0f : a / b; }

// g' = g + weight_decay w (coupled L2)
// first step: b = g'; later: b = momentum b + (1 - dampening) g'
// u = g' + momentum b with nesterov, else b (g' if momentum = 0);  w -= lr u
template <bool kMomentum, bool kFirst, bool kNesterov>
void StepSgd(size_t n, float* __restrict w, const float* __restrict gradient,
             float* __restrict buffer, const DenseOptimizer& c, double lr) {
  const float decay = static_cast<float>(c.weight_decay), momentum = static_cast<float>(c.momentum);
  const float share = static_cast<float>(1 - c.dampening), rate = static_cast<float>(-lr);
  for (size_t i = 0; i < n; ++i) {
    float g = gradient[i] + decay * w[i];
    if constexpr (kMomentum) {
      const float b = kFirst ? g : momentum * buffer[i] + share * g;
      buffer[i] = b;
      g = kNesterov ? g + momentum * b : b;
    }
    w[i] += rate * g;
  }
}

// s += g'^2;  w -= lr g' / (sqrt(s) + eps)
void StepAdagrad(size_t n, float* __restrict w, const float* __restrict gradient,
                 float* __restrict sum, const DenseOptimizer& c, double lr) {
  const float decay = static_cast<float>(c.weight_decay), eps = static_cast<float>(c.eps);
  const float rate = static_cast<float>(-lr);
  for (size_t i = 0; i < n; ++i) {
    const float g = gradient[i] + decay * w[i];
    sum[i] += g * g;
    w[i] += Ratio(rate * g, std::sqrt(sum[i]) + eps);
  }
}

// adam:  g' = g + weight_decay w.   adamw:  w *= 1 - lr weight_decay, g' = g.
// m += (1 - beta1) (g' - m);  v = beta2 v + (1 - beta2) g'^2
// bound = the largest v so far with amsgrad, else v
// w -= lr / (1 - beta1^t) m / (sqrt(bound) / sqrt(1 - beta2^t) + eps)
template <bool kAmsgrad>
void StepAdam(size_t n, float* __restrict w, const float* __restrict gradient,
              float* __restrict exp_avg, float* __restrict exp_avg_sq,
              float* __restrict max_exp_avg_sq, const DenseOptimizer& c, double lr, int64_t t) {
  const bool decoupled = c.kind == DenseOptimizerKind::kAdamW;
  const float keep = decoupled ? static_cast<float>(1 - lr * c.weight_decay) : 1.0f;
  const float decay = decoupled ? 0.0f : static_cast<float>(c.weight_decay);
  const float share1 = static_cast<float>(1 - c.beta1);
  const float beta2 = static_cast<float>(c.beta2), share2 = static_cast<float>(1 - c.beta2);
  const float eps = static_cast<float>(c.eps);
  const float step_size = static_cast<float>(-lr / (1 - std::pow(c.beta1, static_cast<double>(t))));
  const float root_correction =
      static_cast<float>(std::sqrt(1 - std::pow(c.beta2, static_cast<double>(t))));
  for (size_t i = 0; i < n; ++i) {
    const float value = w[i] * keep;
    const float g = gradient[i] + decay * value;
    const float m = exp_avg[i] + share1 * (g - exp_avg[i]);
    const float v = beta2 * exp_avg_sq[i] + share2 * g * g;
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
    float bound = v;
    if constexpr (kAmsgrad) {
      bound = max_exp_avg_sq[i] > v ? max_exp_avg_sq[i] : v;
      max_exp_avg_sq[i] = bound;
    }
    w[i] = value + Ratio(step_size * m, std::sqrt(bound) / root_correction + eps);
  }
}

// v = rho v + (1 - rho) g'^2;  d = sqrt(u + eps) / sqrt(v + eps) g'
// u = rho u + (1 - rho) d^2;  w -= lr d
void StepAdadelta(size_t n, float* __restrict w, const float* __restrict gradient,
                  float* __restrict square_avg, float* __restrict acc_delta,
                  const DenseOptimizer& c, double lr) {
  const float decay = static_cast<float>(c.weight_decay), eps = static_cast<float>(c.eps);
  const float rho = static_cast<float>(c.rho), share = static_cast<float>(1 - c.rho),
              rate = static_cast<float>(-lr);
  for (size_t i = 0; i < n; ++i) {
    const float g = gradient[i] + decay * w[i];
    const float v = rho * square_avg[i] + share * g * g;
    square_avg[i] = v;
    const float d = Ratio(std::sqrt(acc_delta[i] + eps), std::sqrt(v + eps)) * g;
    acc_delta[i] = rho * acc_delta[i] + share * d * d;
    w[i] += rate * d;
  }
}

// v = alpha v + (1 - alpha) g'^2;  w -= lr g' / (sqrt(v) + eps)
void StepRmsprop(size_t n, float* __restrict w, const float* __restrict gradient,
                 float* __restrict square_avg, const DenseOptimizer& c, double lr) {
  const float decay = static_cast<float>(c.weight_decay), eps = static_cast<float>(c.eps);
  const float alpha = static_cast<float>(c.alpha), share = static_cast<float>(1 - c.alpha);
  const float rate = static_cast<float>(-lr);
  for (size_t i = 0; i < n; ++i) {
    const float g = gradient[i] + decay * w[i];
    square_avg[i] = alpha * square_avg[i] + share * g * g;
    w[i] += Ratio(rate * g, std::sqrt(square_avg[i]) + eps);
  }
}

// Sums of |g|^p in double: kLanes running sums per block, added lane by lane, then block by block,
// so that the bits depend on the size alone while the inner loop still vectorises.
constexpr size_t kBlock = 4096, kLanes = 8;

template <typename Power>
double BlockedSum(std::span<const float> gradients, Power power) {
  double total = 0;
  for (size_t begin = 0; begin < gradients.size(); begin += kBlock) {
    const size_t end = std::min(begin + kBlock, gradients.size());
    double lanes[kLanes] = {};
    size_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      for (size_t lane = 0; lane < kLanes; ++lane) {
        lanes[lane] += power(static_cast<double>(gradients[i + lane]));
      }
    }
    // The rest goes to the first lanes in order, so that the lanes of a short block are those of a
    // long one.
    for (size_t lane = 0; i < end; ++i, ++lane) {
      lanes[lane] += power(static_cast<double>(gradients[i]));
    }
    double block = 0;
    for (double lane : lanes) block += lane;
    total += block;
  }
  return total;
}

// A NaN anywhere gives NaN, as in torch.
double Norm(std::span<const float> gradients, double type) {
  if (type == std::numeric_limits<double>::infinity()) {
    float largest = 0;
    for (float g : gradients) {
      const float size = std::fabs(g);
      largest = (size > largest || size != size) ? size : largest;
    }
    return largest;
  }
  if (type == 2) return std::sqrt(BlockedSum(gradients, [](double g) { return g * g; }));
  if (type == 1) return BlockedSum(gradients, [](double g) { return std::fabs(g); });
  CHECK_GT(type, 0);
  return std::pow(BlockedSum(gradients, [type](double g) { return std::pow(std::fabs(g), type); }),
                  1 / type);
}

}  // namespace

std::vector<ArenaRun> RunsOfParameters(const DenseParameters& parameters,
                                       const std::function<bool(int)>& wanted) {
  const int count = static_cast<int>(parameters.specs().size());
  std::vector<ArenaRun> runs;
  bool open = false;
  for (int i = 0; i < count; ++i) {
    if (!wanted(i)) {
      open = false;
      continue;
    }
    // A run reaches up to the next parameter, padding included: neighbours then join into one run
    // without a gap.
    const size_t begin = parameters.offset(i);
    const size_t end = i + 1 < count ? parameters.offset(i + 1) : parameters.arena_floats();
    if (!open) runs.push_back({begin, 0});
    runs.back().size = end - runs.back().begin;
    open = true;
  }
  return runs;
}

DenseOptimizerState::DenseOptimizerState(const DenseOptimizer& config, std::vector<ArenaRun> runs)
    : config_(config), runs_(std::move(runs)) {
  size_t floats = 0;
  for (const ArenaRun& run : runs_) floats += run.size;
  const DenseOptimizerType& type = TypeOf(config.kind);
  for (std::string& name : type.slots(config)) {
    AlignedBuffer<float> slot;
    slot.ResizeZeroed(floats);
    // Adagrad begins its sums at a value of the config.
    if (type.initial_state != nullptr) {
      std::fill(slot.begin(), slot.end(), static_cast<float>(type.initial_state(config)));
    }
    slots_.emplace_back(std::move(name), std::move(slot));
  }
}

size_t DenseOptimizerState::OffsetInSlot(size_t begin) const {
  size_t offset = 0;
  for (const ArenaRun& run : runs_) {
    if (begin >= run.begin && begin < run.begin + run.size) return offset + begin - run.begin;
    offset += run.size;
  }
  LOG(FATAL) << "float " << begin << " of the arena is in no run of its optimizer";
}

void DenseOptimizerState::Step(std::span<float> values, std::span<const float> gradients,
                               double lr) {
  CHECK_EQ(values.size(), gradients.size());
  // The step counts before the update: the formulas' t begins at 1.
  ++steps_;
  size_t slot_offset = 0;
  for (const ArenaRun& run : runs_) {
    CHECK_LE(run.begin + run.size, values.size());
    StepRun(run.size, values.data() + run.begin, gradients.data() + run.begin, slot_offset, lr);
    slot_offset += run.size;
  }
}

void DenseOptimizerState::StepRun(size_t n, float* w, const float* g, size_t slot_offset,
                                  double lr) {
  const auto slot = [&](size_t i) { return slots_[i].second.data() + slot_offset; };
  // The first step of momentum takes the gradient as it is, without dampening.
  const bool first = steps_ == 1;
  switch (config_.kind) {
    case DenseOptimizerKind::kSgd:
      if (config_.momentum == 0) return StepSgd<false, false, false>(n, w, g, nullptr, config_, lr);
      if (config_.nesterov) {
        return first ? StepSgd<true, true, true>(n, w, g, slot(0), config_, lr)
                     : StepSgd<true, false, true>(n, w, g, slot(0), config_, lr);
      }
      return first ? StepSgd<true, true, false>(n, w, g, slot(0), config_, lr)
                   : StepSgd<true, false, false>(n, w, g, slot(0), config_, lr);
    case DenseOptimizerKind::kAdagrad:
      return StepAdagrad(n, w, g, slot(0), config_, lr);
    case DenseOptimizerKind::kAdam:
    case DenseOptimizerKind::kAdamW:
      if (config_.amsgrad) {
        return StepAdam<true>(n, w, g, slot(0), slot(1), slot(2), config_, lr, steps_);
      }
      return StepAdam<false>(n, w, g, slot(0), slot(1), nullptr, config_, lr, steps_);
    case DenseOptimizerKind::kAdadelta:
      return StepAdadelta(n, w, g, slot(0), slot(1), config_, lr);
    case DenseOptimizerKind::kRmsprop:
      return StepRmsprop(n, w, g, slot(0), config_, lr);
  }
}

double ClipGradients(const TrainConfig& config, std::span<float> gradients) {
  if (config.clipping == ClippingType::kNone) return 0;
  if (config.clipping == ClippingType::kValue) {
    const float bound = static_cast<float>(config.clip_max_gradient);
    for (float& g : gradients) g = std::clamp(g, -bound, bound);  // a NaN stays NaN
    return 0;
  }
  // g *= min(1, max_gradient / (norm + 1e-6)). A NaN norm makes every gradient NaN rather than pass
  // unnoticed.
  const double norm = Norm(gradients, config.clip_norm_type);
  const double scale = config.clip_max_gradient / (norm + 1e-6);
  if (scale >= 1) return norm;
  const float factor = static_cast<float>(scale);
  for (float& g : gradients) g *= factor;
  return norm;
}

}  // namespace pepnet

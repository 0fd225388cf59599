#include "worker/optim/learning_rate.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "common/base/logging.h"

namespace pepnet {
namespace {

// base * factor^p, p = (s - warmup_size) / decay_size, floored with `staircase`; never below
// min_learning_rate.
double ExponentialDecay(const Schedule& schedule, double base, int64_t s) {
  CHECK_GT(schedule.decay_size, 0);
  double power =
      static_cast<double>(s - schedule.warmup_size) / static_cast<double>(schedule.decay_size);
  if (schedule.staircase) power = std::floor(power);
  return std::max(base * std::pow(schedule.decay_factor, power), schedule.min_learning_rate);
}

// learning_rates[i - 1], i = number of schedule_sizes strictly below s: the rate changes one step
// after the size. For i = 0 it is base, or with `warmup` the line
//   base + (learning_rates[0] - base) * s / schedule_sizes[0]
double ManualStep(const Schedule& schedule, double base, int64_t s) {
  const auto& sizes = schedule.schedule_sizes;
  const auto& rates = schedule.learning_rates;
  CHECK_EQ(sizes.size(), rates.size());
  size_t passed = 0;
  while (passed < sizes.size() && sizes[passed] < s) ++passed;
  if (passed > 0) return rates[passed - 1];
  if (!schedule.warmup || sizes.empty() || sizes[0] == 0) return base;
  return (rates[0] - base) * static_cast<double>(s) / static_cast<double>(sizes[0]) + base;
}

// The line from base at warmup_size to min_learning_rate at num_training_steps:
//   min + (base - min) * (1 - (min(s, num_training_steps) - warmup_size) / length)
//   length = num_training_steps - warmup_size
double LinearDecay(const Schedule& schedule, double base, int64_t s) {
  const int64_t length = schedule.num_training_steps - schedule.warmup_size;
  CHECK_GT(length, 0);
  const double passed =
      static_cast<double>(std::min(s - schedule.warmup_size, length)) / static_cast<double>(length);
  return schedule.min_learning_rate + (base - schedule.min_learning_rate) * (1 - passed);
}

// min + (base - min) / 2 * (1 + cos(pi * position / length))
double Cosine(double base, double min_rate, int64_t position, int64_t length) {
  CHECK_GT(length, 0);
  const double angle =
      std::numbers::pi * static_cast<double>(position) / static_cast<double>(length);
  return min_rate + (base - min_rate) * (1 + std::cos(angle)) / 2;
}

// Cycles of t_0, t_0 * t_mult, t_0 * t_mult^2, ... steps; each starts at the base rate.
double CosineWarmRestarts(const Schedule& schedule, double base, int64_t s) {
  CHECK_GT(schedule.t_0, 0);
  CHECK_GT(schedule.t_mult, 0);
  int64_t position = s, length = schedule.t_0;
  if (schedule.t_mult == 1) {
    position %= length;
  } else {
    while (position >= length) {
      position -= length;
      length *= schedule.t_mult;
    }
  }
  return Cosine(base, schedule.min_learning_rate, position, length);
}

}  // namespace

double LearningRate(const Schedule& schedule, double base, int64_t s) {
  CHECK_GE(s, 0);
  if (base == 0) return 0;
  const bool has_warmup = schedule.kind == ScheduleKind::kExponentialDecay ||
                          schedule.kind == ScheduleKind::kLinearDecay ||
                          schedule.kind == ScheduleKind::kCosineAnnealing ||
                          schedule.kind == ScheduleKind::kCosineWarmRestarts;
  if (has_warmup && s < schedule.warmup_size) {
    const double start = schedule.warmup_learning_rate;
    return start +
           (base - start) * static_cast<double>(s) / static_cast<double>(schedule.warmup_size);
  }
  switch (schedule.kind) {
    case ScheduleKind::kConstant:
      return base;
    case ScheduleKind::kExponentialDecay:
      return ExponentialDecay(schedule, base, s);
    case ScheduleKind::kManualStep:
      return ManualStep(schedule, base, s);
    case ScheduleKind::kLinearDecay:
      return LinearDecay(schedule, base, s);
    case ScheduleKind::kCosineAnnealing:
      return Cosine(base, schedule.min_learning_rate,
                    std::min(s - schedule.warmup_size, schedule.t_max), schedule.t_max);
    case ScheduleKind::kCosineWarmRestarts:
      return CosineWarmRestarts(schedule, base, s - schedule.warmup_size);
  }
  LOG(FATAL) << "unknown schedule kind " << static_cast<int>(schedule.kind);
}

double SparseLearningRate(const TrainConfig& config, int64_t step, int64_t finished_epochs,
                          int64_t finished_epochs_at_window_start) {
  const int64_t window = std::max<int64_t>(config.gradient_accumulation_steps, 1);
  // With accumulation the servers update at every micro-batch, at the rate that the window began
  // with, as the reference's sparse optimizer does.
  const Schedule& schedule = config.sparse_optimizer.schedule;
  const int64_t epochs = window > 1 ? finished_epochs_at_window_start : finished_epochs;
  return LearningRate(schedule, config.sparse_optimizer.lr,
                      schedule.by_epoch ? epochs : step - step % window);
}

double DenseLearningRate(const DenseOptimizer& optimizer, int64_t step, int64_t finished_epochs) {
  return LearningRate(optimizer.schedule, optimizer.lr,
                      optimizer.schedule.by_epoch ? finished_epochs : step);
}

LearningRates RatesOfStep(const TrainConfig& config, int64_t step, int64_t finished_epochs,
                          int64_t finished_epochs_at_window_start) {
  LearningRates rates = {
      SparseLearningRate(config, step, finished_epochs, finished_epochs_at_window_start),
      DenseLearningRate(config.dense_optimizer, step, finished_epochs),
      {}};
  for (const PartOptimizer& part : config.part_optimizers) {
    rates.parts.push_back(DenseLearningRate(part.optimizer, step, finished_epochs));
  }
  return rates;
}

}  // namespace pepnet

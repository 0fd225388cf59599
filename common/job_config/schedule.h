// Schedule: the learning rate over steps or epochs.
#pragma once

#include <cstdint>
#include <vector>

namespace pepnet {

enum class ScheduleKind {
  kConstant,
  kExponentialDecay,
  kManualStep,
  kLinearDecay,
  kCosineAnnealing,
  kCosineWarmRestarts,
};
struct Schedule {
  ScheduleKind kind = ScheduleKind::kConstant;
  int64_t decay_size = 0;
  double decay_factor = 0.95;
  bool staircase = true;
  double warmup_learning_rate = 0;
  int64_t warmup_size = 0;
  double min_learning_rate = 0;
  bool by_epoch = false;
  std::vector<int64_t> schedule_sizes;
  std::vector<double> learning_rates;
  bool warmup = false;             // manual step
  int64_t num_training_steps = 0;  // linear decay
  int64_t t_max = 0, t_0 = 0, t_mult = 1;
};

}  // namespace pepnet

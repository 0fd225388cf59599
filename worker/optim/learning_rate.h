// Learning-rate schedules: pure functions of (schedule, base rate, s), formulas in spec 5.4.
#pragma once

#include <cstdint>
#include <vector>

#include "common/job_config/train_config.h"

namespace pepnet {

// s = scheduler steps already made: micro-batches, or finished epochs if schedule.by_epoch. A base
// rate of 0 stays 0.
double LearningRate(const Schedule& schedule, double base, int64_t s);

// Rates of micro-batch `step` (0-based) of a run with gradient accumulation N: the sparse rate is
// the value at the first micro-batch of its window, the dense rates are the values at the step
// itself (spec 5.5).
struct LearningRates {
  double sparse = 0, dense = 0;
  std::vector<double> parts;  // by TrainConfig::part_optimizers
};
double SparseLearningRate(const TrainConfig& config, int64_t step, int64_t finished_epochs,
                          int64_t finished_epochs_at_window_start);
double DenseLearningRate(const DenseOptimizer& optimizer, int64_t step, int64_t finished_epochs);
LearningRates RatesOfStep(const TrainConfig& config, int64_t step, int64_t finished_epochs,
                          int64_t finished_epochs_at_window_start);

}  // namespace pepnet

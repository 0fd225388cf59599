// DenseOptimizer: how a worker updates the dense parameters.
#pragma once

#include "common/job_config/schedule.h"

namespace pepnet {

enum class DenseOptimizerKind { kSgd, kAdagrad, kAdam, kAdamW, kAdadelta, kRmsprop };
struct DenseOptimizer {
  DenseOptimizerKind kind = DenseOptimizerKind::kAdam;
  double lr = 0.002;
  double momentum = 0.9, dampening = 0;  // sgd
  bool nesterov = false;
  double weight_decay = 0;
  double initial_accumulator_value = 0;  // adagrad
  double beta1 = 0.9, beta2 = 0.999;     // adam, adamw
  bool amsgrad = false;
  double eps = 1e-8;    // adagrad default 1e-10, adadelta 1e-6
  double rho = 0.95;    // adadelta
  double alpha = 0.99;  // rmsprop
  Schedule schedule;
};

}  // namespace pepnet

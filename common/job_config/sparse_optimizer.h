// SparseOptimizer: how a server updates a row.
#pragma once

#include "common/job_config/schedule.h"

namespace pepnet {

enum class SparseOptimizerKind { kSgd, kAdagrad, kRowwiseAdagrad, kAdam, kPartialRowwiseAdam };
enum class WeightDecayMode { kNone, kL2, kDecouple };
struct SparseOptimizer {
  SparseOptimizerKind kind = SparseOptimizerKind::kAdagrad;
  double lr = 0.002;
  double initial_accumulator_value = 0;
  double beta1 = 0.9, beta2 = 0.999;
  double weight_decay = 0;
  WeightDecayMode weight_decay_mode = WeightDecayMode::kNone;
  bool gradient_clipping = false;
  double max_gradient = 1;
  Schedule schedule;
};
// Floats of optimizer state per row: sgd 0, adagrad dim, rowwise adagrad 1, adam 2 dim (exp_avg, exp_avg_sq),
// partial rowwise adam dim + 1 (exp_avg, then one exp_avg_sq).
int SparseStateDim(SparseOptimizerKind kind, int dim);

}  // namespace pepnet

// Dense optimizers on the flat parameter arena (formulas of torch.optim, spec 5.3), without torch.
//
// State:     named arenas of the same layout as DenseParameters ("exp_avg", "exp_avg_sq", "momentum_buffer", "sum", ...) plus the
//            number of steps made; both go into checkpoints.
// Threads:   one at a time. Bits: elementwise, so independent of threads and of how the arena is cut.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "common/job_config/train_config.h"
#include "worker/model/parameters.h"

namespace pepnet {

class DenseOptimizerState {
 public:
  DenseOptimizerState(const DenseOptimizer& config, size_t arena_floats);
  // One update of all values from all gradients with rate `lr`.
  void Step(std::span<float> values, std::span<const float> gradients, double lr);

  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }
  // Name and arena of each slot, in fixed order.
  std::vector<std::pair<std::string, AlignedBuffer<float>>>& slots() { return slots_; }

 private:
  DenseOptimizer config_;
  int64_t steps_ = 0;
  std::vector<std::pair<std::string, AlignedBuffer<float>>> slots_;
};

// grad_clipping (spec 5.6) on the whole arena; returns the global norm before clipping (of norm_type), 0 for kNone and kValue.
double ClipGradients(const TrainConfig& config, std::span<float> gradients);

}  // namespace pepnet

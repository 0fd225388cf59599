// Dense optimizers on the flat parameter arena (formulas of torch.optim, spec 5.3), without torch.
//
// State:     named slots ("exp_avg", "exp_avg_sq", "momentum_buffer", "sum", ...), one float of
//            each for every float that is stepped, plus the number of steps made; both go into
//            checkpoints.
// Threads:   one at a time. Bits: elementwise, so independent of threads and of how the arena is
//            cut.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "common/job_config/train_config.h"
#include "worker/model/parameters.h"

namespace pepnet {

// A piece of the parameter arena, in floats.
struct ArenaRun {
  size_t begin = 0, size = 0;
};

// The runs of the parameters for which `wanted(i)` is true, in the arena's order. Parameters that
// follow one another are one run, with the padding between and behind them.
std::vector<ArenaRun> RunsOfParameters(const DenseParameters& parameters,
                                       const std::function<bool(int)>& wanted);

// One optimizer, of some of the arena or of all of it.
class DenseOptimizerState {
 public:
  // `runs` are in their order and do not overlap.
  DenseOptimizerState(const DenseOptimizer& config, std::vector<ArenaRun> runs);
  DenseOptimizerState(const DenseOptimizer& config, size_t arena_floats)
      : DenseOptimizerState(config, std::vector<ArenaRun>{{0, arena_floats}}) {}
  // One update of the runs, from their gradients, with rate `lr`. Both are the whole arena.
  void Step(std::span<float> values, std::span<const float> gradients, double lr);

  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }
  // Name and floats of each slot, in fixed order; the floats of one run stand behind those of the
  // run before.
  std::vector<std::pair<std::string, AlignedBuffer<float>>>& slots() { return slots_; }
  // The place in a slot of the state of the arena's float `begin`. Precondition: a run holds it.
  size_t OffsetInSlot(size_t begin) const;

 private:
  void StepRun(size_t n, float* w, const float* g, size_t slot_offset, double lr);

  DenseOptimizer config_;
  std::vector<ArenaRun> runs_;
  int64_t steps_ = 0;
  std::vector<std::pair<std::string, AlignedBuffer<float>>> slots_;
};

// grad_clipping (spec 5.6) on the whole arena; returns the global norm before clipping (of
// norm_type), 0 for kNone and kValue.
double ClipGradients(const TrainConfig& config, std::span<float> gradients);

}  // namespace pepnet

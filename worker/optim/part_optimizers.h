// DenseOptimizers: all optimizers of a job's dense parameters. A trained parameter belongs to the
// first of TrainConfig::part_optimizers whose pattern matches its name, else to the main optimizer
// (spec 5.3).
//
// Names:     those of checkpoints; a part of an mlp or autodis embedding is matched without its
//            "_<feature>.weight", as the reference calls it, which keeps those of all features in
//            one (spec 3.12).
// State:     each parameter has the slots of its own optimizer, and statistics have none. All
//            optimizers step together.
// Threads:   one at a time.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/job_config/job_config.h"
#include "worker/model/parameters.h"
#include "worker/optim/dense_optimizer.h"

namespace pepnet {

// By parameter: an index into config.train.part_optimizers, or one of the two below.
inline constexpr int kMainOptimizer = -1, kNoOptimizer = -2;  // kNoOptimizer: not trained
std::vector<int> OptimizersOf(const JobConfig& config, const std::vector<ParameterSpec>& specs);

// Of each part optimizer that gets no parameter a sentence: which pattern, and that it is ignored.
std::vector<std::string> IdlePartOptimizers(const JobConfig& config);

class DenseOptimizers {
 public:
  DenseOptimizers(const JobConfig& config, const DenseParameters& parameters);

  // One update of all trained parameters. Both spans are the whole arena; `part_rates` by
  // TrainConfig::part_optimizers.
  void Step(std::span<float> values, std::span<const float> gradients, double rate,
            std::span<const double> part_rates);

  int64_t steps() const { return main_.steps(); }
  void set_steps(int64_t steps);

  // One slot of one parameter, in the order of checkpoints: optimizer by optimizer, the main one
  // first; slot by slot; in the order of the parameters. The floats live as long as this object.
  struct Slot {
    std::string name;  // "exp_avg"
    int parameter = 0;
    std::span<float> values;
  };
  std::vector<Slot> Slots();

  // Indices into TrainConfig::part_optimizers of those that have parameters.
  const std::vector<int>& parts() const { return parts_; }

 private:
  std::vector<int> owners_;  // by parameter
  std::vector<size_t> offsets_, elements_;
  DenseOptimizerState main_;
  std::vector<int> parts_;
  std::vector<DenseOptimizerState> part_states_;  // by parts_
};

}  // namespace pepnet

// DenseAverages: the exponential moving average of the dense parameters (DenseOptimizer.ema, spec
// 5.3).
//
//   first optimizer step: average = w;   later: average = average + (1 - decay) (w - average)
//
// which is decay average + (1 - decay) w. Before the first step it is w, too. Statistics
// (ParameterSpec::trained) have no average: they are read as they are.
//
// Threads:   one at a time. Bits: elementwise.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "worker/model/parameters.h"
#include "worker/optim/dense_optimizer.h"

namespace pepnet {

class DenseAverages {
 public:
  // Equal to the parameters. Without a decay there are none: every method does nothing.
  DenseAverages(std::optional<double> decay, const DenseParameters& parameters);

  bool kept() const { return decay_.has_value(); }
  // Whether parameter i has an average.
  bool Has(int i) const { return kept() && trained_[i]; }
  // The average of parameter i. Precondition: it has one.
  std::span<float> value(int i) { return {floats_.data() + offsets_[i], elements_[i]}; }

  // Makes the averages equal to the parameters, whose arena `values` is.
  void StartFrom(std::span<const float> values);
  // Behind a step of the optimizers; `first`: it was their first one.
  void Update(std::span<const float> values, bool first);
  // Puts each in the other's place.
  void Exchange(std::span<float> values);

 private:
  std::optional<double> decay_;
  std::vector<bool> trained_;
  std::vector<size_t> offsets_, elements_;
  std::vector<ArenaRun> runs_;   // of the trained parameters
  AlignedBuffer<float> floats_;  // laid out as the arena
};

// While it lives, the averages stand where the parameters stand otherwise. Borrows both; nothing
// may step meanwhile.
class AveragesInPlace {
 public:
  AveragesInPlace(DenseAverages* averages, DenseParameters* parameters)
      : averages_(averages), parameters_(parameters) {
    averages_->Exchange(parameters_->values());
  }
  ~AveragesInPlace() { averages_->Exchange(parameters_->values()); }
  AveragesInPlace(const AveragesInPlace&) = delete;
  AveragesInPlace& operator=(const AveragesInPlace&) = delete;

 private:
  DenseAverages* const averages_;
  DenseParameters* const parameters_;
};

}  // namespace pepnet

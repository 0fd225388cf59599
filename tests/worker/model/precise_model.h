// The network of worker/model once more in float64, by libtorch's autograd: the yardstick for the
// float32 engines, whose own rounding it does not have. Dropout masks, row weights and initial
// values are those of float32.
#pragma once

#include <cstdint>
#include <vector>

#include "common/job_config/job_config.h"
#include "worker/model/parameters.h"
#include "worker/model/pepnet_model.h"

namespace pepnet {

struct PreciseStep {
  std::vector<double> losses;  // as LossReport::values
  // Gradients by parameter, in the order of DenseParameters::specs().
  std::vector<std::vector<double>> dense;
  std::vector<std::vector<double>> leaves;  // gradients by leaf; empty as the engines' are
  // Evaluation, without dropout, in the order of PepnetModel::Forward().
  std::vector<std::vector<double>> outputs;
};

// Every weight and every leaf's value is first multiplied by 1 + noise * u, u from [-1, 1): how far
// the results move then is how far rounding may move them.
PreciseStep TakePreciseStep(const JobConfig& config, DenseParameters* parameters,
                            const ModelInput& input, uint64_t seed, double gradient_scale,
                            double noise = 0, uint64_t noise_seed = 0);

}  // namespace pepnet

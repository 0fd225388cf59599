// The model of spec 1 and 2 once more, row by row in double with plain loops: what the libtorch
// model is compared with. Stop-gradients are made explicit, so that a difference quotient of
// Evaluate() is the gradient the model must return: with `frozen`, the quantities behind sg() are
// taken from there instead of the current point.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/job_config/job_config.h"
#include "worker/data/batch.h"

namespace pepnet {

// The point at which the function is evaluated.
struct ReferencePoint {
  std::map<std::string, std::vector<double>> parameters;
  std::vector<std::vector<double>> leaves;  // [feature][row * dim + column]
};

struct ReferenceValues {
  std::vector<std::vector<double>> main, shared;         // [row]: M and E
  std::vector<std::vector<std::vector<double>>> towers;  // [task * domain_count + domain][row]: z
  // In tower order: sum_i l_i * scale_i; in training the penalties of variational dropout behind
  // them.
  std::vector<double> losses;
  double total = 0;
};

struct ReferenceDropout {
  bool enabled = false;
  uint64_t seed = 0;
  int64_t step = 0;
};

ReferenceValues Evaluate(const JobConfig& config, const Batch& batch,
                         const std::vector<std::vector<float>>& scales, const ReferencePoint& point,
                         const ReferenceDropout& dropout, const ReferenceValues* frozen);

double ReferenceActivation(const Activation& activation, double x, double prelu_weight);

// l of one row and its raw output z, of a loss with sessions the row's own part. `frozen_z` stands
// behind the focal loss's sg().
double ReferenceLoss(const Loss& loss, const std::vector<double>& z, double label, double frozen_z);

}  // namespace pepnet

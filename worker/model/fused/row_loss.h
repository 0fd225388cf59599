// The losses of spec 2 for one row in plain double, with their gradient: the fused engine's losses. Without torch.
#pragma once

#include <cstdint>
#include <vector>

#include "common/job_config/job_config.h"
#include "worker/data/batch.h"

namespace pepnet {

// One reported loss.
struct LossSlot {
  int task = 0;
  const Loss* loss = nullptr;  // borrowed from the config
};

// In tower order. A tower's later loss replaces an earlier one of the same name, as in the reference.
std::vector<LossSlot> LossSlots(const JobConfig& config);

// Returns l of row `row` and adds factor * dl/dz to dz[classes] (null: no gradient). z: the tower's raw output.
double RowLossAndGradient(const Loss& loss, int classes, const float* z, const LabelColumn& label, int64_t row,
                          double factor, float* dz);

}  // namespace pepnet

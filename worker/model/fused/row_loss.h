// The losses of spec 2 for one row in plain double, with their gradient: the fused engine's losses.
// Without torch. Of a loss with sessions the row's own part (worker/model/session_loss.h has the
// other).
#pragma once

#include <cstdint>

#include "common/job_config/job_config.h"
#include "worker/data/batch.h"

namespace pepnet {

// Returns l of row `row` and adds factor * dl/dz to dz[classes] (null: no gradient). z: the tower's
// raw output.
double RowLossAndGradient(const Loss& loss, int classes, const float* z, const LabelColumn& label,
                          int64_t row, double factor, float* dz);

}  // namespace pepnet

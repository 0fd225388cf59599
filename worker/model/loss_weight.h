// Row weights of each task (spec 2 and 2.1), without torch.
//
//   w       = sample weight (or 1) * (in_w if indicator > 0 else out_w)
//   scale_i = weighted ? weight * w_i / W : 1 / n
// with W the sum of w over the global batch, n its rows, and x/0 -> 0, so that the loss of the
// global batch is sum_i l_i * scale_i over all workers, and servers and allreduce divide by
// nothing.
#pragma once

#include <vector>

#include "common/job_config/job_config.h"
#include "worker/data/batch.h"

namespace pepnet {

// Loss normalizers of one step, the same on every worker.
struct LossNormalizers {
  double rows = 0;  // of the global batch
  // By tower; for an unweighted tower, or one with `weight` alone: rows.
  std::vector<double> weight_sums;
};

// This worker's contribution: rows and weight sums of its slice. Adding them over workers gives
// LossNormalizers.
LossNormalizers LocalLossNormalizers(const JobConfig& config, const Batch& batch);

// w of each row before normalisation; empty where every row has w = 1.
std::vector<double> RowWeights(const Tower& tower, const Batch& batch);

// scale[tower][row] for this worker's rows.
std::vector<std::vector<float>> RowScales(const JobConfig& config, const Batch& batch,
                                          const LossNormalizers& global);

}  // namespace pepnet

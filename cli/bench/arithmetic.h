// The multiplications that one training step of a config needs, to give a rate as a share of the
// matrix peak.
#pragma once

#include <vector>

#include "common/job_config/job_config.h"

namespace pepnet {

// Forward, weight gradients, and input gradients but for detached columns; matrix products only.
// task_rows: rows that count for each task; towers_per_row: domain towers that each of them goes
// through.
double StepMultiplications(const JobConfig& config, double rows,
                           const std::vector<double>& task_rows, double towers_per_row);

// For each task, how many rows have a scale other than zero.
std::vector<double> CountingRows(const std::vector<std::vector<float>>& scales);

}  // namespace pepnet

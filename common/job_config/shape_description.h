// ShapeDescription: what a checkpoint of one config must share with another config to fit it.
#pragma once

#include <string>

#include "common/job_config/job_config.h"

namespace pepnet {

// Canonical description of what fixes shapes and meaning (tables, rows, widths, bucketising,
// groups, towers, optimizer kinds), one fact per line: equal text means a checkpoint of one config
// fits the other (design section 7).
std::string ShapeDescription(const JobConfig& config);

// First fact in which the two descriptions differ, as a sentence; empty if equal.
std::string FirstDifference(const std::string& ours, const std::string& theirs);

}  // namespace pepnet

// Cuts the gradient arena into the buckets that are summed over the workers while backward goes on,
// without torch.
#pragma once

#include <cstddef>
#include <vector>

#include "worker/model/parameters.h"

namespace pepnet {

struct GradientBucket {
  size_t begin = 0, end = 0;  // floats of the arena
  std::vector<int> parameters;
};

// From the arena's end to its beginning, because backward writes the last layers first; cut between
// parameters as soon as a bucket has `bucket_bytes`. A function of the parameter list alone, so the
// same on every worker. Every float is in one bucket.
std::vector<GradientBucket> CutIntoBuckets(const DenseParameters& parameters, size_t bucket_bytes);

}  // namespace pepnet

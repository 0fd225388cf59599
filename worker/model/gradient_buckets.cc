#include "worker/model/gradient_buckets.h"

namespace pepnet {

std::vector<GradientBucket> CutIntoBuckets(const DenseParameters& parameters, size_t bucket_bytes) {
  std::vector<GradientBucket> buckets;
  size_t end = parameters.arena_floats();
  for (int i = static_cast<int>(parameters.specs().size()) - 1; i >= 0; --i) {
    // A bucket is closed by the parameter that fills it, never in the middle of one: it is sent
    // when all of its gradients are final.
    if (buckets.empty() ||
        (buckets.back().end - buckets.back().begin) * sizeof(float) >= bucket_bytes) {
      buckets.push_back({end, end, {}});
    }
    end = parameters.offset(i);
    buckets.back().begin = end;
    buckets.back().parameters.push_back(i);
  }
  return buckets;
}

}  // namespace pepnet

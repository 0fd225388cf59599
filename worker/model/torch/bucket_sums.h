// BucketSums: sums the gradients on a device over the workers, bucket by bucket, while backward
// goes on. Internal to this folder: includes torch.
//
// Order:   buckets are begun strictly in their order, each as soon as backward has written all its
//          parameters and the buckets before it have begun; Finish() begins what is left, with
//          zeros for a parameter that got no gradient. So every worker begins the same sums in the
//          same order, whatever its rows.
// Threads: backward may call the hooks from a thread of libtorch; Begin() and Finish() are called
//          by the one that waits for it.
// Failure: the first error is kept; no sum is begun after it, and Finish() returns it.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/gpu/device_collective.h"
#include "worker/model/gradient_buckets.h"
#include "worker/model/torch/layers.h"

namespace pepnet {

class BucketSums {
 public:
  // `gradients`: arena on the device. Puts hooks on `leaves` (by parameter name), so it must
  // outlive every backward of theirs.
  BucketSums(const DenseParameters& parameters, float* gradients,
             const std::map<std::string, at::Tensor>& leaves, DeviceCollective* sums,
             size_t bucket_bytes);
  BucketSums(const BucketSums&) = delete;
  BucketSums& operator=(const BucketSums&) = delete;

  // Before backward. `stream`: the one that backward's kernels are queued on.
  void Begin(void* stream);
  // After backward (or without one): when it returns OK, what is queued on the stream later sees
  // the sums.
  Status Finish();

 private:
  void Done(size_t bucket);  // one more of its parameters
  void BeginNext();

  float* const gradients_;
  DeviceCollective* const sums_;
  const std::vector<GradientBucket> buckets_;
  // Of the step under way.
  void* stream_ = nullptr;
  size_t next_ = 0;              // first bucket that has not begun
  std::vector<size_t> missing_;  // by bucket: parameters that backward has not written
  Status status_;
};

}  // namespace pepnet

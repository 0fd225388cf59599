#include "worker/model/torch/bucket_sums.h"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <functional>
#include <memory>
#include <utility>

namespace pepnet {
namespace {

// Runs once per backward, when the leaf's .grad is complete.
class Hook : public torch::autograd::PostAccumulateGradHook {
 public:
  explicit Hook(std::function<void()> done) : done_(std::move(done)) {}
  void operator()(const at::Tensor&) override { done_(); }

 private:
  const std::function<void()> done_;
};

}  // namespace

BucketSums::BucketSums(const DenseParameters& parameters, float* gradients,
                       const std::map<std::string, at::Tensor>& leaves, DeviceCollective* sums,
                       size_t bucket_bytes)
    : gradients_(gradients), sums_(sums), buckets_(CutIntoBuckets(parameters, bucket_bytes)) {
  for (size_t b = 0; b < buckets_.size(); ++b) {
    for (const int i : buckets_[b].parameters) {
      const auto leaf = leaves.find(parameters.specs()[i].name);
      if (leaf == leaves.end()) continue;  // never written: Finish() begins its bucket
      torch::autograd::impl::set_post_acc_grad_hooks(
          leaf->second, std::make_unique<Hook>([this, b] { Done(b); }));
    }
  }
}

void BucketSums::Begin(void* stream) {
  stream_ = stream;
  next_ = 0;
  missing_.clear();
  for (const GradientBucket& bucket : buckets_) missing_.push_back(bucket.parameters.size());
}

// Gradients become final in the order of backward, which may differ between workers (a part that
// one worker's rows do not use). Sums must begin in one order on all, or they would wait for each
// other crosswise (law L6); so a bucket that is full waits for those before it.
void BucketSums::Done(size_t bucket) {
  --missing_[bucket];
  while (next_ < buckets_.size() && missing_[next_] == 0) BeginNext();
}

void BucketSums::BeginNext() {
  const GradientBucket& bucket = buckets_[next_++];
  // After an error the counting goes on, since backward cannot be stopped, but nothing more is
  // sent.
  if (!status_.ok()) return;
  status_ =
      sums_->BeginSum(gradients_ + bucket.begin, bucket.end - bucket.begin, stream_,
                      absl::StrCat("dense gradients, bucket ", next_, " of ", buckets_.size()));
}

Status BucketSums::Finish() {
  // These buckets have a parameter that got no gradient in this step: its zeros are summed like all
  // else.
  while (next_ < buckets_.size()) BeginNext();
  PEPNET_RETURN_IF_ERROR(status_);
  return sums_->FinishSums(stream_, "dense gradients");
}

}  // namespace pepnet

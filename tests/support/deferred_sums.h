// DeferredSums: a DeviceCollective whose "device" is host memory: sums are noted when they begin
// and made, in worker order by the collective behind it, when they are finished. Finds an array
// that is touched in between.
//
// Threads: as DeviceCollective.
#pragma once

#include <algorithm>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/gpu/device_collective.h"

namespace pepnet {

class DeferredSums : public DeviceCollective {
 public:
  explicit DeferredSums(Collective* host) : host_(host) {}

  struct Sum {
    float* data;
    size_t elements;
    std::string what;
    std::vector<float> values;  // when it began
  };
  // Called when a sum begins, before it is noted; its error is BeginSum()'s.
  std::function<Status(const Sum&)> on_begin;
  // All that were begun since the object was made.
  const std::vector<std::string>& begun() const { return begun_; }

  int device() const override { return 0; }
  Status BeginSum(float* data, size_t elements, void* /*stream*/,
                  const std::string& what) override {
    Sum sum{data, elements, what, std::vector<float>(data, data + elements)};
    if (on_begin) PEPNET_RETURN_IF_ERROR(on_begin(sum));
    begun_.push_back(what);
    open_.push_back(std::move(sum));
    return absl::OkStatus();
  }
  Status FinishSums(void* /*stream*/, const std::string& /*what*/) override {
    for (const Sum& sum : open_) {
      if (!std::equal(sum.values.begin(), sum.values.end(), sum.data)) {
        return absl::InternalError(absl::StrCat(sum.what, " was written to behind BeginSum()"));
      }
      PEPNET_RETURN_IF_ERROR(
          host_->AllreduceSum(std::span<float>(sum.data, sum.elements), sum.what));
    }
    open_.clear();
    return absl::OkStatus();
  }

  int index() const override { return host_->index(); }
  int count() const override { return host_->count(); }
  Status AllreduceSum(std::span<float> data, const std::string& what) override {
    return host_->AllreduceSum(data, what);
  }
  Status AllreduceSum(std::span<double> data, const std::string& what) override {
    return host_->AllreduceSum(data, what);
  }
  Status AllreduceSum(std::span<int64_t> data, const std::string& what) override {
    return host_->AllreduceSum(data, what);
  }
  StatusOr<std::vector<std::string>> Allgather(const std::string& mine,
                                               const std::string& what) override {
    return host_->Allgather(mine, what);
  }
  StatusOr<std::vector<std::string>> GatherToFirst(const std::string& mine,
                                                   const std::string& what) override {
    return host_->GatherToFirst(mine, what);
  }
  StatusOr<std::string> BroadcastFromFirst(const std::string& mine,
                                           const std::string& what) override {
    return host_->BroadcastFromFirst(mine, what);
  }
  Status Barrier(const std::string& what) override { return host_->Barrier(what); }

 private:
  Collective* const host_;
  std::vector<Sum> open_;
  std::vector<std::string> begun_;
};

}  // namespace pepnet

// DataWatch: looks at the training batches for what is almost always a mistake: a label that is
// never 1 or always 1, a feature that is the same in every row or tells a label, raw values far
// from 0, a domain without rows or positives.
//
// Cost:    a comparison per row and label, and per plain raw value; per row and feature only until
//          the feature has changed once and is known not to tell a label.
// Threads: one.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/job_config.h"
#include "common/net/collective.h"
#include "worker/data/batch.h"
#include "worker/watch/cell.h"
#include "worker/watch/domain_counts.h"
#include "worker/watch/label_copies.h"
#include "worker/watch/warning.h"

namespace pepnet {

class DataWatch {
 public:
  explicit DataWatch(const JobConfig* config);

  void Observe(const Batch& batch);
  // The warnings of what all workers saw; empty on workers other than 0. A collective operation.
  StatusOr<std::vector<Warning>> Warnings(Collective* collective) const;

 private:
  struct Range {  // of values
    bool known = false;
    float low = 0, high = 0;
    void Add(std::span<const float> values);
  };

  const JobConfig* config_;
  int64_t rows_ = 0;
  // The labels, ascending, that a tower of one or two classes learns.
  const std::vector<int> targets_;
  std::vector<int64_t> positives_;  // by target
  std::vector<Cell> first_;         // by feature
  std::vector<bool> changed_;       // by feature
  std::vector<Range> ranges_;       // by feature, of those that are plain raw values
  LabelCopies copies_;
  DomainCounts domains_;
};

}  // namespace pepnet

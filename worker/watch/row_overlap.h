// RowOverlap: whether rows that were trained on stand among those that are evaluated, under
// whatever file name. Rows are compared by a hash of all features that are read and of all labels.
// A sample of the training rows is looked up among the eval rows; so that rows that are alike by
// nature prove nothing, a sample of the eval rows is looked up there as well:
//
//   trained_share = trained rows of the sample that an eval row equals
//   own_share     = eval rows of the sample that another eval row equals: what chance would give a
//                 new row, too
//
// and there is a warning if the first is at least 1 %, twice the second and 1 % above it, and 20
// rows.
//
// Order:   which rows are in the samples depends on their numbers alone, so any number of workers
//          says the same.
// Cost:    a hash of every 16th training row, and of every row of the one evaluation that is
//          compared.
// Memory:  8 bytes a row of that evaluation.
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/job_config.h"
#include "common/net/collective.h"
#include "worker/data/batch.h"
#include "worker/watch/warning.h"

namespace pepnet {

// Every kStride-th row of the global batches in the order of training, until all workers together
// hold kMost of them.
class TrainedRows {
 public:
  static constexpr int64_t kStride = 16, kMost = 65536;

  explicit TrainedRows(const JobConfig* config) : config_(config) {}
  void Observe(const Batch& batch);
  const std::vector<uint64_t>& hashes() const { return hashes_; }  // of this worker's rows

 private:
  const JobConfig* config_;
  int64_t rows_before_ = 0;
  std::vector<uint64_t> hashes_;
};

class RowOverlap {
 public:
  explicit RowOverlap(const JobConfig* config) : config_(config) {}
  void Add(const Batch& batch);
  // Compares what all workers added with what all of them trained. The same on every worker. A
  // collective operation.
  StatusOr<std::optional<Warning>> Compare(const TrainedRows& trained,
                                           Collective* collective) const;

 private:
  const JobConfig* config_;
  int64_t rows_before_ = 0;
  std::vector<uint64_t> hashes_;   // of this worker's rows
  std::vector<uint64_t> sampled_;  // those of them that are looked up
};

// Of the features that are read and of the labels of the tasks, in one row.
uint64_t RowHash(const JobConfig& config, const Batch& batch, int64_t row);

}  // namespace pepnet

// BatchDecoder: turns the rows of a slice into a Batch.
//
// Threads: immutable, used by all decoding threads of a loader.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/job_config.h"
#include "worker/data/batch.h"
#include "worker/data/encode/feature_encoder.h"
#include "worker/data/encode/label_encoder.h"
#include "worker/data/load/batch_loader.h"
#include "worker/data/rows/batch_cutter.h"

namespace pepnet {

// The columns of the chunks that each consumer reads; those of features as FeatureEncoder::Encode()
// takes them.
struct ColumnPlan {
  std::vector<std::string> names;                               // unique, in order of first use
  std::vector<int> features, labels, sample_weights, reserved;  // labels: -1 where one is not read
  int event_time = -1;                                          // -1: not read

  int Add(const std::string& name);
};
ColumnPlan PlanColumns(const JobConfig& config, LabelSet labels,
                       const std::vector<std::string>& reserved, bool event_times = false);

class BatchDecoder {
 public:
  // reserved_schema: null without reserved columns.
  static StatusOr<std::unique_ptr<BatchDecoder>> Create(
      const JobConfig& config, const LoaderOptions& options, DatasetType file_type, ColumnPlan plan,
      std::shared_ptr<arrow::Schema> reserved_schema);

  // Adds to *counts what was replaced on the way.
  StatusOr<Batch> Decode(const CutBatch& cut, EncodeCounts* counts) const;
  const std::shared_ptr<arrow::Schema>& reserved_schema() const { return reserved_schema_; }

 private:
  BatchDecoder() = default;
  StatusOr<std::shared_ptr<arrow::RecordBatch>> Reserve(const RowSelection& rows) const;

  ColumnPlan plan_;
  std::shared_ptr<arrow::Schema> reserved_schema_;
  std::unique_ptr<FeatureEncoder> features_;
  std::unique_ptr<LabelEncoder> labels_;  // null if none are read
  std::optional<EventTimeColumn> event_time_;
  bool texts_are_numbers_ = false;
};

}  // namespace pepnet

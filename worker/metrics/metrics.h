// Metrics of one evaluation (spec 6.1), accumulated exactly so that any number of workers reports
// the same value.
//
// Use:       one MetricSet per evaluation and worker; Add() per batch; Finish() merges over workers
//            (a collective operation).
// Threads:   one at a time. torch-free.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/job_config.h"
#include "common/net/collective.h"
#include "worker/data/batch.h"

namespace pepnet {

class MetricSet {
 public:
  explicit MetricSet(const JobConfig* config);
  ~MetricSet();

  // scores[tower]: rows (or rows * num_class) floats: what PepnetModel's SelectMetricInputs
  // returns.
  void Add(const Batch& batch, const std::vector<std::vector<float>>& scores);
  // Loss of one global batch, this worker's part (sum over workers = loss); weighted by the batch's
  // global rows.
  void AddLosses(const std::vector<std::string>& names, const std::vector<double>& values,
                 int64_t global_rows);

  // Also "grouped_auc_ctr_by_impressions", and of a tower with a task space "auc_cvr_in_task_space"
  // (common/job_config/evaluation_metrics.h). "auc_ctr" -> value for all metrics and losses, equal
  // on every worker. `collective` null: one worker.
  StatusOr<std::map<std::string, double>> Finish(Collective* collective);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pepnet

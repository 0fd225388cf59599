// TrainMetrics: the towers' train_metrics (spec 6.1), measured on the training batches.
//
// Every metric has a window of decay_step steps. Inside it each worker counts its own rows; at its end the counts are
// summed over the workers and folded, after which all workers hold the same:
//   auc:        counts = r counts + (1 - r) window, value = AUC(counts).   The first window: counts = window.
//   the others: value = r value + (1 - r) metric(window).                   The first window: value = metric(window).
//
// Use:     Add() then EndStep() after every step on every worker; Gather() before saving (both collective operations).
// Threads: one.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/job_config.h"
#include "common/net/collective.h"
#include "worker/data/batch.h"
#include "worker/metrics/metric_counts.h"

namespace pepnet {

class TrainMetrics {
 public:
  explicit TrainMetrics(const JobConfig* config);

  bool empty() const { return items_.empty(); }
  // scores[tower], as LossReport holds them; those of a tower without train metrics are not read.
  void Add(const Batch& batch, const std::vector<std::vector<float>>& scores);
  Status EndStep(Collective* collective);
  // "auc_ctr" -> value, for metrics whose first window has ended. Equal on every worker.
  std::map<std::string, double> Values() const;

  // Moves what the workers counted in the open windows to worker 0, whose State() is then that of the job.
  Status Gather(Collective* collective);
  // By metric name; for the checkpoint.
  std::map<std::string, std::vector<double>> State() const;
  // On every worker with worker 0's State(). A metric that the state does not know, or knows with other thresholds,
  // starts afresh; their names are returned.
  std::vector<std::string> Restore(const std::map<std::string, std::vector<double>>& state, bool first_worker);

 private:
  struct Item {
    const TrainMetric* metric;
    int tower;
    MetricSums sums;
    std::vector<double> window;  // counts of this worker in the open window
    std::vector<double> counts;  // MetricType::decays_counts: of the windows so far, decayed
    double value = 0;
    int64_t steps = 0;      // finished steps
    bool measured = false;  // a window has ended
  };
  void Fold(Item* item) const;

  const JobConfig* config_;
  std::vector<Item> items_;
};

}  // namespace pepnet

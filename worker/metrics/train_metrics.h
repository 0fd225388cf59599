// TrainMetrics: the towers' train_metrics (spec 6.1), measured on the training batches.
//
// Every metric has a window of decay_step steps. Inside it each worker counts its own rows; at its
// end the counts are summed over the workers and folded, after which all workers hold the same:
//   auc:        counts = r counts + (1 - r) window, value = AUC(counts)
//   the others: value = r value + (1 - r) metric(window)
// where those of the first window with a value are its own; the others stay where a window has no
// value.
// Beside that decayed value each metric has that of the last window alone and that of its lifetime,
// all windows since the training began; and these two for each slice of eval_config.slice_by
// (sliced_sums.h).
// A grouped AUC needs the rows of a window in one place: worker 0 gathers them at its end, measures
// them and tells the others. Groups are those of a window: over the lifetime a group counts once
// (or by its rows) for each window in which it has both classes. It has a second value, by
// impressions.
//
// Use:     Add() then EndStep() after every step on every worker; Gather() before saving (both
//          collective operations).
// State:   "auc_ctr": the decayed value and the open window. "auc_ctr/lifetime": the last window
//          and the lifetime. "auc_ctr/by/<column>": SlicedSums::State(). A checkpoint without the
//          last two is one of an earlier version. "grouped_auc_ctr/rows": those of the open window.
// Memory:  of a grouped AUC 16 bytes a row of the open window, and what SlicedSums takes for each
//          column; on worker 0 those of all workers. The config bounds the rows of a window.
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
#include "worker/metrics/scored_rows.h"
#include "worker/metrics/sliced_sums.h"

namespace pepnet {

// A train metric of the last window and of its lifetime.
struct TrainWindows {
  std::string metric;  // "auc_ctr", "grouped_auc_ctr_by_impressions"
  WindowValue window, lifetime;
};

// The same on the rows of one slice.
struct TrainSlice {
  std::string column;
  Slice::Kind kind = Slice::Kind::kValue;  // never kAll, which TrainWindows has
  std::string value;                       // as Slice::value
  std::string task;                        // name of the tower
  TrainWindows windows;
};

class TrainMetrics {
 public:
  explicit TrainMetrics(const JobConfig* config);

  bool empty() const { return items_.empty(); }
  // scores[tower], as LossReport holds them; those of a tower without train metrics are not read.
  // InvalidArgument if a column of slice_by holds numbers that are not whole.
  Status Add(const Batch& batch, const std::vector<std::vector<float>>& scores);
  Status EndStep(Collective* collective);
  // "auc_ctr" -> value, for metrics of which a window has had a value. Equal on every worker.
  std::map<std::string, double> Values() const;
  // Of the metrics whose first window has ended, by tower in the order of the config; and of their
  // slices, column by column, the slices with most rows first. Equal on every worker.
  std::vector<TrainWindows> Windows() const;
  std::vector<TrainSlice> Slices() const;

  // Moves what the workers counted in the open windows to worker 0, whose State() is then that of
  // the job.
  Status Gather(Collective* collective);
  // By metric name; for the checkpoint.
  std::map<std::string, std::vector<double>> State() const;
  // On every worker with worker 0's State(). What the state does not know, or knows with other
  // thresholds or another slice_top, starts afresh; returned are what it is, for a log: "auc_ctr",
  // "auc_ctr by tab", "auc_ctr since the start".
  std::vector<std::string> Restore(const std::map<std::string, std::vector<double>>& state,
                                   bool first_worker);

 private:
  struct Item {
    const TrainMetric* metric;
    int tower;
    MetricSums sums;
    std::vector<double> window;  // counts of this worker in the open window
    // MetricType::decays_counts: of the windows so far, decayed
    std::vector<double> counts;
    // Of the job: the last window, all that have ended.
    std::vector<double> last = {}, lifetime = {};
    std::vector<SlicedSums> slices = {};  // by EvalConfig::slice_by
    ScoredRows rows = {};                 // of the open window, if the metric needs them
    std::vector<double> values = {};      // decayed, by MetricSums::values()
    int64_t steps = 0;                    // finished steps
    bool measured = false;                // a window has ended
    bool has_value = false;               // one has had a value
  };
  void Fold(Item* item) const;
  Status CountRows(Collective* collective, Item* item) const;

  const JobConfig* config_;
  std::vector<Item> items_;
};

}  // namespace pepnet

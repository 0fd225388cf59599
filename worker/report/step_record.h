// The report of a training run about one of its steps.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "worker/metrics/train_metrics.h"
#include "worker/watch/table_watch.h"

namespace pepnet {

struct StepRecord {
  int64_t step = 0;            // finished steps
  int64_t total_steps = 0;     // at the end of the run; 0: unknown
  int64_t epoch = 0;           // finished passes
  int64_t total_epochs = 0;    // at the end of the run; 0: unknown
  double epoch_fraction = -1;  // of the current pass; < 0: unknown
  double total_fraction = -1;  // of the whole run; < 0: unknown
  std::vector<std::string> loss_names;
  std::vector<std::string> loss_labels;  // short ones, for the progress line
  std::vector<double> losses;
  std::vector<double> loss_weights;  // in the total, with Pareto weights; empty: 1
  double lr_sparse = 0, lr_dense = 0;
  // Of the part optimizers that have parameters: number and rate.
  std::vector<std::pair<int, double>> lr_parts;
  int64_t rows = 0;                             // global rows trained since the run started
  std::map<std::string, double> train_metrics;  // those that have a value already
  std::vector<TrainWindows> train_windows;      // of the same metrics
  std::vector<TrainSlice> train_slices;         // of eval_config.slice_by
  // Of the last dense step, before clipping; empty if not asked for: "global_gradient_norm",
  // "<parameter>/gradient_norm".
  std::vector<std::pair<std::string, double>> gradient_norms;
  std::vector<DynamicTableCounts> tables;  // those that grow, as of `step`
};

}  // namespace pepnet

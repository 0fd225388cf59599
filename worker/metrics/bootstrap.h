// Bootstrap: how far AUC, logloss and PCOC of each task would vary if other rows of the same kind
// had been evaluated. Rows are drawn anew many times, and the middle 95 % of the values is the
// interval (Efron, "Bootstrap methods", 1979). A row is drawn Poisson(1) times, independently of
// the others: what n draws of n rows come to for large n, without an order that workers would have
// to agree on.
//
//   draws(row, round) = Poisson(1) by inversion of a number that is a function of (seed, round,
//   row) auc, logloss, pcoc as in slices.h, each row counting as often as it was drawn
//
// Use:      Add() per batch; Finish() once (a collective operation).
// Memory:   16 bytes a row and task on each worker; worker 0 gathers them.
// Order:    a row is known by its number in the input, so any number of workers and threads gives
//           the same bits.
// Cost:     one pass over the rows per four rounds and task, on worker 0's threads.
// Threads:  one at a time; Finish() has a team of its own. torch-free.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/job_config.h"
#include "common/net/collective.h"
#include "worker/data/batch.h"
#include "worker/metrics/scored_rows.h"

namespace pepnet {

struct Interval {
  double value = 0;  // on the rows as they are
  double low = 0, high = 0;
};

struct TaskIntervals {
  std::string task;
  int rounds = 0;
  // nullopt where the rows as they are have no value, or no drawn ones had (one class alone).
  std::optional<Interval> auc, logloss, pcoc;
};

// Of scored rows, their keys being their numbers in the input. threads >= 1.
TaskIntervals DrawIntervals(const std::string& task, std::vector<ScoredRow> rows, int rounds,
                            uint64_t seed, int threads);

class BootstrapSet {
 public:
  // Borrows the config. rounds 0: there is nothing to do, and no interval.
  BootstrapSet(const JobConfig* config, int rounds, uint64_t seed);

  // scores[tower] as for MetricSet. All workers add their slices of the same global batches.
  void Add(const Batch& batch, const std::vector<std::vector<float>>& scores);
  // On worker 0, of every task with probabilities; empty on the others.
  StatusOr<std::vector<TaskIntervals>> Finish(Collective* collective, int threads);

 private:
  const JobConfig* config_;
  const int rounds_;
  const uint64_t seed_;
  int64_t rows_before_ = 0;        // of the global batches added
  std::vector<ScoredRows> tasks_;  // by tower
};

}  // namespace pepnet

// EvaluationWatch: looks at an evaluation for what is almost always a mistake: an AUC that is too
// good to be true, and predictions that are off by a factor on the whole.
//
//   predicted / observed = (sum of w p) / (sum of w y)
//
// over the rows with label, with the row weights w of the loss, which training itself brings to 1:
// so a task that is trained on clicked rows alone is measured on clicked rows alone. Not looked at
// are losses whose optimum is elsewhere: focal loss, label smoothing, values.
//
// Use:     Add() per batch; Warnings() once (a collective operation).
// Cost:    two multiplications per row and task.
// Threads: one at a time.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/job_config.h"
#include "common/net/collective.h"
#include "worker/data/batch.h"
#include "worker/watch/warning.h"

namespace pepnet {

class EvaluationWatch {
 public:
  // Borrows the config.
  explicit EvaluationWatch(const JobConfig* config);

  // scores[tower] as for MetricSet.
  void Add(const Batch& batch, const std::vector<std::vector<float>>& scores);
  // `values`: the metrics by name. The same on every worker.
  StatusOr<std::vector<Warning>> Warnings(const std::map<std::string, double>& values,
                                          Collective* collective);

 private:
  struct Task {  // of a tower with a score
    int tower;
    bool calibrates;  // its loss has its optimum at predicted = observed
  };
  // Sums by task.
  enum Sum {
    kRows,
    kPositives,
    kWeight,
    kPredicted,
    kObserved,
    kPredictedSquare,
    kObservedSquare,
    kSumCount
  };

  const JobConfig* config_;
  std::vector<Task> tasks_;
  std::vector<double> sums_;  // [task][Sum]; *Square: with w * w for w
};

}  // namespace pepnet

// Counting rows for metrics: what the metrics of an evaluation and of the training batches share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/job_config/model.h"
#include "worker/data/batch.h"

namespace pepnet {

// n thresholds as torch.linspace(0, 1, n) in float32 makes them: filled from both ends.
std::vector<float> AucThresholds(int n);

// The inputs of the metrics of one tower for each row.
//   num_class 1  one score
//   num_class 2  probs1 alone, or both probabilities
//   more         all probabilities
struct TowerScores {
  const float* scores;
  int width;  // floats per row

  // The score of class 1.
  float One(int64_t row) const { return scores[row * width + (width == 2 ? 1 : 0)]; }
  // The probability of a class, of num_class 2 or more.
  float Of(int64_t row, int c) const {
    if (width > 1) return scores[row * width + c];
    return c == 1 ? One(row) : 1 - One(row);
  }
  // Predicted class; a tie goes to the lowest, as in torch.
  int Class(int64_t row, double threshold, int num_class) const;
  // Whether class `c` is one of the `top_k` most likely ones; of equal ones the lower goes first.
  bool IsAmongTop(int64_t row, int c, int top_k, int num_class) const;
};

// The first id of the feature in each row, `none` for a row without: the key of metrics that group
// rows.
std::vector<int64_t> FirstIds(const Batch& batch, int feature, int64_t none);

bool Positive(const LabelColumn& label, int64_t row);

// counts[0 .. n]: positives below all thresholds, then by the last threshold <= score; counts[n + 1
// .. 2 n + 1]: negatives.
inline size_t AucCounts(size_t thresholds) { return 2 * (thresholds + 1); }
void CountForAuc(const std::vector<float>& thresholds, const LabelColumn& label,
                 const TowerScores& scores, int64_t rows, double* counts);
// The same for class `c` against the others.
void CountForAuc(const std::vector<float>& thresholds, const LabelColumn& label,
                 const TowerScores& scores, int64_t rows, int c, double* counts);
double AucOfCounts(size_t thresholds, const double* counts);
// From the counts of true and false positives at each threshold (ascending) and class totals (whole
// numbers, or decayed).
double BinnedAuc(const std::vector<double>& true_positives,
                 const std::vector<double>& false_positives, double positives, double negatives);

// ---- metrics that are sums over rows ------------------------------------------------------------
// The counts of such a metric while rows are added: `size()` numbers, which may be summed over
// batches and workers. Counts of rows are exact up to 2^53.
//   auc                         as CountForAuc() lays them out
//   accuracy                    right, all
//   absolute and squared error  sum of errors, all
//   normalized entropy          sum of cross entropies, sum of labels, all
//   multiclass auc              for each class as CountForAuc() lays them out
// Not for metrics that need the rows themselves (MetricType::needs_rows).
class MetricSums {
 public:
  MetricSums(const Metric* metric, int num_class);  // borrowed; of the tower
  size_t size() const { return size_; }
  void Add(const Tower& tower, const LabelColumn& label, const TowerScores& scores, int64_t rows,
           double* sums) const;
  // The metric of the rows that were added. Without rows: AUCs and accuracy 0, errors and entropy
  // NaN.
  double Value(const double* sums) const;
  // Why Value() is only a stand-in, as a clause ("every label is 1"); "" if it is none. An auc
  // needs both classes.
  std::string WhyNoValue(const double* sums) const;
  // The rows that were added.
  double Rows(const double* sums) const;
  // Whether `sums` has rows. Not of AUCs, which have a value without.
  bool HasRows(const double* sums) const { return sums[size_ - 1] > 0; }

 private:
  const Metric* metric_;
  const int num_class_;
  std::vector<float> thresholds_;  // auc, multiclass_auc
  size_t size_ = 2;
};

// Rows whose predicted class is the label, or whose label is one of the metric's top_k classes.
int64_t CountRight(const Metric& metric, const LabelColumn& label, const TowerScores& scores,
                   int64_t rows, int num_class);
// Sum of -y ln p - (1 - y) ln(1 - p), each logarithm at least -100.
double SumCrossEntropies(const LabelColumn& label, const TowerScores& scores, int64_t rows);
// Sum of |score - label|, or of its square.
double SumErrors(const LabelColumn& label, const TowerScores& scores, int64_t rows, bool squared);

// Checks that the scores fit the tower, and wraps them. Precondition: rows > 0.
TowerScores ScoresOfTower(const Tower& tower, const LabelColumn& label,
                          const std::vector<float>& scores, int64_t rows);

}  // namespace pepnet

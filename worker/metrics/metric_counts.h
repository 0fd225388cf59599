// Counting rows for metrics: what the metrics of an evaluation and of the training batches share.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/job_config/model.h"
#include "worker/data/batch.h"
#include "worker/metrics/scored_rows.h"

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
// A sum of terms that any order of adding gives to the bit: the terms in units of 2^-20, the rest
// in units of 2^-46, the rest of that in units of 2^-72, each a sum of whole numbers. It is exact
// for up to 2^26 terms between 0 and 128, but for what a term has below 2^-72; NaN if a term is.
inline constexpr size_t kExactSumSize = 3;
void AddExactly(double term, double* sum);
double ExactSum(const double* sum);

// The counts of such a metric while rows are added: `size()` numbers, which may be summed over
// batches and workers. Counts of rows are exact up to 2^53. A sum in [] is an exact one
// (AddExactly(), kExactSumSize numbers).
//   auc                         as CountForAuc() lays them out
//   accuracy                    right, all
//   absolute and squared error  [errors], all
//   normalized entropy          [cross entropies], [labels], positives, all
//   pcoc                        [predictions], positives, all
//   ece                         for each interval [predictions], positives; then all
//   logloss                     [-ln p], positives, all
//   multiclass auc              for each class as CountForAuc() lays them out
//   grouped auc                 sums of the groups' AUCs and of those times the group's rows,
//                               groups with both classes, their rows, positives, all
// A grouped AUC counts the rows of a window at once (AddRows()), and sums over windows; other
// metrics that need the rows themselves (MetricType::needs_rows) are no such sums.
class MetricSums {
 public:
  MetricSums(const Metric* metric, int num_class);  // borrowed; of the tower
  size_t size() const { return size_; }
  // The numbers that the metric has: a grouped AUC the mean and that by impressions, others one.
  size_t values() const { return needs_rows() ? 2 : 1; }
  bool needs_rows() const { return TypeOf(metric_->kind).needs_rows; }
  // Unless needs_rows().
  void Add(const Tower& tower, const LabelColumn& label, const TowerScores& scores, int64_t rows,
           double* sums) const;
  // If needs_rows(): all rows of a window, as SortByKey() orders them.
  void AddRows(std::span<const ScoredRow> sorted, double* sums) const;
  // The metric of the rows that were added, or another of its values(). Without rows: AUCs of
  // counts and accuracy 0, the others NaN.
  double Value(const double* sums, size_t which = 0) const;
  // Why Value() is only a stand-in, as the reference has it, as a clause ("every label is 1"); ""
  // if it is none. An auc needs both classes.
  std::string WhyNoValue(const double* sums) const;
  // Why the rows have no value, as a clause ("no rows", "every label is 1", "a prediction is NaN",
  // "no group has both classes"); "" if they have one.
  std::string WhyNone(const double* sums) const;
  // The rows that were added.
  double Rows(const double* sums) const;
  // Those of them whose label is 1; nullopt if the counts do not tell.
  std::optional<double> Positives(const double* sums) const;

 private:
  const Metric* metric_;
  const int num_class_;
  std::vector<float> thresholds_;  // auc, multiclass_auc
  size_t size_;
};

// Rows whose predicted class is the label, or whose label is one of the metric's top_k classes.
int64_t CountRight(const Metric& metric, const LabelColumn& label, const TowerScores& scores,
                   int64_t rows, int num_class);
// -y ln p - (1 - y) ln(1 - p), each logarithm at least -100.
double CrossEntropy(double p, double y);

// Checks that the scores fit the tower, and wraps them. Precondition: rows > 0.
TowerScores ScoresOfTower(const Tower& tower, const LabelColumn& label,
                          const std::vector<float>& scores, int64_t rows);

}  // namespace pepnet

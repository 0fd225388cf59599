// Counting rows for metrics: what the metrics of an evaluation and of the training batches share.
#pragma once

#include <cstdint>
#include <vector>

#include "common/job_config/model.h"
#include "worker/data/batch.h"

namespace pepnet {

// n thresholds as torch.linspace(0, 1, n) in float32 makes them: filled from both ends.
std::vector<float> AucThresholds(int n);

// What the metrics of one tower read for each row.
//   num_class 1: one score.   num_class 2: probs1 alone, or both probabilities.   more: all probabilities.
struct TowerScores {
  const float* scores;
  int width;  // floats per row

  // The score of class 1.
  float One(int64_t row) const { return scores[row * width + (width == 2 ? 1 : 0)]; }
  // Predicted class; a tie goes to the lowest, as in torch.
  int Class(int64_t row, double threshold, int num_class) const;
};

bool Positive(const LabelColumn& label, int64_t row);

// counts[0 .. n]: positives below all thresholds, then by the last threshold <= score; counts[n + 1 .. 2 n + 1]: negatives.
inline size_t AucCounts(size_t thresholds) { return 2 * (thresholds + 1); }
template <typename Count>
void CountForAuc(const std::vector<float>& thresholds, const LabelColumn& label, const TowerScores& scores,
                 int64_t rows, Count* counts);
template <typename Count>
double AucOfCounts(size_t thresholds, const Count* counts);
// From the counts of true and false positives at each threshold (ascending) and class totals (whole numbers, or decayed).
double BinnedAuc(const std::vector<double>& true_positives, const std::vector<double>& false_positives,
                 double positives, double negatives);

// Rows whose predicted class is the label.
int64_t CountRight(const LabelColumn& label, const TowerScores& scores, int64_t rows, double threshold, int num_class);
// Sum of |score - label|, or of its square.
double SumErrors(const LabelColumn& label, const TowerScores& scores, int64_t rows, bool squared);

// Checks that the scores fit the tower, and wraps them. Precondition: rows > 0.
TowerScores ScoresOfTower(const Tower& tower, const LabelColumn& label, const std::vector<float>& scores, int64_t rows);

}  // namespace pepnet

// XAUC (spec 6.1): the share of the pairs of rows whose values stand in the order of their labels.
#pragma once

#include "worker/metrics/scored_rows.h"

namespace pepnet {

// #{ i < j : (label_i - label_j) (score_i - score_j) > 0 } / (n (n - 1) / 2) of n >= 2 rows, in O(n
// log n). A score that is NaN gives NaN.
double Xauc(std::span<const ScoredRow> rows);

// Xauc() of each key with more than one row: the mean, of all keys alike or weighted by their rows.
// NaN without such a key. Sorts the rows.
double MeanXauc(ScoredRows* rows, bool weighted);

}  // namespace pepnet

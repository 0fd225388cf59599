// ScoredRows: evaluated rows kept one by one, for metrics that are no sums over rows: grouped AUC,
// XAUC and slices.
//
// Memory:   16 bytes a row, on the wire, too.
// Order:    what is computed from Sorted() depends on the set of rows alone, not on their order or
//           on which worker holds them.
// Threads:  one at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/net/collective.h"

namespace pepnet {

struct ScoredRow {
  int64_t key;  // the group it belongs to
  float score;  // probability of class 1, or a value
  float label;

  bool positive() const { return label == 1; }
};

class ScoredRows {
 public:
  void Add(int64_t key, float score, float label) { rows_.push_back({key, score, label}); }

  // All rows as bytes: per row key int64, score float, label float; little-endian, packed.
  std::string Serialize() const;
  // Adds the rows of another worker; false if `bytes` is not a whole number of rows.
  bool Merge(std::string_view bytes);
  // Moves the rows of all workers to worker 0; the others' stay where they are. A collective
  // operation. `what`: for errors.
  Status GatherToFirst(Collective* collective, const std::string& what);

  size_t size() const { return rows_.size(); }
  bool HasNanScore() const;
  // By key, then score, then label; scores that are NaN come last in their key.
  std::span<const ScoredRow> Sorted();

 private:
  std::vector<ScoredRow> rows_;
};

// Orders by score, then label: what ExactAuc() reads. Scores that are NaN come last.
void SortByScore(std::vector<ScoredRow>* rows);
// Orders by key, and within a key as SortByScore() does.
void SortByKey(std::vector<ScoredRow>* rows);

// With rows in ascending score, and a tie counting half, which is what the average rank amounts to:
//   AUC = sum over positives of (negatives below + negatives tied / 2) / (positives * negatives)
// nullopt if a class has no rows. Precondition: no score is NaN.
std::optional<double> ExactAuc(std::span<const ScoredRow> rows);

}  // namespace pepnet

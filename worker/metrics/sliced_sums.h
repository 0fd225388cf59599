// SlicedSums: a train metric by the values of one eval_config.slice_by column, of the last window
// and of all windows.
//
// A value gets a slice of its own at the end of the window in which it first comes up, while fewer
// than slice_top values have one; of several those with most rows in that window (a tie: the lower
// key first). Slices stay, so that what a slice counts is all rows of its value since the training
// began; the other values are the rest together.
//
// A metric that needs all rows of a window in one place keeps them until its end, when worker 0
// gathers and counts them.
//
// Use:     Add() per batch, EndWindow() behind every decay_step steps, Gather() before State()
//          (both collective operations).
// Order:   counts of rows and exact sums are whole numbers, so that any number of workers counts
//          the same.
// Memory:  three times MetricSums::size() numbers for each slice; while slices are left to be
//          given, also the rows of the open window whose value has none: 12 bytes and the scores of
//          each. If MetricSums::needs_rows(), all rows of the open window, 20 bytes and the scores
//          of each; and worker 0 those of all workers, with 16 bytes more while it counts them.
// Threads: one.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/job_config.h"
#include "common/net/collective.h"
#include "worker/data/batch.h"
#include "worker/metrics/metric_counts.h"
#include "worker/metrics/slices.h"

namespace pepnet {

// A value of a metric; nullopt where there is none, and why ("no rows", "every label is 0").
struct WindowValue {
  int64_t rows = 0;
  std::optional<double> value = {};
  std::string why_none = {};
  std::optional<int64_t> positives = {};  // nullopt: the metric does not count them
};
// `which` of MetricSums::values().
WindowValue ValueOfWindow(const MetricSums& sums, const double* counts, size_t which = 0);

// A key in a checkpoint, whose numbers are doubles: its upper and its lower half.
void AppendKey(int64_t key, std::vector<double>* out);
// Whether a number can be such a half.
bool IsWord(double number);
int64_t KeyOf(double high, double low);

// Numbers for a checkpoint, with each run of zeros as a zero and its length: most counts of an AUC
// are 0.
std::vector<double> WithoutZeros(std::span<const double> numbers);
// nullopt if `packed` was not made by WithoutZeros(), or of more than `most` numbers.
std::optional<std::vector<double>> WithZeros(std::span<const double> packed, size_t most);

class SlicedSums {
 public:
  // Borrows the tower, which the metric is of. most_slices > 0.
  SlicedSums(const MetricSums& sums, const Tower* tower, int most_slices);

  // keys[row]: SliceKeys() of the column. groups[row]: by what the metric groups rows; read only of
  // a metric that needs rows.
  void Add(const std::vector<int64_t>& keys, const LabelColumn& label, const TowerScores& scores,
           const std::vector<int64_t>& groups = {});
  Status EndWindow(Collective* collective);

  struct Values {
    Slice::Kind kind = Slice::Kind::kValue;
    int64_t key = 0;  // of kValue
    WindowValue window, lifetime;
  };
  // As of the last window that has ended; equal on every worker. The slices with most rows since
  // the training began first (a tie: the lower key first), then the rest if it has rows. `which` of
  // MetricSums::values().
  std::vector<Values> Get(size_t which = 0) const;

  // Moves what the workers counted in the open window to worker 0, whose State() is then that of
  // the job.
  Status Gather(Collective* collective);
  std::vector<double> State() const;
  // On every worker with worker 0's State(). False, and nothing is changed, if the state is of
  // another metric or limit.
  bool Restore(const std::vector<double>& state, bool first_worker);

 private:
  struct Rows {
    std::vector<int64_t> keys;
    std::vector<float> labels, scores;  // scores: width_ a row
    std::vector<int64_t> groups;        // of a metric that needs rows; else empty

    void Add(int64_t key, float label, const float* of_row, int width);
  };
  bool full() const { return keys_.size() == most_slices_; }
  size_t size() const { return (keys_.size() + 1) * sums_.size(); }
  size_t SliceOf(int64_t key) const;
  // Counts rows in the open window, each in the slice of its key. CountGroups(): of a metric that
  // needs rows.
  void Count(const Rows& rows);
  void CountGroups(const Rows& rows);
  void GiveSlice(int64_t key);
  Status GiveSlices(Collective* collective);
  // Moves the waiting rows of all workers to worker 0.
  Status GatherWaiting(Collective* collective);
  std::vector<size_t> OrderOfWaiting() const;

  const MetricSums sums_;
  const Tower* const tower_;
  const size_t most_slices_;
  // Slice 0 is the rest, slice i + 1 that of keys_[i]. Equal on every worker.
  std::vector<int64_t> keys_;
  std::map<int64_t, size_t> slice_of_key_;
  // By slice, sums_.size() numbers each.
  std::vector<double> window_;  // of this worker, in the open window
  // Of the job, the same on every worker: the last window; all that have ended.
  std::vector<double> last_, lifetime_;
  // Of the open window, whose values have no slice yet; empty once full(). Of a metric that needs
  // rows: all of the open window.
  Rows waiting_;
  int width_ = 0;  // scores of a row; 0: no row has been added
};

}  // namespace pepnet

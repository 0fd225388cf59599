// Slices: how good the probabilities of each task are on the rows of each value of a column
// (eval_config.slice_by), and on all rows. A number over everything hides a domain that is badly
// ranked, or whose predictions are several times too high.
//
//   auc                  exact, a tie counting half
//   logloss              mean of -ln p of the true class, p kept in [2^-23, 1 - 2^-23]
//   normalized entropy   logloss / that of the constant prediction mean label: below 1 is better
//                        than knowing nothing
//   pcoc                 predicted over observed: sum of predictions / number of positives; 1 is
//                        calibrated
//   ece                  expected calibration error: over kCalibrationBins intervals of prediction
//                        of equal width, the mean of |mean prediction - mean label|, weighted by
//                        rows
//   grouped auc          of a task with a grouped_auc: the mean of the AUC of each group (its
//                        grouping_key) that has both classes among the rows of the slice, the
//                        groups counting alike or by those rows (grouped_auc.h)
//
// Use:      one SliceSet per evaluation and worker; Add() per batch; Finish() (a collective
//           operation).
// Memory:   of each row 8 bytes for each column, 8 for each grouping_key and 5 for each task, on
//           each worker; worker 0 gathers them, and takes another 24 a row while it measures.
// Order:    the values depend on the set of rows alone, so any number of workers reports the same.
// Threads:  one at a time. torch-free.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/job_config.h"
#include "common/net/collective.h"
#include "worker/data/batch.h"
#include "worker/metrics/scored_rows.h"

namespace pepnet {

inline constexpr int kCalibrationBins = 20;
// The interval that a prediction lies in, 0 to kCalibrationBins - 1; of NaN the first.
int CalibrationBinOf(double prediction);

// Rows whose prediction lies in [bin, bin + 1) / kCalibrationBins; the last interval has its upper
// end.
struct CalibrationBin {
  int bin = 0;
  int64_t rows = 0;
  double mean_prediction = 0, mean_label = 0;
};

struct SliceQuality {
  int64_t rows = 0, positives = 0;
  double predicted = 0;  // sum of the predictions
  // nullopt where there is no value: auc and normalized entropy need both classes, pcoc a positive,
  // the others a row; nothing has a value if a prediction is NaN.
  std::optional<double> auc, logloss, normalized_entropy, pcoc, ece;
  // Of a task with a grouped_auc alone; no value if no group has both classes.
  bool has_groups = false;
  std::optional<double> grouped_auc, grouped_auc_by_impressions;
  std::vector<CalibrationBin> calibration;  // those with rows, ascending
};

// A figure of a slice by its name in train_eval_slices.jsonl.
struct SliceFigure {
  const char* name;
  std::optional<double> value;
  // "" with a value, else a clause ("every label is 0", "no group has both classes")
  std::string why_none;
};
inline constexpr char kNoGroupHasBoth[] = "no group has both classes";
// The reason why rows have no value of a measure that needs positives, negatives or both, as a
// clause: "no rows", "a prediction is NaN", "every label is 0", "every label is 1"; "" if they have
// what it needs. positives: the sum of the labels.
std::string WhyNoFigure(double rows, bool has_nan, double positives, bool needs_positives,
                        bool needs_negatives);
// auc, logloss, normalized_entropy, pcoc, ece; with groups also grouped_auc and
// grouped_auc_by_impressions.
std::vector<SliceFigure> FiguresOf(const SliceQuality& quality);

// -ln p of the row's class, as logloss has it.
double LogLossOf(const ScoredRow& row);

// Of rows in ascending score; without groups.
SliceQuality MeasureSlice(std::span<const ScoredRow> rows);
// Of rows whose key is their group, in any order; reorders them.
SliceQuality MeasureGroupedSlice(std::vector<ScoredRow>* rows);

struct Slice {
  enum class Kind {
    kValue,  // the rows with one value of the column
    kRest,   // those with the values that have no slice of their own
    kAll     // all rows
  };
  std::string column;
  Kind kind = Kind::kValue;
  // Of kValue: the number; of a vocabulary the word, or "(unknown)"; "" for rows without one.
  std::string value;
  std::string task;  // name of the tower
  SliceQuality quality;
};

// The name of a slice's value: "1", "red"; "(none)" for rows without one, "(rest)", "(all)".
std::string SliceName(Slice::Kind kind, const std::string& value);
inline std::string SliceName(const Slice& slice) { return SliceName(slice.kind, slice.value); }

// The key of a row without a value of the column.
inline constexpr int64_t kNoSliceKey = std::numeric_limits<int64_t>::min();
// By which rows of a batch belong to a slice: the first id of the feature, or the label.
// InvalidArgument if a column of labels holds a number that is not whole.
StatusOr<std::vector<int64_t>> SliceKeys(const SliceColumn& column, const Batch& batch);
// Slice::value of a key.
std::string SliceValueText(const JobConfig& config, const SliceColumn& column, int64_t key);

class SliceSet {
 public:
  // `config` is borrowed. Without slice_by there is nothing to do, and no slice.
  explicit SliceSet(const JobConfig* config);

  // scores[tower] as for MetricSet. InvalidArgument if a column of labels holds a number that is
  // not whole.
  Status Add(const Batch& batch, const std::vector<std::vector<float>>& scores);
  // On worker 0, by column and task: the values with most rows, most first (a tie: the lower id
  // first), the rest if there is one, and all. Empty on the others. `collective` null: one worker.
  StatusOr<std::vector<Slice>> Finish(Collective* collective);

 private:
  // An index is the same row in all vectors, in the order in which this worker met them; on worker
  // 0 those of the other workers follow, worker by worker.
  struct Groups {
    int feature;
    std::vector<int64_t> keys;
  };
  struct Task {
    int tower;
    std::optional<size_t> groups;  // index into groups_; nullopt: no grouped AUC
    std::vector<float> scores;
    std::vector<uint8_t> positive;  // 0 or 1
  };
  using RowNumbers = std::span<const int64_t>;
  SliceQuality Measure(const Task& task, const std::vector<RowNumbers>& parts) const;
  void MeasureColumn(size_t column, std::vector<Slice>* slices) const;

  const JobConfig* config_;
  std::vector<std::vector<int64_t>> keys_;  // by column of slice_by
  std::vector<Groups> groups_;
  std::vector<Task> tasks_;  // those that have scores
};

}  // namespace pepnet

// A job without data and model: one table of `rows` rows of 16 floats with Adagrad, for benchmarks
// of the servers.
//
// The gradient of a row in update u is GradientOf(id, u) in every element, so that any row's value
// after any number of updates can be computed beside the servers.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cli/bench/limits.h"
#include "cli/bench/report.h"
#include "common/base/status.h"
#include "common/job_config/job_config.h"

namespace pepnet {

inline constexpr int kBenchDim = 16;
inline constexpr double kBenchLr = 0.01;

JobConfig RowJob(int64_t rows);

// InvalidInput if the table has fewer rows than a message names.
Status CheckMessage(int64_t rows, int64_t keys);
// Measures what the machine gives to random rows of a table of this size, and adds it to the
// report's limits.
RandomRowRates MeasureRowLimits(int64_t rows, BenchReport* report);

// `count` distinct ids of [0, rows), spread evenly and in no order. The messages 0, 1, ... walk
// through all rows again and again, in one order in the first walk, which makes the rows, in
// another in the second, which makes them where ids have to be named twice, and in a third from
// then on: rows that were made together are not named together. Precondition: count <= rows.
std::vector<int64_t> MessageIds(int64_t rows, int64_t count, int64_t message);

float GradientOf(int64_t id, int64_t update);
// Fills ids.size() * kBenchDim floats.
void FillGradients(std::span<const int64_t> ids, int64_t update, float* gradients);

// The updates that a few rows, spread over all ids, have seen, and what their values must be then.
class RowLedger {
 public:
  explicit RowLedger(int64_t rows);
  const std::vector<int64_t>& ids() const { return ids_; }
  // Values before the first update, row after row: kBenchDim floats each.
  void Start(std::span<const float> values) { start_.assign(values.begin(), values.end()); }
  // These rows have got the gradients of `update`.
  void Applied(std::span<const int64_t> ids, int64_t update);
  // DataLoss naming the first row of ids() that is not what its updates make of it (1e-5).
  Status Check(std::span<const float> values) const;

 private:
  std::vector<int64_t> ids_;  // ascending
  std::vector<std::vector<int64_t>> updates_;
  std::vector<float> start_;
};

}  // namespace pepnet

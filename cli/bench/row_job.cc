#include "cli/bench/row_job.h"

#include <algorithm>
#include <cmath>

#include "common/base/hash.h"
#include "common/base/logging.h"
#include "common/base/random.h"

namespace pepnet {

JobConfig RowJob(int64_t rows) {
  JobConfig config;
  Table& table = config.tables.emplace_back();
  table.name = "bench_emb";
  table.rows = rows;
  table.dim = kBenchDim;
  config.train.sparse_optimizer.kind = SparseOptimizerKind::kAdagrad;
  config.train.sparse_optimizer.lr = kBenchLr;
  return config;
}

Status CheckMessage(int64_t rows, int64_t keys) {
  if (rows >= keys) return absl::OkStatus();
  return InvalidInput("--rows ", rows, " is less than --keys ", keys);
}

RandomRowRates MeasureRowLimits(int64_t rows, BenchReport* report) {
  const RandomRowRates limit = MeasureRandomRows(rows);
  report->limits.push_back(
      {absl::StrCat("random reads of ", rows, " rows"), "Mrows/s", limit.read});
  report->limits.push_back(
      {absl::StrCat("random updates of ", rows, " rows"), "Mrows/s", limit.update});
  return limit;
}

std::vector<int64_t> MessageIds(int64_t rows, int64_t count, int64_t message) {
  // A permutation instead of random draws: ids of a message are distinct, and after rows / count
  // messages every row has had its turn. No list of rows is kept, which would fill the caches.
  const KeyedPermutation permutation(RandomKey(1, RandomPurpose::kTest, 3),
                                     static_cast<uint64_t>(rows));
  CHECK_LE(count, rows);
  std::vector<int64_t> ids(count);
  for (size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<int64_t>(
        permutation((static_cast<uint64_t>(message * count) + i) % static_cast<uint64_t>(rows)));
  }
  return ids;
}

float GradientOf(int64_t id, int64_t update) {
  return 0.5f + UnitFloat(static_cast<uint32_t>(
                    Mix64(static_cast<uint64_t>(id) * 31 + static_cast<uint64_t>(update))));
}

void FillGradients(std::span<const int64_t> ids, int64_t update, float* gradients) {
  for (int64_t id : ids) gradients = std::fill_n(gradients, kBenchDim, GradientOf(id, update));
}

RowLedger::RowLedger(int64_t rows, int64_t count) : rows_(rows), count_(count) {
  // A prime number of rows, so that their distance is rarely a multiple of a message.
  constexpr int64_t kSample = 61;
  for (int64_t i = 0; i < std::min(kSample, rows); ++i) {
    places_.push_back(i * rows / std::min(kSample, rows));
    ids_.push_back(MessageIds(rows, 1, places_.back())[0]);
  }
  updates_.resize(ids_.size());
}

void RowLedger::Applied(int64_t message, int64_t update) {
  for (size_t i = 0; i < places_.size(); ++i) {
    // A row is in the message if its place lies within `count_` places behind the first one; the
    // modulo of C++ may be negative, hence the second one.
    if (((places_[i] - message * count_) % rows_ + rows_) % rows_ < count_) {
      updates_[i].push_back(update);
    }
  }
}

// Adagrad: s += g^2, w -= lr g / (sqrt(s) + 1e-8)
Status RowLedger::Check(std::span<const float> values) const {
  CHECK_EQ(values.size(), start_.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t row = i / kBenchDim;
    // The expected value is computed in double and compared within 1e-5: the servers compute in
    // float, and their sums of a few updates differ by less.
    double expected = start_[i], sum = 0;
    for (int64_t update : updates_[row]) {
      const double g = GradientOf(ids_[row], update);
      sum += g * g;
      expected -= kBenchLr * g / (std::sqrt(sum) + 1e-8);
    }
    if (std::abs(values[i] - expected) > 1e-5) {
      return absl::DataLossError(absl::StrCat("row ", ids_[row], " holds ", values[i], " after ",
                                              updates_[row].size(), " updates, expected ",
                                              expected));
    }
  }
  return absl::OkStatus();
}

}  // namespace pepnet

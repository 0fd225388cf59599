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
  CHECK_LE(count, rows);
  // In the order in which the rows were made they would be met side by side in memory, and those
  // made last would stand farthest from their homes in the index: a round's rate would follow from
  // its place in the walk.
  const int64_t messages = (rows + count - 1) / count;  // of a walk
  const int64_t walk = message / messages;
  // A permutation instead of random draws: ids of a message are distinct, and after a walk every
  // row has had its turn. No list of rows is kept, which would fill the caches.
  const KeyedPermutation permutation(
      RandomKey(1, RandomPurpose::kTest, 3 + std::min<int64_t>(walk, 2)),
      static_cast<uint64_t>(rows));
  const uint64_t first = static_cast<uint64_t>((message - walk * messages) * count);
  std::vector<int64_t> ids(count);
  for (size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<int64_t>(permutation((first + i) % static_cast<uint64_t>(rows)));
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

RowLedger::RowLedger(int64_t rows) {
  const int64_t sample = std::min<int64_t>(61, rows);
  for (int64_t i = 0; i < sample; ++i) ids_.push_back(i * rows / sample);
  updates_.resize(ids_.size());
}

void RowLedger::Applied(std::span<const int64_t> ids, int64_t update) {
  for (const int64_t id : ids) {
    const auto at = std::lower_bound(ids_.begin(), ids_.end(), id);
    if (at != ids_.end() && *at == id) updates_[at - ids_.begin()].push_back(update);
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

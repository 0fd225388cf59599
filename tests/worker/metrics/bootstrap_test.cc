#include "worker/metrics/bootstrap.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "common/net/in_process.h"
#include "tests/support/cluster.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

// `rows` rows of which a tenth is positive; scores are those of a calibrated model, by a seed that
// is printed.
std::vector<ScoredRow> Rows(int64_t rows, uint64_t seed) {
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  const auto uniform = [&] { return static_cast<double>(random() >> 11) * 0x1.0p-53; };
  std::vector<ScoredRow> list;
  for (int64_t row = 0; row < rows; ++row) {
    const double score = 0.2 * uniform();
    list.push_back({row, static_cast<float>(score), uniform() < score ? 1.0f : 0.0f});
  }
  return list;
}

// The interval of a mean of independent values is, for many rows, mean +- 1.96 standard errors.
TEST(BootstrapTest, TheIntervalOfTheLoglossIsThatOfAMean) {
  const std::vector<ScoredRow> rows = Rows(4000, 1);
  double sum = 0, squares = 0;
  for (const ScoredRow& row : rows) {
    const double loss = row.positive() ? -std::log(row.score) : -std::log1p(-row.score);
    sum += loss;
    squares += loss * loss;
  }
  const double mean = sum / 4000, error = std::sqrt((squares / 4000 - mean * mean) / 4000);
  const TaskIntervals intervals = DrawIntervals("ctr", rows, 2000, 7, 2);
  ASSERT_TRUE(intervals.logloss.has_value());
  EXPECT_NEAR(intervals.logloss->value, mean, 1e-6);
  EXPECT_NEAR(intervals.logloss->low, mean - 1.96 * error, 0.12 * error);
  EXPECT_NEAR(intervals.logloss->high, mean + 1.96 * error, 0.12 * error);
}

// Of many data sets whose truth is known, about 95 % of the intervals hold it: here a pcoc of 1.
TEST(BootstrapTest, TheIntervalHoldsTheTruthAsOftenAsItSays) {
  int held = 0;
  const int sets = 100;
  for (int set = 0; set < sets; ++set) {
    const TaskIntervals intervals = DrawIntervals("ctr", Rows(1500, 100 + set), 300, set, 2);
    ASSERT_TRUE(intervals.pcoc.has_value());
    held += intervals.pcoc->low <= 1 && 1 <= intervals.pcoc->high ? 1 : 0;
  }
  EXPECT_GE(held, 88);  // 95 are expected, with a standard deviation of 2.2
  EXPECT_LT(held, 100);
}

TEST(BootstrapTest, TheIntervalOfTheAucIsThatOfHanleyAndMcNeil) {
  // Scores of two normal distributions a standard deviation apart: AUC .76.
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal;
  std::vector<ScoredRow> rows;
  const int n = 600;
  for (int64_t row = 0; row < 2 * n; ++row) {
    const bool one = row < n;
    rows.push_back({row, static_cast<float>(1 / (1 + std::exp(-normal(random) - (one ? 1 : 0)))),
                    one ? 1.0f : 0.0f});
  }
  const TaskIntervals intervals = DrawIntervals("ctr", rows, 2000, 1, 2);
  ASSERT_TRUE(intervals.auc.has_value());
  const double a = intervals.auc->value, q1 = a / (2 - a), q2 = 2 * a * a / (1 + a);
  const double error =
      std::sqrt((a * (1 - a) + (n - 1) * (q1 - a * a) + (n - 1) * (q2 - a * a)) / (1.0 * n * n));
  EXPECT_NEAR(intervals.auc->high - intervals.auc->low, 2 * 1.96 * error, 0.1 * 2 * 1.96 * error);
  EXPECT_NEAR((intervals.auc->high + intervals.auc->low) / 2, a, 0.2 * error);
}

TEST(BootstrapTest, ThreadsAndTheOrderOfRowsChangeNothing) {
  std::vector<ScoredRow> rows = Rows(500, 5);
  for (ScoredRow& row : rows) row.score = std::round(row.score * 50) / 50;  // with ties
  const TaskIntervals one = DrawIntervals("ctr", rows, 50, 9, 1);
  std::shuffle(rows.begin(), rows.end(), std::mt19937_64(2));
  const TaskIntervals other = DrawIntervals("ctr", rows, 50, 9, 3);
  for (const auto member : {&TaskIntervals::auc, &TaskIntervals::logloss, &TaskIntervals::pcoc}) {
    EXPECT_EQ((one.*member)->value, (other.*member)->value);
    EXPECT_EQ((one.*member)->low, (other.*member)->low);
    EXPECT_EQ((one.*member)->high, (other.*member)->high);
  }
  EXPECT_NE(DrawIntervals("ctr", rows, 50, 10, 1).auc->low, one.auc->low)
      << "another seed draws other rows";
}

TEST(BootstrapTest, WhatHasNoValueHasNoInterval) {
  std::vector<ScoredRow> rows = Rows(100, 6);
  for (ScoredRow& row : rows) row.label = 0;
  TaskIntervals intervals = DrawIntervals("ctr", rows, 20, 0, 1);
  EXPECT_FALSE(intervals.auc.has_value());
  EXPECT_FALSE(intervals.pcoc.has_value());
  EXPECT_TRUE(intervals.logloss.has_value());
  rows[3].score = NAN;
  intervals = DrawIntervals("ctr", rows, 20, 0, 1);
  EXPECT_FALSE(intervals.logloss.has_value());
  EXPECT_FALSE(DrawIntervals("ctr", {}, 20, 0, 1).logloss.has_value());
}

// Batches of 7 rows over any number of workers: the slices of a global batch follow one another.
TEST(BootstrapTest, AnyNumberOfWorkersGivesTheSameBits) {
  const std::vector<ScoredRow> rows = Rows(300, 8);
  JobConfig config;
  config.data.labels = {"clk"};
  Tower& tower = config.model.towers.emplace_back();
  tower.name = "ctr";
  tower.label = 0;
  tower.losses.emplace_back();
  const auto intervals_of = [&](int workers) {
    TaskIntervals result;
    std::vector<int> ranks;
    for (int w = 0; w < workers; ++w) ranks.push_back(w);
    EXPECT_OK(RunRanks(workers, {}, [&](int rank, Transport* transport) -> Status {
      const auto collective = MakeCollective(transport, Channel::kDense, ranks, 30);
      BootstrapSet set(&config, 40, 3);
      for (int64_t begin = 0; begin < 300; begin += 7) {
        Batch batch;
        batch.global_rows = std::min<int64_t>(7, 300 - begin);
        const int64_t share = (7 + workers - 1) / workers;
        batch.first_row = std::min(batch.global_rows, share * rank);
        batch.rows = std::min(batch.global_rows, share * (rank + 1)) - batch.first_row;
        LabelColumn& label = batch.labels.emplace_back();
        std::vector<float> scores;
        for (int64_t row = 0; row < batch.rows; ++row) {
          label.values.push_back(rows[begin + batch.first_row + row].label);
          scores.push_back(rows[begin + batch.first_row + row].score);
        }
        set.Add(batch, {scores});
      }
      PEPNET_ASSIGN_OR_RETURN(const std::vector<TaskIntervals> intervals,
                              set.Finish(collective.get(), 2));
      EXPECT_EQ(intervals.size(), rank == 0 ? 1u : 0u);
      if (rank == 0) result = intervals[0];
      return absl::OkStatus();
    }));
    return result;
  };
  const TaskIntervals alone = intervals_of(1), expected = DrawIntervals("ctr", rows, 40, 3, 1);
  EXPECT_EQ(alone.auc->low, expected.auc->low);
  for (const int workers : {2, 3}) {
    const TaskIntervals spread = intervals_of(workers);
    EXPECT_EQ(spread.auc->low, alone.auc->low);
    EXPECT_EQ(spread.auc->high, alone.auc->high);
    EXPECT_EQ(spread.logloss->high, alone.logloss->high);
    EXPECT_EQ(spread.pcoc->low, alone.pcoc->low);
  }
}

}  // namespace
}  // namespace pepnet

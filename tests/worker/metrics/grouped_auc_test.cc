#include "worker/metrics/grouped_auc.h"

#include <cmath>
#include <cstdio>
#include <limits>
#include <random>
#include <tuple>

#include <gtest/gtest.h>

namespace pepnet {
namespace {

using Row = std::tuple<int64_t, float, bool>;

double Compute(const std::vector<Row>& rows) {
  ScoredRows scored;
  for (const auto& [key, score, positive] : rows) scored.Add(key, score, positive);
  return GroupedAuc(&scored).mean;
}

TEST(GroupedAucTest, NoRowsOrOnlyOneClassPerKeyIsNan) {
  EXPECT_TRUE(std::isnan(Compute({})));
  EXPECT_TRUE(std::isnan(Compute({{1, 0.2f, true}, {1, 0.3f, true}, {2, 0.1f, false}})));
}

TEST(GroupedAucTest, KeysCountEquallyAndThoseOfOneClassNotAtAll) {
  // Key 1: AUC 1. Key 2: one of its four pairs is lost. Key 3 has no negative.
  EXPECT_DOUBLE_EQ(Compute({{1, 0.9f, true},
                            {1, 0.1f, false},
                            {2, 0.9f, true},
                            {2, 0.4f, true},
                            {2, 0.5f, false},
                            {2, 0.1f, false},
                            {3, 0.7f, true}}),
                   (1 + 0.75) / 2);
}

TEST(GroupedAucTest, ByRowsAKeyCountsAsOftenAsItHasRows) {
  ScoredRows rows;
  for (const auto& [key, score, positive] : std::vector<Row>{{1, 0.9f, true},
                                                             {1, 0.1f, false},
                                                             {2, 0.9f, true},
                                                             {2, 0.4f, true},
                                                             {2, 0.5f, false},
                                                             {2, 0.1f, false},
                                                             {3, 0.7f, true},
                                                             {3, 0.8f, true}}) {
    rows.Add(key, score, positive);
  }
  EXPECT_DOUBLE_EQ(GroupedAuc(&rows).by_rows, (2 * 1 + 4 * 0.75) / 6) << "key 3 has no negative";
  ScoredRows none;
  EXPECT_TRUE(std::isnan(GroupedAuc(&none).by_rows));
}

TEST(GroupedAucTest, ATieCountsHalf) {
  EXPECT_DOUBLE_EQ(Compute({{-5, 0.5f, true}, {-5, 0.5f, false}}), 0.5);
  EXPECT_DOUBLE_EQ(Compute({{0, 0.5f, true}, {0, 0.5f, false}, {0, 0.5f, false}, {0, 0.1f, false}}),
                   (1 + 0.5 * 2) / 3);
}

TEST(GroupedAucTest, ANanScoreGivesNanAndEnds) {
  EXPECT_TRUE(
      std::isnan(Compute({{0, std::numeric_limits<float>::quiet_NaN(), true}, {0, 0.1f, false}})));
}

TEST(GroupedAucTest, EqualsTheFractionOfPairsWonAndMergesBitwiseInAnyOrder) {
  constexpr int kSeed = 20260101;
  std::printf("seed %d\n", kSeed);
  std::mt19937 random(kSeed);
  std::vector<Row> rows;
  for (int i = 0; i < 400; ++i) {
    const int64_t key = static_cast<int64_t>(random() % 9) - 4;
    const float score = static_cast<float>(random() % 20) / 20;
    rows.emplace_back(key, score, random() % 3 == 0);
  }
  double sum = 0;
  int keys = 0;
  for (int64_t key = -4; key < 5; ++key) {
    double won = 0;
    int64_t pairs = 0;
    for (const auto& [ka, a, pa] : rows) {
      for (const auto& [kb, b, pb] : rows) {
        if (ka != key || kb != key || !pa || pb) continue;
        ++pairs;
        won += a > b ? 1 : a == b ? 0.5 : 0;
      }
    }
    if (pairs == 0) continue;
    sum += won / static_cast<double>(pairs);
    ++keys;
  }
  const double value = Compute(rows);
  EXPECT_NEAR(value, sum / keys, 1e-14);

  ScoredRows parts[3];
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto& [key, score, positive] = rows[i];
    parts[i % 3].Add(key, score, positive);
  }
  ASSERT_TRUE(parts[1].Merge(parts[2].Serialize()));
  ASSERT_TRUE(parts[1].Merge(parts[0].Serialize()));
  EXPECT_EQ(GroupedAuc(&parts[1]).mean, value);
}

TEST(ScoredRowsTest, MergeRefusesHalfARow) {
  ScoredRows rows;
  EXPECT_TRUE(rows.Merge(""));
  EXPECT_FALSE(rows.Merge("half"));
}

}  // namespace
}  // namespace pepnet

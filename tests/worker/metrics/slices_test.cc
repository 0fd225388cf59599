#include "worker/metrics/slices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <limits>
#include <mutex>
#include <random>

#include "absl/strings/str_cat.h"
#include "common/net/in_process.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<ScoredRow> Rows(std::vector<std::pair<float, bool>> rows) {
  std::vector<ScoredRow> scored;
  for (const auto& [score, positive] : rows) scored.push_back({0, score, positive ? 1.0f : 0.0f});
  SortByScore(&scored);
  return scored;
}

TEST(MeasureSliceTest, FourRowsByHand) {
  const SliceQuality quality =
      MeasureSlice(Rows({{0.75f, true}, {0.5f, false}, {0.25f, true}, {0.25f, false}}));
  EXPECT_EQ(quality.rows, 4);
  EXPECT_EQ(quality.positives, 2);
  EXPECT_DOUBLE_EQ(*quality.auc, (2 + 0.5) / 4);  // .75 beats both; .25 ties one and loses one
  const double loss = -(std::log(0.75) + std::log(0.5) + std::log(0.25) + std::log(0.75)) / 4;
  EXPECT_DOUBLE_EQ(*quality.logloss, loss);
  EXPECT_DOUBLE_EQ(*quality.normalized_entropy, loss / std::log(2.0));
  EXPECT_DOUBLE_EQ(*quality.pcoc, 1.75 / 2);
  EXPECT_DOUBLE_EQ(*quality.ece, (0.25 + 0.5 + 0.5) / 4);  // intervals of .75, .5 and of both .25
  ASSERT_EQ(quality.calibration.size(), 3u);
  EXPECT_EQ(quality.calibration[0].bin, 5);
  EXPECT_EQ(quality.calibration[0].rows, 2);
  EXPECT_DOUBLE_EQ(quality.calibration[0].mean_prediction, 0.25);
  EXPECT_DOUBLE_EQ(quality.calibration[0].mean_label, 0.5);
}

TEST(MeasureSliceTest, WhatHasNoValueIsLeftOut) {
  const SliceQuality empty = MeasureSlice({});
  EXPECT_EQ(empty.rows, 0);
  EXPECT_FALSE(empty.auc || empty.logloss || empty.normalized_entropy || empty.pcoc || empty.ece);

  const SliceQuality negatives = MeasureSlice(Rows({{0.5f, false}, {0.25f, false}}));
  EXPECT_FALSE(negatives.auc || negatives.normalized_entropy || negatives.pcoc);
  EXPECT_DOUBLE_EQ(*negatives.logloss, -(std::log(0.5) + std::log(0.75)) / 2);

  const SliceQuality positives = MeasureSlice(Rows({{0.5f, true}}));
  EXPECT_FALSE(positives.auc || positives.normalized_entropy);
  EXPECT_DOUBLE_EQ(*positives.pcoc, 0.5);

  const SliceQuality nan =
      MeasureSlice(Rows({{std::numeric_limits<float>::quiet_NaN(), true}, {0.5f, false}}));
  EXPECT_EQ(nan.rows, 2);
  EXPECT_EQ(nan.positives, 1);
  EXPECT_FALSE(nan.auc || nan.logloss || nan.normalized_entropy || nan.pcoc || nan.ece);
}

TEST(MeasureSliceTest, CertainPredictionsHaveAFiniteLossAndAnInterval) {
  const SliceQuality quality = MeasureSlice(Rows({{0, true}, {1, false}}));
  EXPECT_DOUBLE_EQ(*quality.logloss, -std::log(0x1p-23));
  ASSERT_EQ(quality.calibration.size(), 2u);
  EXPECT_EQ(quality.calibration[1].bin, kCalibrationBins - 1);
}

// ---- sets ---------------------------------------------------------------------------------------

// Feature 0 "tab" with ids, label column 0 "y", label column 1 "hour"; one task of probabilities
// and one of values.
JobConfig TwoTasks(std::vector<SliceColumn> slice_by, int top = 20) {
  JobConfig config;
  config.data.labels = {"y", "hour"};
  config.features.resize(1);
  config.features[0].name = "tab";
  config.model.towers.resize(2);
  config.model.towers[0].name = "click";
  config.model.towers[0].label = 0;
  config.model.towers[0].losses = {Loss{.kind = LossKind::kBinaryCrossEntropy, .name = "b"}};
  config.model.towers[1].name = "seconds";
  config.model.towers[1].label = 0;
  config.model.towers[1].losses = {Loss{.kind = LossKind::kL2, .name = "l"}};
  config.eval.slice_by = std::move(slice_by);
  config.eval.slice_top = top;
  return config;
}

struct Row {
  int64_t tab;  // below 0: an empty cell
  float hour;
  float score;
  bool positive;
};

Batch MakeBatch(const std::vector<Row>& rows) {
  Batch batch;
  batch.rows = static_cast<int64_t>(rows.size());
  batch.origin = "'f.csv' rows 1-9";
  batch.ids.resize(1);
  batch.ids[0].offsets = {0};
  batch.labels.resize(2);
  bool whole = true;
  for (const Row& row : rows) {
    // The second must not matter.
    if (row.tab >= 0) batch.ids[0].ids.insert(batch.ids[0].ids.end(), {row.tab, 99});
    batch.ids[0].offsets.push_back(static_cast<int32_t>(batch.ids[0].ids.size()));
    batch.labels[0].values.push_back(row.positive ? 1 : 0);
    batch.labels[1].values.push_back(row.hour);
    whole = whole && row.hour == std::floor(row.hour);
  }
  if (whole) {
    batch.labels[1].integers.assign(batch.labels[1].values.begin(), batch.labels[1].values.end());
  }
  return batch;
}

std::vector<std::vector<float>> Scores(const std::vector<Row>& rows) {
  std::vector<std::vector<float>> scores(2);
  for (const Row& row : rows) {
    scores[0].push_back(row.score);
    scores[1].push_back(-7);
  }
  return scores;
}

std::vector<Slice> MeasureAlone(const JobConfig& config, const std::vector<Row>& rows) {
  SliceSet set(&config);
  EXPECT_OK(set.Add(MakeBatch(rows), Scores(rows)));
  auto slices = set.Finish(nullptr);
  EXPECT_OK(slices);
  return *slices;
}

// "tab=3 click 2/1", the rest "tab~ click ...", all "tab* click ...".
std::vector<std::string> Names(const std::vector<Slice>& slices) {
  std::vector<std::string> names;
  for (const Slice& slice : slices) {
    const std::string kind = slice.kind == Slice::Kind::kValue  ? "=" + slice.value
                             : slice.kind == Slice::Kind::kRest ? "~"
                                                                : "*";
    names.push_back(absl::StrCat(slice.column, kind, " ", slice.task, " ", slice.quality.rows, "/",
                                 slice.quality.positives));
  }
  return names;
}

const std::vector<Row> kRows = {{3, 1, 0.5f, true},   {3, 2, 0.25f, false}, {5, 1, 0.5f, false},
                                {-1, 1, 0.75f, true}, {4, 2, 0.5f, false},  {3, 1, 0.5f, false},
                                {4, 1, 0.1f, false}};

TEST(SliceSetTest, ValuesWithMostRowsComeFirstAndTheRestIsOne) {
  EXPECT_THAT(Names(MeasureAlone(TwoTasks({{"tab", 0, -1}}), kRows)),
              ElementsAre("tab=3 click 3/1", "tab=4 click 2/0", "tab= click 1/1", "tab=5 click 1/0",
                          "tab* click 7/2"));
  EXPECT_THAT(
      Names(MeasureAlone(TwoTasks({{"tab", 0, -1}}, /*top=*/2), kRows)),
      ElementsAre("tab=3 click 3/1", "tab=4 click 2/0", "tab~ click 2/1", "tab* click 7/2"));
  EXPECT_THAT(Names(MeasureAlone(TwoTasks({{"hour", -1, 1}, {"tab", 0, -1}}, /*top=*/1), kRows)),
              ElementsAre("hour=1 click 5/2", "hour~ click 2/0", "hour* click 7/2",
                          "tab=3 click 3/1", "tab~ click 4/1", "tab* click 7/2"));
  EXPECT_THAT(MeasureAlone(TwoTasks({}), kRows), testing::IsEmpty());
}

TEST(SliceSetTest, ASliceIsMeasuredOnItsRowsAlone) {
  const std::vector<Slice> slices = MeasureAlone(TwoTasks({{"tab", 0, -1}}), kRows);
  EXPECT_DOUBLE_EQ(*slices[0].quality.auc, 0.75);
  EXPECT_DOUBLE_EQ(*slices[0].quality.pcoc, 1.25);
  EXPECT_FALSE(slices[1].quality.auc.has_value());
  // .75 beats 5; .5 beats 2 and ties 3
  EXPECT_DOUBLE_EQ(*slices[4].quality.auc, (5 + 2 + 1.5) / 10);
}

TEST(SliceSetTest, AWordStandsForItsId) {
  JobConfig config = TwoTasks({{"tab", 0, -1}}, /*top=*/2);
  config.features[0].vocabulary = {{"home", 3}, {"search", 5}};
  config.features[0].unknown_id = 4;
  EXPECT_THAT(Names(MeasureAlone(config, kRows)),
              ElementsAre("tab=home click 3/1", "tab=(unknown) click 2/0", "tab~ click 2/1",
                          "tab* click 7/2"));
}

TEST(SliceSetTest, AColumnOfFractionsIsAnErrorThatNamesIt) {
  const JobConfig config = TwoTasks({{"hour", -1, 1}});
  SliceSet set(&config);
  const std::vector<Row> rows = {{1, 0.5f, 0.5f, true}};
  EXPECT_THAT(
      set.Add(MakeBatch(rows), Scores(rows)),
      IsError(HasSubstr("'f.csv' rows 1-9: column 'hour' holds numbers that are not whole")));
}

// ---- grouped AUC --------------------------------------------------------------------------------

// The reasons why figures have no value: "auc: every label is 0, ...".
std::string Reasons(const SliceQuality& quality) {
  std::string text;
  for (const SliceFigure& figure : FiguresOf(quality)) {
    EXPECT_EQ(figure.value.has_value(), figure.why_none.empty()) << figure.name;
    if (!figure.value.has_value()) {
      absl::StrAppend(&text, text.empty() ? "" : ", ", figure.name, ": ", figure.why_none);
    }
  }
  return text;
}

TEST(MeasureGroupedSliceTest, GroupsCountAlikeOrByTheirRowsInTheSlice) {
  // Group 1: AUC 1. Group 2: one of its four pairs is lost. Group 3 has no negative.
  std::vector<ScoredRow> rows = {{3, 0.7f, 1}, {2, 0.4f, 1}, {1, 0.1f, 0}, {2, 0.5f, 0},
                                 {1, 0.9f, 1}, {2, 0.9f, 1}, {2, 0.1f, 0}, {3, 0.8f, 1}};
  const SliceQuality quality = MeasureGroupedSlice(&rows);
  EXPECT_TRUE(quality.has_groups);
  EXPECT_DOUBLE_EQ(*quality.grouped_auc, (1 + 0.75) / 2);
  EXPECT_DOUBLE_EQ(*quality.grouped_auc_by_impressions, (2 * 1 + 4 * 0.75) / 6);
  EXPECT_EQ(quality.rows, 8);
  EXPECT_DOUBLE_EQ(*quality.auc, (3 + 2 + 3 + 3 + 3) / 15.0) << "over all pairs, whoever has them";
  EXPECT_EQ(Reasons(quality), "");
  EXPECT_EQ(FiguresOf(MeasureSlice(rows)).size(), 5u) << "no figure of groups without groups";
}

TEST(MeasureGroupedSliceTest, WhatHasNoValueSaysWhy) {
  const auto reasons = [](std::vector<ScoredRow> rows) {
    return Reasons(MeasureGroupedSlice(&rows));
  };
  EXPECT_EQ(reasons({{1, 0.5f, 1}, {2, 0.25f, 0}}),
            "grouped_auc: no group has both classes, grouped_auc_by_impressions: no group has both "
            "classes");
  EXPECT_EQ(reasons({{1, 0.5f, 0}, {1, 0.25f, 0}}),
            "auc: every label is 0, normalized_entropy: every label is 0, pcoc: every label is 0, "
            "grouped_auc: every label is 0, grouped_auc_by_impressions: every label is 0");
  EXPECT_EQ(reasons({{1, 0.5f, 1}}),
            "auc: every label is 1, normalized_entropy: every label is 1, "
            "grouped_auc: every label is 1, grouped_auc_by_impressions: every label is 1");
  EXPECT_THAT(reasons({}), testing::StartsWith("auc: no rows, logloss: no rows, "));
  EXPECT_THAT(reasons({{1, std::numeric_limits<float>::quiet_NaN(), 1}, {1, 0.5f, 0}}),
              testing::EndsWith("grouped_auc_by_impressions: a prediction is NaN"));
}

// Label 0 "y", features 0 "tab" and 1 "user", by which the only task has a grouped AUC.
JobConfig GroupedTask(int top = 20) {
  JobConfig config;
  config.data.labels = {"y"};
  config.features.resize(2);
  config.features[0].name = "tab";
  config.features[1].name = "user";
  Tower& tower = config.model.towers.emplace_back();
  tower.name = "click";
  tower.label = 0;
  tower.losses = {Loss{.kind = LossKind::kBinaryCrossEntropy, .name = "b"}};
  tower.metrics = {
      Metric{.kind = MetricKind::kAuc, .name = "auc_click"},
      Metric{.kind = MetricKind::kGroupedAuc, .name = "grouped_auc_click", .grouping_feature = 1}};
  config.eval.slice_by = {{"tab", 0, -1}};
  config.eval.slice_top = top;
  return config;
}

// Rows 0 to 599, of a formula that a Python program can write as well: scores with ties and with 0,
// a tab without positives, and one in which no user comes twice.
struct GroupedRow {
  int64_t tab, user;
  float score;
  bool positive;
};
GroupedRow RowNumber(int64_t i) {
  const int64_t tab = (i * 3 + i / 10) % 6;
  const auto score = static_cast<float>((i * 37 + tab * 11) % 64) / 64;
  const bool positive = (i * i * 3 + i / 7 + tab) % 4 == 0 || (tab == 3 && score > 0.7f);
  return {tab, tab == 5 ? 1000 + i : (i * 7 + tab) % 11, score, positive && tab != 4};
}

Status AddRows(SliceSet* set, const std::vector<int64_t>& numbers) {
  Batch batch;
  batch.rows = static_cast<int64_t>(numbers.size());
  batch.ids.resize(2);
  batch.labels.resize(1);
  std::vector<float> scores;
  for (IdColumn& ids : batch.ids) ids.offsets = {0};
  for (const int64_t i : numbers) {
    const GroupedRow row = RowNumber(i);
    batch.ids[0].ids.push_back(row.tab);
    if (row.user != 0) batch.ids[1].ids.push_back(row.user);  // an empty cell is of group 0
    for (IdColumn& ids : batch.ids) ids.offsets.push_back(static_cast<int32_t>(ids.ids.size()));
    batch.labels[0].values.push_back(row.positive ? 1 : 0);
    scores.push_back(row.score);
  }
  return set->Add(batch, {scores});
}

std::vector<int64_t> Numbers(int64_t first, int64_t step) {
  std::vector<int64_t> numbers;
  for (int64_t i = first; i < 600; i += step) numbers.push_back(i);
  return numbers;
}

// scikit-learn 1.9.1: roc_auc_score(), log_loss() of predictions kept in [2^-23, 1 - 2^-23], and
// the same of the users with both classes, by numpy's mean() and average(weights=rows).
TEST(SliceSetTest, EqualsScikitLearn) {
  const JobConfig config = GroupedTask();
  SliceSet set(&config);
  ASSERT_OK(AddRows(&set, Numbers(0, 1)));
  ASSERT_OK_AND_ASSIGN(const std::vector<Slice> slices, set.Finish(nullptr));
  ASSERT_THAT(Names(slices),
              ElementsAre("tab=0 click 100/35", "tab=1 click 100/21", "tab=2 click 100/25",
                          "tab=3 click 100/45", "tab=4 click 100/0", "tab=5 click 100/27",
                          "tab* click 600/153"));
  const double kNone = -1;
  struct Expected {
    double auc, logloss, normalized_entropy, pcoc, ece, grouped_auc, by_impressions;
  };
  const Expected expected[] = {
      {0.46417582417582415, 1.1538790683561333, 1.782199487631306, 1.3919642857142858, 0.2946875,
       0.4514069264069265, 0.45021428571428573},
      {0.5831826401446655, 0.8449254519752364, 1.643962419945909, 2.2395833333333335, 0.296875,
       0.6112914862914863, 0.6098611111111112},
      {0.5581333333333333, 0.9228700663505413, 1.641138874533851, 2.01375, 0.3296875,
       0.4729437229437229, 0.48261904761904767},
      {0.7925252525252524, 0.7049679228790375, 1.0244559801453863, 1.0951388888888889, 0.2425,
       0.782070707070707, 0.7931111111111112},
      {kNone, 0.9176641099941649, kNone, kNone, 0.4859375, kNone, kNone},
      {0.47539320142059865, 1.1129406634145778, 1.908141954898097, 1.8113425925925926, 0.3228125,
       kNone, kNone},
      {0.5756020529016975, 0.9428745471616152, 1.6606867414550732, 1.9142156862745099,
       0.2828645833333333, 0.5634573831769193, 0.5680596640695904}};
  for (size_t i = 0; i < slices.size(); ++i) {
    const SliceQuality& quality = slices[i].quality;
    const Expected& one = expected[i];
    EXPECT_NEAR(quality.auc.value_or(kNone), one.auc, 1e-14) << i;
    EXPECT_NEAR(quality.logloss.value_or(kNone), one.logloss, 1e-14) << i;
    EXPECT_NEAR(quality.normalized_entropy.value_or(kNone), one.normalized_entropy, 1e-13) << i;
    EXPECT_NEAR(quality.pcoc.value_or(kNone), one.pcoc, 1e-14) << i;
    EXPECT_NEAR(quality.ece.value_or(kNone), one.ece, 1e-14) << i;
    EXPECT_NEAR(quality.grouped_auc.value_or(kNone), one.grouped_auc, 1e-14) << i;
    EXPECT_NEAR(quality.grouped_auc_by_impressions.value_or(kNone), one.by_impressions, 1e-14) << i;
  }
}

// A group in the rest and in all rows has its rows of all values.
TEST(SliceSetTest, GroupedAucsAreTheSameBitsForAnyNumberOfWorkers) {
  const JobConfig config = GroupedTask(/*top=*/3);
  SliceSet one(&config);
  ASSERT_OK(AddRows(&one, Numbers(0, 1)));
  ASSERT_OK_AND_ASSIGN(const std::vector<Slice> alone, one.Finish(nullptr));
  ASSERT_EQ(alone.size(), 5u);
  EXPECT_TRUE(alone[3].kind == Slice::Kind::kRest && alone[3].quality.grouped_auc.has_value());
  for (const int workers : {2, 3, 5}) {
    std::vector<Slice> together;
    std::mutex mutex;
    ASSERT_OK(RunRanks(workers, {}, [&](int rank, Transport* transport) -> Status {
      std::vector<int> ranks(workers);
      for (int r = 0; r < workers; ++r) ranks[r] = r;
      const auto collective = MakeCollective(transport, Channel::kDense, ranks, /*timeout_s=*/30);
      SliceSet set(&config);
      // The last worker of five has no rows.
      if (rank < 4) PEPNET_RETURN_IF_ERROR(AddRows(&set, Numbers(rank, std::min(workers, 4))));
      PEPNET_ASSIGN_OR_RETURN(std::vector<Slice> slices, set.Finish(collective.get()));
      std::lock_guard<std::mutex> lock(mutex);
      if (rank == 0) together = std::move(slices);
      return absl::OkStatus();
    }));
    ASSERT_EQ(Names(together), Names(alone));
    for (size_t i = 0; i < alone.size(); ++i) {
      EXPECT_EQ(alone[i].quality.auc, together[i].quality.auc);
      EXPECT_EQ(alone[i].quality.grouped_auc, together[i].quality.grouped_auc);
      EXPECT_EQ(alone[i].quality.grouped_auc_by_impressions,
                together[i].quality.grouped_auc_by_impressions);
    }
  }
}

// Bits, for any number of workers and any order of the rows.
TEST(SliceSetTest, TheRowsAloneDecideNotWhoHasThem) {
  constexpr int kSeed = 20261128;
  std::printf("seed %d\n", kSeed);
  std::mt19937 random(kSeed);
  std::vector<Row> rows;
  for (int i = 0; i < 3000; ++i) {
    rows.push_back({static_cast<int64_t>(random() % 12) - 1, static_cast<float>(random() % 3),
                    static_cast<float>(random() % 1000) / 1000, random() % 4 == 0});
  }
  const JobConfig config = TwoTasks({{"tab", 0, -1}, {"hour", -1, 1}}, /*top=*/5);
  const std::vector<Slice> alone = MeasureAlone(config, rows);
  ASSERT_EQ(alone.size(), 5u + 2 + 3 + 1);
  for (const int workers : {2, 3}) {
    std::shuffle(rows.begin(), rows.end(), random);
    std::vector<Slice> together;
    std::mutex mutex;
    const Status status = RunRanks(workers, {}, [&](int rank, Transport* transport) -> Status {
      std::vector<int> ranks(workers);
      for (int r = 0; r < workers; ++r) ranks[r] = r;
      const auto collective = MakeCollective(transport, Channel::kDense, ranks, /*timeout_s=*/30);
      SliceSet set(&config);
      for (size_t begin = rank * 100; begin < rows.size(); begin += 100 * workers) {
        const std::vector<Row> part(rows.begin() + begin,
                                    rows.begin() + std::min(rows.size(), begin + 100));
        PEPNET_RETURN_IF_ERROR(set.Add(MakeBatch(part), Scores(part)));
      }
      PEPNET_ASSIGN_OR_RETURN(std::vector<Slice> slices, set.Finish(collective.get()));
      EXPECT_EQ(slices.empty(), rank != 0);
      std::lock_guard<std::mutex> lock(mutex);
      if (rank == 0) together = std::move(slices);
      return absl::OkStatus();
    });
    ASSERT_OK(status);
    ASSERT_EQ(Names(together), Names(alone));
    for (size_t i = 0; i < alone.size(); ++i) {
      const SliceQuality &a = alone[i].quality, &b = together[i].quality;
      EXPECT_EQ(a.auc, b.auc);
      EXPECT_EQ(a.logloss, b.logloss);
      EXPECT_EQ(a.normalized_entropy, b.normalized_entropy);
      EXPECT_EQ(a.pcoc, b.pcoc);
      EXPECT_EQ(a.ece, b.ece);
    }
  }
}

}  // namespace
}  // namespace pepnet

#include "worker/watch/label_copies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace pepnet {
namespace {

constexpr int64_t kNone = -1;  // an empty cell

JobConfig Config() {
  JobConfig config;
  config.data.labels = {"buy"};
  Feature& feature = config.features.emplace_back();
  feature.name = "buy_time";
  feature.column = "t";
  feature.is_read = true;
  return config;
}

// 200 rows; label `label(row)`, the cell holds id(row, label).
Batch Rows(int64_t first, const std::function<int(int64_t)>& label,
           const std::function<int64_t(int64_t, int)>& id) {
  Batch batch;
  batch.rows = batch.global_rows = 200;
  batch.labels.resize(1);
  batch.ids.resize(1);
  batch.values.resize(1);
  batch.ids[0].offsets.push_back(0);
  for (int64_t row = first; row < first + batch.rows; ++row) {
    const int one = label(row);
    batch.labels[0].values.push_back(static_cast<float>(one));
    if (const int64_t cell = id(row, one); cell != kNone) batch.ids[0].ids.push_back(cell);
    batch.ids[0].offsets.push_back(static_cast<int32_t>(batch.ids[0].ids.size()));
  }
  return batch;
}

int EveryFifth(int64_t row) { return row % 5 == 0 ? 1 : 0; }

// The warnings about two workers that read 200 rows each.
std::vector<Warning> Said(const std::function<int(int64_t)>& label,
                          const std::function<int64_t(int64_t, int)>& id) {
  const JobConfig config = Config();
  std::vector<std::string> states;
  for (const int64_t first : {0, 200}) {
    LabelCopies copies(&config, {0});
    copies.Observe(Rows(first, label, id));
    states.push_back(copies.State());
  }
  return LabelCopies(&config, {0}).Warnings(states);
}

TEST(LabelCopiesTest, ACopyOfTheLabelIsNamedOnce) {
  const std::vector<Warning> warnings =
      Said(EveryFifth, [](int64_t, int label) { return 7 - label; });
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0].kind, warning_kinds::kLeak);
  EXPECT_EQ(warnings[0].text,
            "feature buy_time (column t) tells label buy: all rows in which it is 0 hold the same "
            "value, and no other of "
            "the 400 rows compared does; when the model is used the label is not known yet, so "
            "leave the feature out, or "
            "take its value from before the event");
}

TEST(LabelCopiesTest, ACellThatIsFilledByTheEventAloneIsNamed) {
  EXPECT_EQ(
      Said(EveryFifth, [](int64_t row, int label) { return label == 1 ? row : kNone; }).size(), 1u);
  EXPECT_EQ(
      Said(EveryFifth, [](int64_t row, int label) { return label == 0 ? row : kNone; }).size(), 1u);
}

TEST(LabelCopiesTest, AnHonestFeatureIsNot) {
  EXPECT_TRUE(Said(EveryFifth, [](int64_t row, int) { return row % 3; }).empty());
  EXPECT_TRUE(Said(EveryFifth, [](int64_t, int) { return 3; }).empty())
      << "a constant one tells nothing";
  EXPECT_TRUE(
      Said(EveryFifth, [](int64_t row, int label) { return row == 399 ? 7 : 7 - label; }).size() ==
      1u)
      << "row 399 has label 0 and the cell of label 0";
  EXPECT_TRUE(
      Said(EveryFifth, [](int64_t row, int label) { return row == 399 ? 6 : 7 - label; }).empty())
      << "one row of 400 speaks against it";
}

TEST(LabelCopiesTest, WorkersMustAgreeAndBothClassesMustBeThere) {
  EXPECT_TRUE(
      Said(EveryFifth, [](int64_t row, int label) { return row < 200 ? 7 - label : 9 + label; })
          .empty())
      << "each worker saw another copy";
  EXPECT_TRUE(Said([](int64_t row) { return row % 10 == 0 ? 1 : 0; },
                   [](int64_t, int label) { return label; })
                  .empty())
      << "40 positives prove nothing";
}

TEST(LabelCopiesTest, LaterRowsAreNotCompared) {
  const JobConfig config = Config();
  LabelCopies copies(&config, {0});
  Batch batch = Rows(0, EveryFifth, [](int64_t, int label) { return label; });
  batch.global_rows = LabelCopies::kWatchedRows;
  copies.Observe(batch);
  copies.Observe(Rows(0, EveryFifth, [](int64_t row, int) { return row; }));
  EXPECT_TRUE(copies.Warnings({copies.State()}).empty()) << "40 positives prove nothing";
  EXPECT_EQ(copies.Warnings({copies.State(), copies.State()}).size(), 1u);
}

}  // namespace
}  // namespace pepnet

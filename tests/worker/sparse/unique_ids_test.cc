#include "worker/sparse/unique_ids.h"

#include <gtest/gtest.h>

#include <random>

namespace pepnet {
namespace {

// Features a and b share table 0, c has table 1, nothing reads d.
JobConfig FourFeatures() {
  JobConfig config;
  config.tables.resize(2);
  config.features.resize(4);
  config.leaves = {{0, 0, 1}, {1, 0, 1}, {2, 1, 1}};
  return config;
}

Batch BatchOf(std::vector<std::vector<int64_t>> ids) {
  Batch batch;
  for (std::vector<int64_t>& column : ids) batch.ids.push_back({std::move(column), {}, {}});
  return batch;
}

TEST(UniqueIdsTest, SharedTablesShareIdsInOrderOfFirstLookup) {
  const UniqueIds unique = FindUniqueIds(FourFeatures(), BatchOf({{7, 3, 7}, {3, 9}, {3}, {1, 2}}));
  EXPECT_EQ(unique.ids[0], (std::vector<int64_t>{7, 3, 9}));
  EXPECT_EQ(unique.positions[0], (std::vector<int32_t>{0, 1, 0}));
  EXPECT_EQ(unique.positions[1], (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(unique.ids[1], (std::vector<int64_t>{3}));
  EXPECT_EQ(unique.positions.size(), 3u);
}

// Table 0 counts clicks of label "buy", the second one.
TEST(UniqueIdsTest, IdsThatARowWithAPositiveLabelNamesAreMarked) {
  JobConfig config = FourFeatures();
  config.data.labels = {"clk", "buy"};
  config.tables[0].policy = {
      .max_rows = 5000, .eviction = EvictionKind::kScore, .half_life_steps = 1};
  config.tables[0].policy.click_weight = 2;
  config.tables[0].policy.click_label = "buy";
  // Feature a has two ids in row 0, none in row 1 and one in row 2; b one in each row; a sequence
  // of c has elements.
  Batch batch = BatchOf({{7, 3, 9}, {3, 5, 8}, {1, 1, 1}, {}});
  batch.rows = 3;
  batch.ids[0].offsets = {0, 2, 2, 3};
  batch.ids[1].offsets = {0, 1, 2, 3};
  batch.ids[2].offsets = {0, 1, 2, 3};
  batch.labels = {{{1, 1, 1}, {}}, {{0, 1, 0.5f}, {}}};
  UniqueIds unique = FindUniqueIds(config, batch);
  ASSERT_EQ(unique.ids[0], (std::vector<int64_t>{7, 3, 9, 5, 8}));
  EXPECT_TRUE(unique.clicked.empty());
  MarkClicks(config, batch, &unique);
  ASSERT_EQ(unique.clicked.size(), 2u);
  // rows 1 and 2 name 5, 9 and 8
  EXPECT_EQ(unique.clicked[0], (std::vector<uint8_t>{0, 0, 1, 1, 1}));
  EXPECT_TRUE(unique.clicked[1].empty());
  // Elements of a sequence belong to their row.
  batch.elements = {{0, 1, 3, 3}, {}, {}, {}};  // row 1 has the elements {} and {9}
  unique = FindUniqueIds(config, batch);
  MarkClicks(config, batch, &unique);
  EXPECT_EQ(unique.clicked[0], (std::vector<uint8_t>{0, 0, 1, 1, 1}));
  batch.labels[1].values = {0, 0, 1};
  MarkClicks(config, batch, &unique);
  EXPECT_EQ(unique.clicked[0], (std::vector<uint8_t>{0, 0, 0, 0, 1}));  // row 2 has no element of a
}

TEST(UniqueIdsTest, EmptyBatch) {
  const UniqueIds unique = FindUniqueIds(FourFeatures(), BatchOf({{}, {}, {}, {}}));
  EXPECT_TRUE(unique.ids[0].empty());
  EXPECT_TRUE(unique.ids[1].empty());
}

TEST(UniqueIdsTest, EveryLookupFindsItsOwnIdAmongManyCollidingOnes) {
  std::mt19937_64 random(5);
  std::vector<int64_t> ids(20000);
  for (int64_t& id : ids) id = static_cast<int64_t>(random() % 3000) << 40;
  JobConfig config = FourFeatures();
  config.tables[0].rows = int64_t{1} << 52;
  const UniqueIds unique = FindUniqueIds(config, BatchOf({ids, {}, {}, {}}));
  for (size_t i = 0; i < ids.size(); ++i) ASSERT_EQ(unique.ids[0][unique.positions[0][i]], ids[i]);
  std::vector<int64_t> sorted = unique.ids[0];
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(std::unique(sorted.begin(), sorted.end()), sorted.end());
}

TEST(UniqueIdsTest, ATeamFindsTheSame) {
  std::mt19937_64 random(6);
  std::vector<std::vector<int64_t>> columns(4, std::vector<int64_t>(20000));
  for (std::vector<int64_t>& column : columns) {
    for (int64_t& id : column) id = static_cast<int64_t>(random() % 7000);
  }
  JobConfig config = FourFeatures();
  for (Table& table : config.tables) table.rows = 7000;
  const Batch batch = BatchOf(columns);
  const UniqueIds alone = FindUniqueIds(config, batch);
  ThreadTeam team(3, "test");
  const UniqueIds shared = FindUniqueIds(config, batch, &team);
  EXPECT_EQ(alone.ids, shared.ids);
  EXPECT_EQ(alone.positions, shared.positions);
}

}  // namespace
}  // namespace pepnet

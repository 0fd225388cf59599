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

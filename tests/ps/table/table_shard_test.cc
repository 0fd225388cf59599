#include "ps/table/table_shard.h"

#include <chrono>
#include <iostream>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/base/partition.h"
#include "ps/table/store/pages_ahead.h"

namespace pepnet {
namespace {

Table MakeTable(int dim = 3) {
  Table table;
  table.name = "user_id_emb";
  table.rows = int64_t{1} << 62;
  table.dim = dim;
  return table;
}

SparseOptimizer Adagrad() {
  SparseOptimizer optimizer;
  optimizer.kind = SparseOptimizerKind::kAdagrad;
  optimizer.initial_accumulator_value = 0.5;
  return optimizer;
}

// Distinct ids: small and dense, strided by a power of two, and spread over 62 bits.
int64_t IdOf(int64_t i) {
  if (i % 3 == 0) return i;
  if (i % 3 == 1) return (i << 20) + 1;
  return static_cast<int64_t>(Mix64(i) >> 2);
}

TEST(TableShardTest, EmptyShardFindsNothing) {
  const TableShard shard(MakeTable(), Adagrad(), 1);
  std::vector<int64_t> slots(3, 7);
  shard.Find(std::vector<int64_t>{0, 1, 5}, slots);
  EXPECT_THAT(slots, testing::Each(TableShard::kNoSlot));
  EXPECT_EQ(shard.size(), 0);
  EXPECT_TRUE(shard.SortedRows().empty());
  shard.Find({}, {});
}

TEST(TableShardTest, NewRowHasItsInitialValueAndState) {
  TableShard shard(MakeTable(), Adagrad(), 1);
  const int64_t slot = shard.Create(0);  // id 0 is an id like any other
  EXPECT_EQ(shard.Find(0), slot);
  std::vector<float> expected(3);
  shard.ReadInitialValue(0, expected);
  EXPECT_EQ(std::vector<float>(shard.value(slot), shard.value(slot) + 3), expected);
  EXPECT_EQ(std::vector<float>(shard.state(slot), shard.state(slot) + 3),
            std::vector<float>(3, 0.5f));
  EXPECT_EQ(shard.frequency(slot), 0);
  EXPECT_EQ(shard.last_step(slot), 0);
}

TEST(TableShardTest, ARowOfFewerBitsReadsWhatItsIdReadBefore) {
  for (const ValueKind kind : {ValueKind::kFp16, ValueKind::kBf16, ValueKind::kInt8}) {
    Table table = MakeTable(5);
    table.value_kind = kind;
    TableShard shard(table, Adagrad(), 1);
    const std::vector<int64_t> ids = {IdOf(4), IdOf(5), IdOf(6)};
    std::vector<int64_t> slots(3);
    std::vector<float> before(15), after(15), again(15);
    shard.FindAndRead(ids, slots, before.data());
    EXPECT_THAT(slots, testing::Each(TableShard::kNoSlot));
    for (const int64_t id : ids) shard.Create(id);
    shard.FindAndRead(ids, slots, after.data());
    shard.ReadValues(ids, slots, again.data());
    EXPECT_THAT(slots, testing::Each(testing::Ne(TableShard::kNoSlot)));
    EXPECT_EQ(after, before) << TypeOf(kind).name;
    EXPECT_EQ(again, before);
    for (const int64_t slot : slots) {
      EXPECT_EQ(std::vector<float>(shard.state(slot), shard.state(slot) + 5),
                std::vector<float>(5, 0.5f));
      EXPECT_EQ(shard.state(slot) - shard.floats(slot), kind == ValueKind::kInt8 ? 2 : 3);
    }
  }
}

TEST(TableShardTest, AStateOfSixteenBitsBeginsRoundedAndClicksStayWhole) {
  Table table = MakeTable(5);
  table.policy = {
      .max_rows = 4096, .eviction = EvictionKind::kScore, .half_life_steps = 3, .click_weight = 1};
  SparseOptimizer optimizer = Adagrad();
  optimizer.state_kind = ValueKind::kBf16;
  optimizer.initial_accumulator_value = 0.1;
  TableShard shard(table, optimizer, 1);
  EXPECT_EQ(shard.state_dim(), 6);
  EXPECT_EQ(shard.codec().words(), 5 + 3 + 1);
  const int64_t slot = shard.Create(IdOf(4));
  std::vector<float> tenth(5, 0.1f), state(6);
  RoundToNearest(ValueKind::kBf16, tenth);
  for (int click = 0; click < 301; ++click) shard.CountClick(slot);
  EXPECT_EQ(shard.clicks(slot), 301);  // more than 8 bits
  shard.codec().ReadState(shard.floats(slot), state.data());
  tenth.push_back(301);
  EXPECT_EQ(state, tenth);
}

TEST(TableShardTest, GrowthKeepsSlotsPointersAndContents) {
  constexpr int64_t kRows = 100'000;
  TableShard shard(MakeTable(), Adagrad(), 1);
  std::vector<float*> pointers;
  for (int64_t i = 0; i < kRows; ++i) {
    const int64_t slot = shard.Create(IdOf(i));
    ASSERT_EQ(slot, i);
    shard.value(slot)[1] = static_cast<float>(i);
    shard.frequency(slot) = i;
    shard.last_step(slot) = -i;
    pointers.push_back(shard.value(slot));
  }
  EXPECT_EQ(shard.size(), kRows);
  std::vector<int64_t> ids, slots(2 * kRows);
  for (int64_t i = 0; i < kRows; ++i) {
    ids.push_back(IdOf(i));
    ids.push_back((int64_t{1} << 61) + i);  // never made
  }
  const TableShard& reader = shard;
  reader.Find(ids, slots);
  for (int64_t i = 0; i < kRows; ++i) {
    ASSERT_EQ(slots[2 * i], i);
    ASSERT_EQ(slots[2 * i + 1], TableShard::kNoSlot);
    ASSERT_EQ(reader.value(i), pointers[i]);
    ASSERT_EQ(reader.value(i)[1], static_cast<float>(i));
    ASSERT_EQ(reader.frequency(i), i);
    ASSERT_EQ(reader.last_step(i), -i);
  }
  EXPECT_EQ(shard.size(), kRows);
  EXPECT_GE(shard.memory_bytes(), kRows * (6 * sizeof(float) + 16 + 16));
}

TEST(TableShardTest, SortedRowsAreInBucketThenIdOrderAndComplete) {
  TableShard shard(MakeTable(), Adagrad(), 1);
  std::set<int64_t> ids;
  for (int64_t i = 0; i < 20'000; ++i) {
    shard.Create(IdOf(i));
    ids.insert(IdOf(i));
  }
  const auto rows = shard.SortedRows();
  ASSERT_EQ(rows.size(), ids.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(ids.erase(rows[i].id), 1u);
    ASSERT_EQ(rows[i].slot, shard.Find(rows[i].id));
    if (i == 0) continue;
    const int before = BucketOf(RowHash(shard.table_hash(), rows[i - 1].id)),
              bucket = BucketOf(RowHash(shard.table_hash(), rows[i].id));
    ASSERT_TRUE(before < bucket || (before == bucket && rows[i - 1].id < rows[i].id))
        << "row " << i;
  }
}

TEST(TableShardTest, ReadValuesGivesInitialValuesForMissesAndCreatesNothing) {
  TableShard shard(MakeTable(), Adagrad(), 1);
  for (int64_t id = 0; id < 40; id += 2) shard.value(shard.Create(id))[0] = 100.0f + id;
  std::vector<int64_t> ids, slots(40);
  for (int64_t id = 0; id < 40; ++id) ids.push_back(id);
  shard.Find(ids, slots);
  std::vector<float> values(40 * 3), expected(3);
  shard.ReadValues(ids, slots, values.data());
  for (int64_t id = 0; id < 40; ++id) {
    shard.ReadInitialValue(id, expected);
    if (id % 2 == 0) expected[0] = 100.0f + id;
    EXPECT_EQ(std::vector<float>(values.begin() + id * 3, values.begin() + id * 3 + 3), expected);
  }
  EXPECT_EQ(shard.size(), 20);
}

TEST(TableShardTest, ReservedRoomChangesNothingElse) {
  TableShard shard(MakeTable(), Adagrad(), 1);
  shard.Create(5);
  EXPECT_EQ(shard.Reserve(10'000).size(), 1u);  // of three chunks one is in use, one not filled
  EXPECT_TRUE(shard.Reserve(1).empty());
  EXPECT_EQ(shard.Find(5), 0);
  EXPECT_EQ(shard.Find(6), TableShard::kNoSlot);
  EXPECT_EQ(shard.size(), 1);
}

TEST(TableShardTest, RowsMadeInReservedRoomAreThoseOfAnyOther) {
  constexpr int64_t kRows = 100'000;
  TableShard reserved(MakeTable(), Adagrad(), 1), grown(MakeTable(), Adagrad(), 1);
  {
    // The pages are made while the rows are: they must keep what has been written.
    const PagesAhead pages(reserved.Reserve(kRows));
    for (int64_t i = 0; i < kRows; ++i) ASSERT_EQ(reserved.Create(IdOf(i)), i);
  }
  for (int64_t i = 0; i < kRows; ++i) grown.Create(IdOf(i));
  for (int64_t i = 0; i < kRows; ++i) {
    ASSERT_EQ(reserved.info(i).id, IdOf(i));
    ASSERT_EQ(std::vector<float>(reserved.value(i), reserved.value(i) + 6),
              std::vector<float>(grown.value(i), grown.value(i) + 6));
  }
}

TEST(TableShardTest, RowsWithoutStateHaveNone) {
  SparseOptimizer sgd;
  sgd.kind = SparseOptimizerKind::kSgd;
  TableShard shard(MakeTable(5), sgd, 1);
  for (int64_t id = 0; id < 5000; ++id) shard.Create(id);  // crosses a chunk
  EXPECT_EQ(shard.state_dim(), 0);
  EXPECT_EQ(shard.value(1), shard.value(0) + 5);
}

TEST(TableShardTest, AMillionRowsGoInAndComeOut) {
  constexpr int64_t kRows = 1'000'000, kBatch = 10'000;
  TableShard shard(MakeTable(16), Adagrad(), 1);
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < kRows; ++i) shard.Create(IdOf(i));
  const auto created = std::chrono::steady_clock::now();
  std::vector<int64_t> ids(kBatch), slots(kBatch);
  std::vector<float> values(kBatch * 16);
  int64_t found = 0;
  for (int64_t begin = 0; begin < kRows; begin += kBatch) {
    for (int64_t i = 0; i < kBatch; ++i) ids[i] = IdOf((begin + i) * 7919 % kRows);
    shard.Find(ids, slots);
    shard.ReadValues(ids, slots, values.data());
    for (int64_t slot : slots) found += slot != TableShard::kNoSlot;
  }
  const auto read = std::chrono::steady_clock::now();
  EXPECT_EQ(found, kRows);
  const std::chrono::duration<double, std::nano> create_time = created - start,
                                                 read_time = read - created;
  std::cout << "create " << create_time.count() / kRows << " ns/row, find and read "
            << read_time.count() / kRows << " ns/row\n";
}

}  // namespace
}  // namespace pepnet

#include "ps/load_tables.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/base/partition.h"
#include "common/checkpoint/checkpoint.h"
#include "ps/table/row_lifecycle.h"
#include "tests/common/checkpoint/test_files.h"
#include "tests/ps/save_now.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::HasSubstr;

Table MakeTable(const std::string& name, int64_t rows, int dim) {
  Table table;
  table.name = name;
  table.rows = rows;
  table.dim = dim;
  return table;
}

ServerPlan MakePlan(int index, int count) {
  ServerPlan plan;
  plan.tables = {MakeTable("user/id", 30'000, 3), MakeTable("item", 10, 2),
                 MakeTable("never used", 10, 1)};
  plan.optimizer.kind = SparseOptimizerKind::kAdagrad;
  plan.optimizer.initial_accumulator_value = 0.5;
  plan.seed = 21;
  plan.server_index = index;
  plan.server_count = count;
  plan.worker_ranks = {0};
  plan.first_bucket = FirstBucket(index, count);
  plan.end_bucket = FirstBucket(index + 1, count);
  return plan;
}

// The shards of one server with every second id of "user/id" and all of "item", each row with
// contents of its own.
std::vector<TableShard> FilledTables(const ServerPlan& plan) {
  std::vector<TableShard> tables = MakeTables(plan);
  for (int t = 0; t < 2; ++t) {
    for (int64_t id = 0; id < plan.tables[t].rows; id += t == 0 ? 2 : 1) {
      const int bucket = BucketOf(RowHash(tables[t].table_hash(), id));
      if (bucket < plan.first_bucket || bucket >= plan.end_bucket) continue;
      const int64_t slot = tables[t].Create(id);
      for (int e = 0; e < tables[t].dim(); ++e) {
        tables[t].value(slot)[e] = static_cast<float>(id + e * 0.25);
        tables[t].state(slot)[e] = static_cast<float>(id * 2 + e);
      }
      tables[t].frequency(slot) = id + 1;
      tables[t].last_step(slot) = id % 7;
    }
  }
  return tables;
}

// A complete checkpoint of `count` servers at step 9.
std::string WriteCheckpoint(const TemporaryDirectory& directory, int count) {
  auto writer = CheckpointWriter::Begin(directory.path(), 9);
  EXPECT_OK(writer);
  Manifest manifest;
  manifest.step = 9;
  manifest.server_count = count;
  for (int server = 0; server < count; ++server) {
    const ServerPlan plan = MakePlan(server, count);
    const auto parts = SaveNow(plan, FilledTables(plan), 9, writer->temporary_directory());
    EXPECT_OK(parts);
    EXPECT_EQ(parts->rows.size(), 3u);
    manifest.parts.insert(manifest.parts.end(), parts->rows.begin(), parts->rows.end());
  }
  const auto path = writer->Commit(manifest);
  EXPECT_OK(path);
  return *path;
}

std::string RowText(const TableShard& table, int64_t id) {
  const int64_t slot = table.Find(id);
  if (slot == TableShard::kNoSlot) return "none";
  std::string text;
  for (int e = 0; e < table.dim(); ++e) {
    absl::StrAppend(&text, table.value(slot)[e], "/", table.state(slot)[e], " ");
  }
  return absl::StrCat(text, "f", table.frequency(slot), " s", table.last_step(slot));
}

TEST(LoadTablesTest, RowsOfAnyNumberOfServersLoadIntoAnyNumber) {
  for (int saved : {1, 3}) {
    TemporaryDirectory directory;
    const std::string path = WriteCheckpoint(directory, saved);
    EXPECT_OK(VerifyCheckpoint(path, *ReadManifest(path), true, true));
    for (int loaded : {1, 2, 3, 5}) {
      int64_t rows = 0;
      for (int server = 0; server < loaded; ++server) {
        const ServerPlan plan = MakePlan(server, loaded);
        const std::vector<TableShard> expected = FilledTables(plan);
        ASSERT_OK_AND_ASSIGN(const LoadedTables from_disk, LoadTables(plan, path, {}));
        const std::vector<TableShard>& tables = from_disk.tables;
        for (size_t t = 0; t < 3; ++t) {
          ASSERT_EQ(tables[t].size(), expected[t].size());
          rows += expected[t].size();
          for (const auto& [id, slot] : expected[t].SortedRows()) {
            ASSERT_EQ(RowText(tables[t], id), RowText(expected[t], id));
          }
        }
      }
      EXPECT_EQ(rows, 15'010);
    }
  }
}

TEST(LoadTablesTest, ClicksLoadWhereTheTableCountsThemAndBeginAtZeroWhereTheFileHasNone) {
  const auto plan_of = [](bool counts) {
    ServerPlan plan = MakePlan(0, 1);
    plan.tables.resize(1);
    if (!counts) return plan;
    plan.tables[0].policy = {
        .max_rows = 1 << 20, .eviction = EvictionKind::kScore, .half_life_steps = 4};
    plan.tables[0].policy.click_weight = 1;
    return plan;
  };
  for (const bool saved : {false, true}) {
    const ServerPlan plan = plan_of(saved);
    std::vector<TableShard> tables = MakeTables(plan);
    for (int64_t id = 0; id < 50; ++id) {
      const int64_t slot = tables[0].Create(id);
      tables[0].state(slot)[0] = static_cast<float>(id) + 0.5f;
      for (int64_t click = 0; saved && click < id % 5; ++click) tables[0].CountClick(slot);
    }
    TemporaryDirectory directory;
    ASSERT_OK_AND_ASSIGN(auto writer, CheckpointWriter::Begin(directory.path(), 9));
    ASSERT_OK_AND_ASSIGN(const auto parts,
                         SaveNow(plan, std::move(tables), 9, writer.temporary_directory()));
    EXPECT_EQ(parts.rows[0].counts_clicks, saved);
    Manifest manifest;
    manifest.step = 9;
    manifest.server_count = 1;
    manifest.parts = parts.rows;
    ASSERT_OK_AND_ASSIGN(const std::string path, writer.Commit(manifest));
    for (const bool counts : {false, true}) {
      ASSERT_OK_AND_ASSIGN(const LoadedTables loaded, LoadTables(plan_of(counts), path, {}));
      const TableShard& table = loaded.tables[0];
      for (int64_t id = 0; id < 50; ++id) {
        const int64_t slot = table.Find(id);
        ASSERT_NE(slot, TableShard::kNoSlot);
        EXPECT_EQ(table.state(slot)[0], static_cast<float>(id) + 0.5f);
        EXPECT_EQ(table.clicks(slot), saved && counts ? static_cast<float>(id % 5) : 0) << id;
      }
    }
  }
}

TEST(LoadTablesTest, PartsOfSeveralServersHoldTheRowsOfOneInTheSameOrder) {
  TemporaryDirectory one, three;
  const std::string paths[] = {WriteCheckpoint(one, 1), WriteCheckpoint(three, 3)};
  std::vector<int64_t> ids[2];
  for (int i = 0; i < 2; ++i) {
    ASSERT_OK_AND_ASSIGN(const auto manifest, ReadManifest(paths[i]));
    for (const PartEntry& part : manifest.parts) {
      if (part.table != "user/id") continue;
      const Status status =
          (*TablePartReader::Open(paths[i], part))->Read(0, part.rows, [&](const RowColumns& rows) {
            ids[i].insert(ids[i].end(), rows.ids.begin(), rows.ids.end());
            return absl::OkStatus();
          });
      ASSERT_OK(status);
    }
  }
  EXPECT_EQ(ids[0].size(), 15'000u);
  EXPECT_EQ(ids[0], ids[1]);
}

TEST(LoadTablesTest, WithoutStateARowKeepsItsValueAndStartsAfresh) {
  TemporaryDirectory directory;
  LoadOptions options;
  options.with_state = false;
  ServerPlan plan = MakePlan(0, 1);
  const std::string path = WriteCheckpoint(directory, 2);
  auto loaded = LoadTables(plan, path, options);
  ASSERT_OK(loaded);
  EXPECT_EQ(RowText(loaded->tables[1], 3), "3/0.5 3.25/0.5 f0 s0");
  plan.optimizer.kind = SparseOptimizerKind::kSgd;  // another optimizer is welcome then
  loaded = LoadTables(plan, path, options);
  ASSERT_OK(loaded);
  EXPECT_EQ(loaded->tables[1].value(loaded->tables[1].Find(3))[1], 3.25f);
}

TEST(LoadTablesTest, RenamedTablesAreReadWholeAndCutByTheirNewBuckets) {
  TemporaryDirectory directory;
  const std::string path = WriteCheckpoint(directory, 3);
  int64_t rows = 0;
  for (int server = 0; server < 2; ++server) {
    ServerPlan plan = MakePlan(server, 2);
    plan.tables = {MakeTable("member", 30'000, 3)};
    LoadOptions options;
    options.table_map = {{"member", "user/id"}};
    ASSERT_OK_AND_ASSIGN(const LoadedTables from_disk, LoadTables(plan, path, options));
    const std::vector<TableShard>& tables = from_disk.tables;
    rows += tables.front().size();
    for (const auto& [id, slot] : tables.front().SortedRows()) {
      const int bucket = BucketOf(RowHash(HashName("member"), id));
      ASSERT_TRUE(bucket >= plan.first_bucket && bucket < plan.end_bucket);
      ASSERT_EQ(tables.front().value(slot)[1], static_cast<float>(id + 0.25));
      ASSERT_EQ(tables.front().last_step(slot), id % 7);
    }
  }
  EXPECT_EQ(rows, 15'000);
}

TEST(LoadTablesTest, WhatDoesNotFitIsRefusedByTableAndNumbers) {
  TemporaryDirectory directory;
  const std::string path = WriteCheckpoint(directory, 1);
  auto error = [&](const std::function<void(ServerPlan*)>& change,
                   const LoadOptions& options = {}) {
    ServerPlan plan = MakePlan(0, 1);
    change(&plan);
    return std::string(LoadTables(plan, path, options).status().message());
  };
  EXPECT_EQ(error([](ServerPlan*) {}), "");
  EXPECT_THAT(error([](ServerPlan* plan) { plan->tables[1].dim = 4; }),
              HasSubstr("table item has width 4, table item of the checkpoint 2"));
  EXPECT_THAT(error([](ServerPlan* plan) { plan->optimizer.kind = SparseOptimizerKind::kAdam; }),
              HasSubstr("table user/id has 6 floats of optimizer state per row, table user/id of "
                        "the checkpoint 3"));
  EXPECT_THAT(error([](ServerPlan* plan) { plan->tables[1].rows = 5; }),
              HasSubstr("expected 0 to 4"));
  EXPECT_THAT(error([](ServerPlan* plan) { plan->tables.push_back(MakeTable("new", 5, 1)); }),
              HasSubstr("table new is to be loaded from table new"));
  LoadOptions fresh;
  fresh.with_state = false;
  EXPECT_EQ(error([](ServerPlan* plan) { plan->tables.push_back(MakeTable("new", 5, 1)); }, fresh),
            "");
  EXPECT_FALSE(LoadTables(MakePlan(0, 1), directory / "model.ckpt-10", {}).ok());
}

// A checkpoint of tables of one type, read by tables of another, and what became of it.
TEST(LoadTablesTest, AnotherTypeOfValuesIsReadAndRoundedToNearestWhereItMust) {
  for (const ValueKind from : AllKinds<ValueKind>()) {
    TemporaryDirectory directory;
    auto writer = CheckpointWriter::Begin(directory.path(), 9);
    ASSERT_OK(writer);
    ServerPlan plan = MakePlan(0, 1);
    for (Table& table : plan.tables) table.value_kind = from;
    std::vector<TableShard> tables = MakeTables(plan);
    for (int64_t id = 0; id < 600; ++id) {
      const std::vector<float> value = {static_cast<float>(id) * 0.37f, 1, -2},
                               state = {1.1f, 2.2f, 3.3f};
      tables[0].Create(id, value.data(), state.data());
    }
    ASSERT_OK_AND_ASSIGN(const auto parts, SaveNow(plan, tables, 9, writer->temporary_directory()));
    Manifest manifest;
    manifest.step = 9;
    manifest.server_count = 1;
    manifest.parts = parts.rows;
    ASSERT_OK_AND_ASSIGN(const auto path, writer->Commit(manifest));
    ASSERT_OK_AND_ASSIGN(const Manifest read, ReadManifest(path));
    EXPECT_EQ(read.parts[0].value_kind, from);
    for (const ValueKind to : AllKinds<ValueKind>()) {
      for (Table& table : plan.tables) table.value_kind = to;
      ASSERT_OK_AND_ASSIGN(const LoadedTables from_disk, LoadTables(plan, path, {}));
      const std::vector<TableShard>& loaded = from_disk.tables;
      ASSERT_EQ(loaded[0].size(), 600);
      for (int64_t id = 0; id < 600; ++id) {
        std::vector<float> expected(3), value(3);
        tables[0].codec().values().Read(tables[0].floats(tables[0].Find(id)), expected.data());
        RoundToNearest(to, expected);
        const int64_t slot = loaded[0].Find(id);
        loaded[0].codec().values().Read(loaded[0].floats(slot), value.data());
        ASSERT_EQ(value, expected)
            << TypeOf(from).name << " read as " << TypeOf(to).name << ", row " << id;
        ASSERT_THAT(std::vector<float>(loaded[0].state(slot), loaded[0].state(slot) + 3),
                    testing::ElementsAre(1.1f, 2.2f, 3.3f));
      }
    }
  }
}

TEST(LoadTablesTest, AnotherTypeOfStateIsReadAndRoundedToNearestWhereItMust) {
  for (const ValueKind from : {ValueKind::kFp32, ValueKind::kBf16}) {
    TemporaryDirectory directory;
    ASSERT_OK_AND_ASSIGN(CheckpointWriter writer, CheckpointWriter::Begin(directory.path(), 9));
    ServerPlan plan = MakePlan(0, 1);
    plan.tables[0].policy = {.max_rows = 4096,
                             .eviction = EvictionKind::kScore,
                             .half_life_steps = 3,
                             .click_weight = 1};
    plan.optimizer.state_kind = from;
    std::vector<TableShard> tables = MakeTables(plan);
    // No number of BF16; 5001 clicks are none, either, and are kept.
    const std::vector<float> value = {0.37f, 1, -2}, state = {1.1f, 2.2f, 3.3f, 5001};
    for (int64_t id = 0; id < 600; ++id) tables[0].Create(id, value.data(), state.data());
    ASSERT_OK_AND_ASSIGN(const auto parts, SaveNow(plan, tables, 9, writer.temporary_directory()));
    EXPECT_EQ(parts.rows[0].state_kind, from);
    Manifest manifest;
    manifest.step = 9;
    manifest.server_count = 1;
    manifest.parts = parts.rows;
    ASSERT_OK_AND_ASSIGN(const auto path, writer.Commit(manifest));
    for (const ValueKind to : {ValueKind::kFp32, ValueKind::kBf16}) {
      plan.optimizer.state_kind = to;
      ASSERT_OK_AND_ASSIGN(const LoadedTables loaded, LoadTables(plan, path, {}));
      std::vector<float> expected = {1.1f, 2.2f, 3.3f}, read(4);
      RoundToNearest(from, expected);
      RoundToNearest(to, expected);
      expected.push_back(5001);
      for (int64_t id = 0; id < 600; ++id) {
        const int64_t slot = loaded.tables[0].Find(id);
        loaded.tables[0].codec().ReadState(loaded.tables[0].floats(slot), read.data());
        ASSERT_EQ(read, expected) << TypeOf(from).name << " read as " << TypeOf(to).name;
        ASSERT_EQ(loaded.tables[0].clicks(slot), 5001);
      }
    }
  }
}

TEST(LoadTablesTest, AFilterIsLoadedBucketByBucketAndStartsEmptyWhereItHasAnotherSize) {
  const auto plan_of = [](int64_t words, int64_t most, int index, int count) {
    ServerPlan plan = MakePlan(index, count);
    plan.tables[0].policy = {.admit_after_steps = most,
                             .filter_bytes = words * kBucketCount * kFilterWordBytes,
                             .filter_halve_steps = 1000};
    return plan;
  };
  std::vector<uint64_t> hashes;
  for (int64_t id = 0; id < 5000; ++id) hashes.push_back(RowHash(HashName("user/id"), id));
  TemporaryDirectory directory;
  ASSERT_OK_AND_ASSIGN(CheckpointWriter writer, CheckpointWriter::Begin(directory.path(), 9));
  const ServerPlan one = plan_of(2, 3, 0, 1);
  const std::vector<TableShard> tables = [&] {
    std::vector<TableShard> filled = MakeTables(one);
    filled[0].lifecycle()->filter()->Count(hashes);
    return filled;
  }();
  ASSERT_OK_AND_ASSIGN(const SavedParts parts,
                       SaveNow(one, tables, 9, writer.temporary_directory()));
  Manifest manifest;
  manifest.step = 9;
  manifest.parts = parts.rows;
  manifest.filters = parts.filters;
  ASSERT_OK_AND_ASSIGN(const std::string path, writer.Commit(manifest));
  for (int server = 0; server < 3; ++server) {
    const ServerPlan plan = plan_of(2, 3, server, 3);
    ASSERT_OK_AND_ASSIGN(const LoadedTables from_disk, LoadTables(plan, path, {}));
    const std::vector<TableShard>& loaded = from_disk.tables;
    for (const uint64_t hash : hashes) {
      const bool here = BucketOf(hash) >= plan.first_bucket && BucketOf(hash) < plan.end_bucket;
      ASSERT_EQ(loaded[0].lifecycle()->filter()->CountOf(hash),
                here ? tables[0].lifecycle()->filter()->CountOf(hash) : 0);
    }
  }
  for (const auto& [words, most] : {std::pair(4, 3), {2, 16}}) {  // more words; counters of 8 bits
    ASSERT_OK_AND_ASSIGN(const LoadedTables from_disk,
                         LoadTables(plan_of(words, most, 0, 1), path, {}));
    const std::vector<TableShard>& loaded = from_disk.tables;
    EXPECT_EQ(loaded[0].lifecycle()->filter()->memory_bytes(), 0u)
        << words << " words, to " << most;
  }
}

TEST(LoadTablesTest, ARowFromTheFutureIsRefused) {
  TemporaryDirectory directory;
  // rows say that they last changed in step 6
  auto writer = CheckpointWriter::Begin(directory.path(), 5);
  ASSERT_OK(writer);
  const ServerPlan plan = MakePlan(0, 1);
  ASSERT_OK_AND_ASSIGN(const auto parts,
                       SaveNow(plan, FilledTables(plan), 9, writer->temporary_directory()));
  Manifest manifest;
  manifest.step = 5;
  manifest.server_count = 1;
  manifest.parts = parts.rows;
  ASSERT_OK_AND_ASSIGN(const auto path, writer->Commit(manifest));
  EXPECT_THAT(LoadTables(plan, path, {}),
              IsError(HasSubstr("says that it last changed in step 6, expected 0 to 5")));
}

TEST(LoadTablesTest, SavingWhereThereIsNoDirectoryIsAnErrorAndMakesNone) {
  TemporaryDirectory directory;
  const ServerPlan plan = MakePlan(0, 1);
  const auto parts = SaveNow(plan, MakeTables(plan), 0, directory / "absent");
  EXPECT_THAT(parts, IsError(HasSubstr("absent does not exist on this server's host")));
  EXPECT_FALSE(std::filesystem::exists(directory / "absent"));
}

TEST(LoadTablesTest, AFailedWriteNamesTheTable) {
  TemporaryDirectory directory;
  WriteBytes(directory / "tables", "a file stands where the directory should be");
  const ServerPlan plan = MakePlan(0, 1);
  const auto parts = SaveNow(plan, MakeTables(plan), 0, directory.path());
  EXPECT_THAT(parts, IsError(HasSubstr("saving table user/id in ")));
}

}  // namespace
}  // namespace pepnet

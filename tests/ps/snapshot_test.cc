// A server's rows are saved while they change: the files hold the state of the step, whatever
// happens meanwhile.
#include "ps/snapshot.h"

#include <filesystem>
#include <future>
#include <iostream>
#include <optional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/base/partition.h"
#include "common/file/file.h"
#include "common/file/file_hook.h"
#include "ps/load_tables.h"
#include "ps/table/row_lifecycle.h"
#include "tests/common/checkpoint/test_files.h"
#include "tests/ps/save_now.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::HasSubstr;

constexpr int64_t kRows = 20'000, kStep = 3;

// Two tables, so that the second is still untouched while the first is being synced.
ServerPlan MakePlan() {
  ServerPlan plan;
  for (const char* name : {"first", "second"}) {
    Table table;
    table.name = name;
    table.rows = int64_t{1} << 40;
    table.dim = 4;
    plan.tables.push_back(table);
  }
  plan.optimizer.kind = SparseOptimizerKind::kAdagrad;
  plan.worker_ranks = {0};
  plan.end_bucket = 1024;
  return plan;
}

std::vector<TableShard> FilledTables(const ServerPlan& plan) {
  std::vector<TableShard> tables = MakeTables(plan);
  for (TableShard& table : tables) {
    for (int64_t id = 0; id < kRows; ++id) table.last_step(table.Create(id * 7)) = kStep;
  }
  return tables;
}

// Holds the first fsync of a run until released.
class HeldSync : public FileHook {
 public:
  HeldSync() { InstallFileHook(this); }
  ~HeldSync() override { InstallFileHook(nullptr); }
  Verdict Before(FileOperation operation, const std::string&, std::string_view data) override {
    if (operation == FileOperation::kSync && !reached_) {
      reached_ = true;
      at_sync_.set_value();
      released_.get_future().wait();
    }
    return {0, data};
  }
  void After(FileOperation, const std::string&) override {}
  void WaitForSync() { at_sync_.get_future().wait(); }
  void Release() { released_.set_value(); }

 private:
  bool reached_ = false;  // only "save" writes files here
  std::promise<void> at_sync_, released_;
};

class SnapshotTest : public testing::Test {
 protected:
  SnapshotTest() : plan_(MakePlan()), tables_(FilledTables(plan_)) {
    std::filesystem::create_directories(at_rest_);
    std::filesystem::create_directories(training_);
    parts_at_rest_ = SaveNow(plan_, tables_, kStep, at_rest_)->rows;
  }
  void Start(uint64_t copy_bytes) {
    snapshot_ = std::make_unique<Snapshot>(
        plan_, tables_, kStep, training_, copy_bytes,
        [this](const StatusOr<SavedParts>& parts, const SnapshotCost& cost) {
          cost_ = cost;
          result_.set_value(parts);
        });
  }
  // One step that changes `count` rows of the second table from row `first` on and makes new ones.
  void Step(int64_t step, int64_t first, int64_t count) {
    Snapshot::Change change(snapshot_.get());
    for (int64_t slot = first; slot < first + count; ++slot) {
      change.Before(1, slot);
      tables_[1].last_step(slot) = step;
      tables_[1].value(slot)[0] += 1;
      tables_[1].state(slot)[3] += 1;
      changed_ = slot + 1 - first;
    }
    tables_[1].last_step(tables_[1].Create(step << 30)) = step;
  }
  void ExpectTheStateOfTheStep() {
    ASSERT_OK_AND_ASSIGN(const SavedParts saved, result_.get_future().get());
    const std::vector<PartEntry>& parts = saved.rows;
    ASSERT_EQ(parts.size(), parts_at_rest_.size());
    for (size_t i = 0; i < parts.size(); ++i) {
      EXPECT_EQ(parts[i].crc32c, parts_at_rest_[i].crc32c);
      EXPECT_EQ(*ReadFile(training_ + "/" + parts[i].file),
                *ReadFile(at_rest_ + "/" + parts[i].file));
    }
  }

  TemporaryDirectory directory_;
  const std::string at_rest_ = directory_ / "at_rest", training_ = directory_ / "training";
  const ServerPlan plan_;
  std::vector<TableShard> tables_;
  std::vector<PartEntry> parts_at_rest_;
  std::promise<StatusOr<SavedParts>> result_;
  SnapshotCost cost_;
  std::atomic<int64_t> changed_ = 0;
  std::unique_ptr<Snapshot> snapshot_;
};

TEST_F(SnapshotTest, FilesHoldTheStepByteForByteWhileRowsChange) {
  HeldSync held;
  Start(64 << 20);
  held.WaitForSync();
  for (int64_t step = kStep + 1; step < kStep + 5; ++step) Step(step, 100, kRows / 2);
  held.Release();
  for (int64_t step = kStep + 5; snapshot_->open(); ++step) Step(step, 0, kRows);
  ExpectTheStateOfTheStep();
  EXPECT_GE(cost_.copied_rows, kRows / 2);
  EXPECT_LE(cost_.copied_rows, kRows);
  EXPECT_GE(cost_.peak_bytes, cost_.copied_rows * 32u / 2);
  EXPECT_EQ(cost_.waits, 0);
  EXPECT_EQ(cost_.rows, 2 * kRows);
}

// One record batch is taken while the one before is written.
TEST_F(SnapshotTest, RecordBatchesFollowEachOtherInTheOrderOfTheRows) {
  std::vector<TableShard> tables = MakeTables(plan_);
  TableShard& table = tables[1];
  constexpr int64_t kMany = 2 * kRowsPerRecordBatch + 5'000;
  for (int64_t i = 0; i < kMany; ++i) {
    const int64_t slot = table.Create((i * 7919 << 20) + i % 3);
    table.last_step(slot) = i % (kStep + 1);
    table.value(slot)[2] = static_cast<float>(i);
    table.state(slot)[1] = static_cast<float>(-i);
  }
  ASSERT_OK_AND_ASSIGN(const SavedParts saved, SaveNow(plan_, tables, kStep, training_));
  const std::vector<PartEntry>& parts = saved.rows;
  ASSERT_EQ(parts[0].rows, 0);
  ASSERT_EQ(parts[1].rows, kMany);
  ASSERT_OK_AND_ASSIGN(auto reader, TablePartReader::Open(training_, parts[1]));
  const std::vector<TableShard::Row> expected = table.SortedRows();
  size_t at = 0;
  ASSERT_OK(reader->Read(0, kMany, [&](const RowColumns& rows) -> Status {
    for (size_t i = 0; i < rows.ids.size(); ++i, ++at) {
      const int64_t slot = expected[at].slot;
      if (rows.ids[i] != expected[at].id || rows.last_step[i] != table.last_step(slot) ||
          rows.values[i * 4 + 2] != table.value(slot)[2] ||
          rows.states[i * 4 + 1] != table.state(slot)[1]) {
        return InvalidInput("row ", at, " is id ", rows.ids[i], ", expected ", expected[at].id);
      }
    }
    return absl::OkStatus();
  }));
  EXPECT_EQ(at, expected.size());
}

TEST_F(SnapshotTest, AChangeWaitsWhenTheMemoryForCopiesIsUsedUp) {
  HeldSync held;
  Start(100'000);  // about 1,000 rows
  held.WaitForSync();
  std::thread trainer([&] { Step(kStep + 1, 0, kRows); });
  while (changed_ < 500) std::this_thread::yield();
  held.Release();
  trainer.join();
  ExpectTheStateOfTheStep();
  EXPECT_GT(cost_.waits, 0);
  EXPECT_GT(cost_.longest_hold_seconds, 0);
  EXPECT_LT(cost_.peak_bytes, 100'000u + kRows * 4);
}

TEST_F(SnapshotTest, AFailureIsToldAndHoldsNothingUp) {
  HeldSync held;
  Start(100'000);
  held.WaitForSync();
  std::filesystem::create_directories(training_ + "/tables");
  std::ofstream(training_ + "/tables/second") << "a file stands where the directory should be";
  std::thread trainer([&] { Step(kStep + 1, 0, kRows); });
  held.Release();
  trainer.join();
  const auto parts = result_.get_future().get();
  EXPECT_THAT(parts, IsError(HasSubstr("saving table second in ")));
  Step(kStep + 2, 0, kRows);
}

TEST_F(SnapshotTest, GivenUpItSaysSo) {
  HeldSync held;
  Start(64 << 20);
  held.WaitForSync();
  auto future = result_.get_future();
  std::thread ending([&] { snapshot_.reset(); });
  held.Release();
  ending.join();
  // It may have been faster; then it is whole.
  const auto parts = future.get();
  EXPECT_TRUE(parts.ok() || absl::IsCancelled(parts.status())) << parts.status();
}

// A step of a table with a policy, as ps/step_update.cc has it: old rows and candidates are named
// and new ids too.
void LivingStep(int64_t step, TableShard* table, Snapshot* snapshot) {
  std::optional<Snapshot::Change> change;
  if (snapshot != nullptr && snapshot->open()) change.emplace(snapshot);
  RowLifecycle& lifecycle = *table->lifecycle();
  table->KeepErased(change.has_value());
  std::vector<int64_t> named, unseen;
  for (int64_t i = 0; i < 4'000; ++i) {
    named.push_back(
        static_cast<int64_t>(Mix64(static_cast<uint64_t>((step / 2 + i % 3) * 4'000 + i)) >> 24));
  }
  for (const int64_t id : named) {
    if (table->Find(id) == TableShard::kNoSlot) unseen.push_back(id);
  }
  lifecycle.Admit(step, table, &unseen, /*may_repeat=*/true, [&](int64_t slot) {
    if (change.has_value()) change->BeforeCandidate(1, slot);
  });
  for (const int64_t id : named) {
    const int64_t slot = table->Find(id);
    if (slot == TableShard::kNoSlot || table->last_step(slot) == step) continue;
    if (change.has_value()) change->Before(1, slot);
    table->last_step(slot) = step;
    table->value(slot)[0] += 1;
  }
  lifecycle.Finish(step, table);
}

TEST_F(SnapshotTest, RowsAndCandidatesThatLeaveMeanwhileAreSavedAsTheyWere) {
  ServerPlan plan = plan_;
  plan.tables[1].policy = {.admit_after_steps = 2, .ttl_steps = 9, .max_rows = 4 * kBucketCount};
  std::vector<TableShard> tables = MakeTables(plan);
  for (int64_t id = 0; id < kRows; ++id) tables[0].Create(id);
  TableShard& living = tables[1];
  int64_t step = 1;
  for (; step < 30; ++step) LivingStep(step, &living, nullptr);
  ASSERT_OK_AND_ASSIGN(const SavedParts expected, SaveNow(plan, tables, step, at_rest_));
  ASSERT_EQ(expected.candidates.size(), 1u);
  ASSERT_GT(expected.candidates[0].rows, 1000);

  HeldSync held;
  std::promise<StatusOr<SavedParts>> result;
  Snapshot snapshot(
      plan, tables, step, training_, 64 << 20,
      [&](const StatusOr<SavedParts>& parts, const SnapshotCost&) { result.set_value(parts); });
  held.WaitForSync();  // of the first table: nothing of the second is written
  const LifecycleCounts before = living.lifecycle()->counts();
  for (const int64_t end = step + 12; step < end;) LivingStep(++step, &living, &snapshot);
  EXPECT_GT(living.lifecycle()->counts().evicted, before.evicted + 1000);
  held.Release();
  while (snapshot.open()) LivingStep(++step, &living, &snapshot);
  ASSERT_OK_AND_ASSIGN(const SavedParts saved, result.get_future().get());
  for (const auto& [left, right] :
       {std::pair(&saved.rows, &expected.rows), {&saved.candidates, &expected.candidates}}) {
    ASSERT_EQ(left->size(), right->size());
    for (size_t i = 0; i < left->size(); ++i) {
      EXPECT_EQ((*left)[i].rows, (*right)[i].rows);
      EXPECT_TRUE(*ReadFile(training_ + "/" + (*left)[i].file) ==
                  *ReadFile(at_rest_ + "/" + (*right)[i].file))
          << (*left)[i].file;
    }
  }
  // Afterwards the memory of those that left serves again.
  LivingStep(++step, &living, &snapshot);
  const uint64_t bytes = living.memory_bytes();
  for (int i = 0; i < 30; ++i) LivingStep(++step, &living, &snapshot);
  EXPECT_LE(living.memory_bytes(), bytes + bytes / 8);
}

TEST_F(SnapshotTest, CountersOfAFilterThatChangeMeanwhileAreSavedAsTheyWere) {
  ServerPlan plan = plan_;
  plan.tables[1].policy = {.admit_after_steps = 3,
                           .max_rows = 4 * kBucketCount,
                           .filter_bytes = 16 * kBucketCount * kFilterWordBytes,
                           .filter_halve_steps = 7};
  std::vector<TableShard> tables = MakeTables(plan);
  TableShard& living = tables[1];
  int64_t step = 1;
  for (; step < 12; ++step) LivingStep(step, &living, nullptr);
  ASSERT_OK_AND_ASSIGN(const SavedParts expected, SaveNow(plan, tables, step, at_rest_));
  ASSERT_EQ(expected.filters.size(), 1u);
  EXPECT_EQ(expected.filters[0].end_bucket - expected.filters[0].first_bucket,
            plan.end_bucket - plan.first_bucket);

  HeldSync held;
  std::promise<StatusOr<SavedParts>> result;
  Snapshot snapshot(
      plan, tables, step, training_, 64 << 20,
      [&](const StatusOr<SavedParts>& parts, const SnapshotCost&) { result.set_value(parts); });
  held.WaitForSync();  // of the first table: no filter is written
  for (const int64_t end = step + 9; step < end;) LivingStep(++step, &living, &snapshot);
  held.Release();
  ASSERT_OK_AND_ASSIGN(const SavedParts saved, result.get_future().get());
  ASSERT_EQ(saved.filters.size(), 1u);
  EXPECT_TRUE(*ReadFile(training_ + "/" + saved.filters[0].file) ==
              *ReadFile(at_rest_ + "/" + expected.filters[0].file));
  ASSERT_OK_AND_ASSIGN(const SavedParts later, SaveNow(plan, tables, step, training_));
  EXPECT_FALSE(*ReadFile(training_ + "/" + later.filters[0].file) ==
               *ReadFile(at_rest_ + "/" + expected.filters[0].file));
}

}  // namespace
}  // namespace pepnet

// A table changes at random while its snapshot is taken at random, on one thread: what is taken is
// what was there.
#include "ps/table/table_snapshot.h"

#include <map>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "common/base/partition.h"
#include "ps/table/store/bucket_order.h"

namespace pepnet {
namespace {

constexpr int64_t kStep = 10;  // of the snapshot

Table MakeTable(int dim) {
  Table table;
  table.name = "user";
  table.rows = int64_t{1} << 40;
  table.dim = dim;
  return table;
}

std::string RowText(int64_t id, int64_t frequency, int64_t last_step, const float* value, int dim,
                    const float* state, int state_dim) {
  std::string text = absl::StrCat(id, " f", frequency, " s", last_step, ":");
  for (int e = 0; e < dim; ++e) absl::StrAppend(&text, " ", value[e]);
  for (int e = 0; e < state_dim; ++e) absl::StrAppend(&text, " /", state[e]);
  return text;
}

class Subject {
 public:
  Subject(uint64_t seed, int dim, SparseOptimizerKind kind)
      : random_(seed), shard_(MakeTable(dim), Optimizer(kind), seed) {
    const int64_t rows = static_cast<int64_t>(random_() % 6000);
    for (int64_t i = 0; i < rows; ++i) Create(kStep);
  }

  // All rows in the order of checkpoints.
  std::string Text() const {
    std::string text;
    for (const auto& [id, slot] : shard_.SortedRows()) {
      absl::StrAppend(
          &text,
          RowText(id, shard_.frequency(slot), shard_.last_step(slot), shard_.value(slot),
                  shard_.dim(), shard_.state(slot), shard_.state_dim()),
          "\n");
    }
    return text;
  }

  // Takes the snapshot, with changes between the runs; `budget` bytes for copies.
  std::string TextOfSnapshot(uint64_t budget_bytes, int64_t* copied) {
    CopyBudget budget{.limit_bytes = budget_bytes};
    TableSnapshot snapshot(&shard_, kStep, &budget);
    const RowStore::View& rows = snapshot.rows();
    BucketOrder order(rows, shard_.table_hash());
    std::string text;
    int64_t first = 0;
    const auto take = [&] {
      const int64_t end =
          std::min<int64_t>(first + 1 + static_cast<int64_t>(random_() % 700), rows.size());
      RowImage image;
      snapshot.Take(order.Slots(first, end), order.BucketAt(end), &image);
      for (size_t i = 0; i < image.ids.size(); ++i) {
        absl::StrAppend(&text,
                        RowText(image.ids[i], image.frequency[i], image.last_step[i],
                                image.values.data() + i * shard_.dim(), shard_.dim(),
                                image.states.data() + i * shard_.state_dim(), shard_.state_dim()),
                        "\n");
      }
      first = end;
    };
    for (int64_t step = kStep + 1; first < rows.size(); ++step) {
      for (int change = static_cast<int>(random_() % 300); change > 0 && shard_.size() > 0;
           --change) {
        if (random_() % 5 == 0) {
          Create(step);
          continue;
        }
        const int64_t slot = static_cast<int64_t>(random_() % static_cast<uint64_t>(shard_.size()));
        while (!snapshot.BeforeChange(slot)) take();  // the budget is used up
        Change(slot, step);
      }
      if (first < rows.size() && random_() % 2 == 0) take();
    }
    EXPECT_LE(budget.peak_bytes, budget_bytes);
    *copied += snapshot.copied_rows();
    snapshot.Close();
    EXPECT_EQ(budget.used_bytes, 0u);
    return text;
  }

 private:
  static SparseOptimizer Optimizer(SparseOptimizerKind kind) {
    SparseOptimizer optimizer;
    optimizer.kind = kind;
    return optimizer;
  }
  void Create(int64_t step) {
    const int64_t id = static_cast<int64_t>(random_() >> 24);
    if (shard_.Find(id) == TableShard::kNoSlot) {
      Change(shard_.Create(id), 1 + static_cast<int64_t>(random_() % step));
    }
  }
  void Change(int64_t slot, int64_t step) {
    for (int e = 0; e < shard_.dim(); ++e) {
      shard_.value(slot)[e] = static_cast<float>(random_() % 1000);
    }
    for (int e = 0; e < shard_.state_dim(); ++e) {
      shard_.state(slot)[e] = static_cast<float>(random_() % 1000);
    }
    shard_.frequency(slot) += 1;
    shard_.last_step(slot) = step;
  }

  std::mt19937_64 random_;
  TableShard shard_;
};

TEST(TableSnapshotTest, WhatIsTakenIsWhatWasThere) {
  int64_t copied = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    const int dim = static_cast<int>(1 + seed % 5);
    Subject subject(seed, dim,
                    seed % 3 == 0 ? SparseOptimizerKind::kSgd : SparseOptimizerKind::kAdagrad);
    const std::string expected = subject.Text();
    const uint64_t one_block = 256 * 128;
    ASSERT_EQ(subject.TextOfSnapshot(seed % 2 == 0 ? one_block : uint64_t{1} << 30, &copied),
              expected)
        << "seed " << seed;
  }
  EXPECT_GT(copied, 10'000);
}

TEST(TableSnapshotTest, ARowIsCopiedOnceAndNotAfterItIsTaken) {
  TableShard shard(MakeTable(2), SparseOptimizer{}, 1);
  for (int64_t id = 0; id < 100; ++id) shard.Create(id);
  CopyBudget budget{.limit_bytes = 1 << 20};
  TableSnapshot snapshot(&shard, kStep, &budget);
  for (int time = 0; time < 3; ++time) {
    ASSERT_TRUE(snapshot.BeforeChange(7));
    shard.last_step(7) = kStep + 1 + time;
  }
  EXPECT_EQ(snapshot.copied_rows(), 1);
  BucketOrder order(snapshot.rows(), shard.table_hash());
  RowImage image;
  snapshot.Take(order.Slots(0, 100), order.BucketAt(100), &image);
  ASSERT_TRUE(snapshot.BeforeChange(8));
  EXPECT_EQ(snapshot.copied_rows(), 1);
  EXPECT_EQ(image.ids.size(), 100u);
}

}  // namespace
}  // namespace pepnet

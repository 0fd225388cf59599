#include "ps/table/row_lifecycle.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/base/partition.h"
#include "common/base/random.h"

namespace pepnet {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

// A table under a policy, and steps that name ids of it, as ps/step_update.cc has them.
class Life {
 public:
  explicit Life(const RowPolicy& policy, int64_t step = 0) : step_(step) {
    Table table;
    table.name = "user";
    table.rows = int64_t{1} << 62;
    table.dim = 2;
    table.policy = policy;
    SparseOptimizer optimizer;
    optimizer.kind = SparseOptimizerKind::kSgd;
    shard_ = std::make_unique<TableShard>(table, optimizer, 1);
  }
  TableShard& shard() { return *shard_; }
  RowLifecycle& lifecycle() { return *shard_->lifecycle(); }
  int64_t step() const { return step_; }

  // The ids that have rows afterwards. `clicked`: those of `ids` that a row with a positive label
  // names.
  std::vector<int64_t> Step(const std::vector<int64_t>& ids, int64_t named_until = -1,
                            const std::set<int64_t>& clicked = {}) {
    ++step_;
    shard_->KeepErased(false);
    std::vector<int64_t> unseen;
    for (const int64_t id : ids) {
      if (shard_->Find(id) == TableShard::kNoSlot) unseen.push_back(id);
    }
    lifecycle().Admit(step_, shard_.get(), &unseen, /*may_repeat=*/true, [](int64_t) {});
    for (const int64_t id : std::set<int64_t>(ids.begin(), ids.end())) {
      const int64_t slot = shard_->Find(id);
      if (slot == TableShard::kNoSlot) continue;
      ++shard_->frequency(slot);
      shard_->last_step(slot) = step_;
      if (clicked.contains(id)) shard_->CountClick(slot);
    }
    lifecycle().Finish(step_, shard_.get(), named_until);
    return Ids();
  }
  std::vector<int64_t> Ids() const {
    std::vector<int64_t> ids;
    for (const TableShard::Row& row : shard_->SortedRows()) ids.push_back(row.id);
    std::sort(ids.begin(), ids.end());
    return ids;
  }
  int64_t FrequencyOf(int64_t id) const { return shard_->frequency(shard_->Find(id)); }

 private:
  std::unique_ptr<TableShard> shard_;
  int64_t step_;
};

// The first `count` ids that stand in the bucket of id 1.
std::vector<int64_t> IdsOfOneBucket(size_t count) {
  const uint64_t table = HashName("user");
  std::vector<int64_t> ids;
  for (int64_t id = 1; ids.size() < count; ++id) {
    if (BucketOf(RowHash(table, id)) == BucketOf(RowHash(table, 1))) ids.push_back(id);
  }
  return ids;
}

TEST(RowLifecycleTest, AnIdGetsItsRowInTheNthStepThatNamesIt) {
  Life life({.admit_after_steps = 3});
  // Workers that name an id in one step count once.
  EXPECT_THAT(life.Step({5, 5, 5, 7}), IsEmpty());
  EXPECT_THAT(life.Step({5}), IsEmpty());
  EXPECT_THAT(life.Step({7}), IsEmpty());
  EXPECT_EQ(life.lifecycle().candidates()->size(), 2);
  EXPECT_THAT(life.Step({5, 9}), ElementsAre(5));
  EXPECT_EQ(life.FrequencyOf(5), 3);  // all steps that named it
  EXPECT_EQ(life.lifecycle().candidates()->Find(5), TableShard::kNoSlot);
  EXPECT_THAT(life.Step({7, 9}), ElementsAre(5, 7));
  EXPECT_EQ(life.lifecycle().counts().admitted, 2);
  EXPECT_EQ(life.lifecycle().counts().refused, 6);
  std::vector<float> expected(2);
  life.shard().ReadInitialValue(7, expected);
  const float* const value = life.shard().value(life.shard().Find(7));
  EXPECT_THAT(std::vector<float>(value, value + 2), ElementsAre(expected[0], expected[1]));
}

constexpr int64_t kRoomyFilter = 64 * kBucketCount * kFilterWordBytes;

TEST(RowLifecycleTest, AFilterAdmitsInTheNthStepThatNamesAnId) {
  Life life(
      {.admit_after_steps = 3, .filter_bytes = kRoomyFilter, .filter_halve_steps = 1'000'000});
  EXPECT_EQ(life.lifecycle().candidates(), nullptr);
  // Workers that name an id in one step count once.
  EXPECT_THAT(life.Step({5, 5, 5, 7}), IsEmpty());
  EXPECT_THAT(life.Step({5}), IsEmpty());
  EXPECT_THAT(life.Step({7}), IsEmpty());
  EXPECT_THAT(life.Step({5, 9}), ElementsAre(5));
  EXPECT_EQ(life.FrequencyOf(5), 3);
  EXPECT_THAT(life.Step({7, 9}), ElementsAre(5, 7));
  EXPECT_EQ(life.lifecycle().counts().admitted, 2);
  EXPECT_EQ(life.lifecycle().counts().refused, 6);
}

TEST(RowLifecycleTest, AnIdWhoseRowHasLeftFindsItsCountInTheFilter) {
  Life life({.admit_after_steps = 2,
             .ttl_steps = 3,
             .filter_bytes = kRoomyFilter,
             .filter_halve_steps = 1'000'000});
  life.Step({5});
  EXPECT_THAT(life.Step({5}), ElementsAre(5));
  for (int step = 0; step < 3; ++step) life.Step({});
  EXPECT_THAT(life.Ids(), IsEmpty());
  EXPECT_THAT(life.Step({5}), ElementsAre(5));
  EXPECT_EQ(life.FrequencyOf(5), 2);
}

TEST(RowLifecycleTest, AFilterForgetsIdsThatNoLongerCome) {
  Life life({.admit_after_steps = 2,
             .ttl_steps = 3,
             .filter_bytes = kRoomyFilter,
             .filter_halve_steps = 8});
  for (int step = 0; step < 9; ++step) life.Step({5});
  EXPECT_THAT(life.Ids(), ElementsAre(5));
  for (int step = 0; step < 16; ++step) life.Step({});  // halved twice
  EXPECT_THAT(life.Ids(), IsEmpty());
  EXPECT_THAT(life.Step({5}), IsEmpty());
}

TEST(RowLifecycleTest, AdmissionByProbabilityIsDrawnByStepAndId) {
  Life life({.admit_probability = 0.25}), again({.admit_probability = 0.25});
  std::vector<int64_t> ids(10'000);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i);
  EXPECT_NEAR(static_cast<double>(life.Step(ids).size()), 2500, 5 * 43.3);  // five deviations
  EXPECT_NEAR(static_cast<double>(life.Step(ids).size()), 4375, 5 * 49.6);  // 1 - 0.75^2
  std::reverse(ids.begin(), ids.end());
  again.Step(ids);
  EXPECT_EQ(again.Step(ids), life.Ids());
}

TEST(RowLifecycleTest, ARowThatIsNotNamedForItsTimeExpiresAtTheNextSweep) {
  EXPECT_EQ(RowLifecycle::SweepPeriod(1), 1);
  EXPECT_EQ(RowLifecycle::SweepPeriod(800), 100);
  EXPECT_EQ(RowLifecycle::SweepPeriod(1'000'000), 256);
  Life life({.ttl_steps = 3});
  EXPECT_THAT(life.Step({1, 2}), ElementsAre(1, 2));
  EXPECT_THAT(life.Step({2}), ElementsAre(1, 2));
  EXPECT_THAT(life.Step({}), ElementsAre(1, 2));
  EXPECT_THAT(life.Step({}), ElementsAre(2));
  EXPECT_THAT(life.Step({1}), ElementsAre(1));
  EXPECT_EQ(life.FrequencyOf(1), 1);  // a new row
  EXPECT_EQ(life.lifecycle().counts().expired, 2);

  Life slow({.ttl_steps = 64});  // each bucket is swept every 8 steps
  const std::vector<int64_t> ids = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  EXPECT_EQ(slow.Step(ids), ids);
  while (slow.step() < 64) EXPECT_EQ(slow.Step({}), ids);
  for (int step = 0; step < 8; ++step) slow.Step({});
  EXPECT_THAT(slow.Ids(), IsEmpty());
}

TEST(RowLifecycleTest, ARowWhoseLastStepIsTooOldByItsEventTimeExpires) {
  Life life({.admit_after_steps = 2, .ttl_seconds = 100});
  life.Step({1, 2, 3});
  EXPECT_THAT(life.Step({1, 2}), ElementsAre(1, 2));
  life.Step({2, 4});
  EXPECT_EQ(life.lifecycle().candidates()->size(), 2);
  EXPECT_THAT(life.Step({}, 1), ElementsAre(1, 2));  // candidate 3 was named in step 1 alone
  EXPECT_EQ(life.lifecycle().candidates()->size(), 1);
  EXPECT_THAT(life.Step({}, 2), ElementsAre(2));
  EXPECT_THAT(life.Step({2}, 5), ElementsAre(2));
  EXPECT_EQ(life.lifecycle().candidates()->size(), 0);
  EXPECT_EQ(life.lifecycle().counts().expired, 1);
  // 100 steps of that age: an eighth is 12, and 8 the power of two below it.
  Life slow({.ttl_seconds = 100});
  std::vector<int64_t> ids(200);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i);
  EXPECT_EQ(slow.Step(ids), ids);
  while (slow.step() < 100) EXPECT_EQ(slow.Step({}), ids);
  std::vector<size_t> left;
  for (int step = 0; step < 8; ++step) left.push_back(slow.Step({}, 1).size());
  EXPECT_LT(left.front(), ids.size());
  EXPECT_GT(left.front(), 0u);
  EXPECT_EQ(left.back(), 0u);
}

// A bucket of hundreds of rows, of which some are named again and again, some once, and all may
// come back: against the steps that named them.
TEST(RowLifecycleTest, RowsOfALongBucketExpireToTheStep) {
  const std::vector<int64_t> all = IdsOfOneBucket(500);
  Life life({.ttl_steps = 7});  // each bucket is swept in every step
  std::map<int64_t, int64_t> named;
  for (int64_t step = 1; step <= 200; ++step) {
    std::vector<int64_t> ids;
    for (size_t i = 0; i < all.size(); ++i) {
      const uint64_t random = Mix64(static_cast<uint64_t>(step) * 1000 + i);
      if (random % (i % 3 == 0 ? 3 : 12) == 0) ids.push_back(all[i]);
    }
    for (const int64_t id : ids) named[id] = step;
    std::vector<int64_t> expected;
    for (const auto& [id, last] : named) {
      if (last > step - 7) expected.push_back(id);
    }
    ASSERT_EQ(life.Step(ids), expected) << step;
  }
  EXPECT_GT(life.lifecycle().counts().expired, 1000);
}

TEST(RowLifecycleTest, StepsBeyond32BitsExpireAlike) {
  Life life({.ttl_steps = 7}, (int64_t{1} << 32) - 10);
  for (int step = 0; step < 40; ++step) {
    const std::vector<int64_t> ids =
        life.Step(step % 5 == 0 ? std::vector<int64_t>{1, step} : std::vector<int64_t>{});
    const int64_t last = step / 5 * 5;
    EXPECT_EQ(std::count(ids.begin(), ids.end(), 1), 1) << step;
    EXPECT_EQ(std::count(ids.begin(), ids.end(), last), 1) << step;
    const bool before_stays = last >= 5 && step - last < 2;
    EXPECT_EQ(std::count(ids.begin(), ids.end(), last - 5), before_stays) << step;
  }
}

TEST(RowLifecycleTest, CandidatesExpireToo) {
  Life life({.admit_after_steps = 2, .ttl_steps = 3});
  life.Step({1});
  for (int step = 0; step < 3; ++step) life.Step({});
  EXPECT_EQ(life.lifecycle().candidates()->size(), 0);
  EXPECT_THAT(life.Step({1}), IsEmpty());
  EXPECT_THAT(life.Step({1}), ElementsAre(1));
}

TEST(RowLifecycleTest, TheRowsOfTheLowestRankLeaveAFullBucket) {
  const std::vector<int64_t> ids = IdsOfOneBucket(5);
  const int64_t a = ids[0], b = ids[1], c = ids[2], d = ids[3];
  const RowPolicy three{.max_rows = 3 * kBucketCount};  // three rows a bucket
  {
    Life life(three);
    life.Step({a});
    life.Step({b});
    life.Step({c, a});
    EXPECT_THAT(life.Step({d}), UnorderedElementsAre(a, c, d));  // b was named before a
    EXPECT_EQ(life.lifecycle().counts().evicted, 1);
  }
  {
    RowPolicy policy = three;
    policy.eviction = EvictionKind::kLfu;
    Life life(policy);
    life.Step({a, b});
    life.Step({a, b});
    life.Step({c});
    // C and d were named once, c before d.
    EXPECT_THAT(life.Step({d}), UnorderedElementsAre(a, b, d));
  }
  {
    RowPolicy policy = three;
    policy.eviction = EvictionKind::kScore;
    policy.half_life_steps = 2;
    Life life(policy);
    for (int step = 0; step < 4; ++step) life.Step({a});  // score 4, half of it after two steps
    life.Step({b, c});
    life.Step({b});
    life.Step({b});
    // After step 8: a 4 / 4, b 3 * 0.75, c 1 * (0.5 * 0.75), d 1.
    EXPECT_THAT(life.Step({d}), UnorderedElementsAre(a, b, d));
    for (int step = 0; step < 4; ++step) life.Step({});
    EXPECT_THAT(life.Step({ids[4]}), UnorderedElementsAre(b, d, ids[4]));
  }
}

TEST(RowLifecycleTest, ClicksKeepARowThatOthersOutnumber) {
  const std::vector<int64_t> ids = IdsOfOneBucket(5);
  const int64_t a = ids[0], b = ids[1], c = ids[2], d = ids[3];
  RowPolicy policy{
      .max_rows = 3 * kBucketCount, .eviction = EvictionKind::kScore, .half_life_steps = 2};
  policy.show_weight = 0.25;
  policy.click_weight = 4;
  Life life(policy);
  life.Step({c}, -1, {c});
  for (int step = 0; step < 4; ++step) life.Step({a, b});
  // After step 6: a and b (4 * 0.25) * 0.75, c (0.25 + 4) * (0.25 * 0.75), d 0.25: c 0.796875
  // stays.
  EXPECT_EQ(life.shard().clicks(life.shard().Find(c)), 1);
  EXPECT_THAT(life.Step({d}), UnorderedElementsAre(a, b, c));
  // An id that returns begins without clicks.
  EXPECT_THAT(life.Step({d}, -1, {d}), testing::Contains(d));
  EXPECT_EQ(life.shard().clicks(life.shard().Find(d)), 1);
}

TEST(RowLifecycleTest, TheClicksOfARowTakeAFloatBehindItsState) {
  RowPolicy policy{
      .max_rows = 2 * kBucketCount, .eviction = EvictionKind::kScore, .half_life_steps = 2};
  Life without(policy);
  policy.click_weight = 1;
  Life with(policy);
  EXPECT_EQ(without.shard().state_dim(), 0);  // of sgd
  EXPECT_EQ(with.shard().state_dim(), 1);
  EXPECT_EQ(with.shard().optimizer_state_dim(), 0);
  const int64_t slot = with.shard().Create(1);
  with.shard().state(slot)[0] = 1 << 24;
  with.shard().CountClick(slot);  // as far as floats count
  EXPECT_EQ(with.shard().clicks(slot), 1 << 24);
}

TEST(RowLifecycleTest, EqualRanksLeaveByTheirHash) {
  const std::vector<int64_t> ids = IdsOfOneBucket(40);
  std::vector<int64_t> reversed(ids.rbegin(), ids.rend());
  Life one({.max_rows = 16 * kBucketCount}), other({.max_rows = 16 * kBucketCount});
  one.Step(ids);
  other.Step(reversed);
  EXPECT_EQ(one.Ids().size(), 15u);  // a sixteenth stays free
  EXPECT_EQ(one.Ids(), other.Ids());
}

TEST(RowLifecycleTest, ATableNeverHoldsMoreThanItsRowsBetweenSteps) {
  constexpr int64_t kRows = 4 * kBucketCount;
  Life life({.admit_after_steps = 2, .max_rows = kRows});
  uint64_t most_bytes = 0;
  for (int64_t step = 0; step < 60; ++step) {
    std::vector<int64_t> ids;
    for (int64_t i = 0; i < 2000; ++i) {
      // Half are new and come twice.
      ids.push_back(static_cast<int64_t>(Mix64(static_cast<uint64_t>((step / 2) * 2000 + i)) >> 2));
    }
    life.Step(ids);
    ASSERT_LE(life.shard().size(), kRows);
    ASSERT_LE(life.lifecycle().candidates()->size(), kRows);
    if (step == 30) most_bytes = life.shard().memory_bytes();
    if (step > 30) {
      ASSERT_LE(life.shard().memory_bytes(), most_bytes + most_bytes / 8) << step;
    }
  }
  EXPECT_GT(life.lifecycle().counts().evicted, 10'000);
}

// Against a model that keeps everything in maps.
TEST(RowLifecycleTest, RandomStepsFollowTheModel) {
  const RowPolicy policy{.admit_after_steps = 2, .ttl_steps = 40, .max_rows = 2 * kBucketCount};
  constexpr int64_t kPeriod = 5;  // an eighth of it
  Life life(policy);
  struct Known {
    int64_t frequency = 0, last_step = 0;
  };
  std::map<int64_t, Known> rows, candidates;
  const uint64_t table = HashName("user");
  const auto trim = [&](std::map<int64_t, Known>* all) {
    std::map<int, std::vector<int64_t>> buckets;
    for (const auto& [id, known] : *all) buckets[BucketOf(RowHash(table, id))].push_back(id);
    for (auto& [bucket, ids] : buckets) {
      if (ids.size() <= 2) continue;
      std::sort(ids.begin(), ids.end(), [&](int64_t x, int64_t y) {
        const Known &a = (*all)[x], &b = (*all)[y];
        return std::tuple(a.last_step, a.frequency, RowHash(table, x)) <
               std::tuple(b.last_step, b.frequency, RowHash(table, y));
      });
      for (size_t i = 0; i + 2 < ids.size(); ++i) all->erase(ids[i]);
    }
  };
  for (int64_t step = 1; step <= 200; ++step) {
    std::set<int64_t> named;
    for (uint64_t i = 0; i < 400; ++i) {
      const auto words =
          Philox4x32(RandomKey(9, RandomPurpose::kTest, 1), static_cast<uint64_t>(step), i);
      named.insert(static_cast<int64_t>(words[0] % (words[1] % 3 == 0 ? 20'000u : 3'000u)));
    }
    for (const int64_t id : named) {
      if (rows.contains(id)) continue;
      Known& candidate = candidates[id];
      ++candidate.frequency;
      candidate.last_step = step;
      if (candidate.frequency < 2) continue;
      rows[id] = {1, 0};
      candidates.erase(id);
    }
    for (const int64_t id : named) {
      if (!rows.contains(id)) continue;
      ++rows[id].frequency;
      rows[id].last_step = step;
    }
    for (auto* all : {&rows, &candidates}) {
      std::erase_if(*all, [&](const auto& entry) {
        const bool swept = BucketOf(RowHash(table, entry.first)) % kPeriod == step % kPeriod;
        return swept && step - entry.second.last_step >= 40;
      });
      trim(all);
    }
    const std::vector<int64_t> ids = life.Step({named.begin(), named.end()});
    std::vector<int64_t> expected;
    for (const auto& [id, known] : rows) expected.push_back(id);
    ASSERT_EQ(ids, expected) << "step " << step;
    ASSERT_EQ(life.lifecycle().candidates()->size(), static_cast<int64_t>(candidates.size()))
        << "step " << step;
  }
  EXPECT_GT(life.lifecycle().counts().evicted, 1000);
  EXPECT_GT(life.lifecycle().counts().expired, 100);
}

}  // namespace
}  // namespace pepnet

#include "ps/table/store/bucket_lists.h"

#include <algorithm>
#include <limits>
#include <map>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/base/hash.h"

namespace pepnet {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(BucketListsTest, ARowThatGoesLeavesItsPlaceToTheLast) {
  for (const bool keeps_positions : {false, true}) {
    BucketLists lists(/*keeps_steps=*/true, keeps_positions);
    for (const uint32_t slot : {4, 8, 15, 16}) lists.Add(23, slot, slot * 10);
    lists.Add(42, 5, 1);
    lists.RemoveAt(23, 1);
    EXPECT_THAT(lists.slots(23), ElementsAre(4, 16, 15));
    EXPECT_EQ(lists.step(23, 1), 160);
    if (keeps_positions) {
      lists.Remove(23, 16);
      EXPECT_THAT(lists.slots(23), ElementsAre(4, 15));
      EXPECT_EQ(lists.step(23, 1), 150);
    }
    EXPECT_THAT(lists.slots(42), ElementsAre(5));
    lists.Clear(23);
    EXPECT_THAT(lists.slots(23), IsEmpty());
    EXPECT_EQ(lists.step(42, 0), 1);
  }
}

TEST(BucketListsTest, StepsAreNeverLargerThanTheyWere) {
  BucketLists lists(/*keeps_steps=*/true, /*keeps_positions=*/false);
  constexpr int64_t kMost = std::numeric_limits<uint32_t>::max();
  for (const int64_t step : {kMost + 7, int64_t{90}, kMost, int64_t{80}}) lists.Add(0, 0, step);
  EXPECT_EQ(lists.step(0, 0), kMost);
  EXPECT_EQ(lists.step(0, 2), kMost);
  EXPECT_EQ(lists.LeastStep(0, 0, 4), 80);
  EXPECT_EQ(lists.LeastStep(0, 0, 3), 90);
  lists.SetStep(0, 3, kMost + 1);
  EXPECT_EQ(lists.LeastStep(0, 2, 4), kMost);
}

// Slots come and go in any order, and are used again.
TEST(BucketListsTest, AnySlotCanBeRemoved) {
  BucketLists lists(/*keeps_steps=*/false, /*keeps_positions=*/true);
  std::map<uint32_t, int> bucket_of;
  uint64_t random = 5;
  for (int round = 0; round < 30'000; ++round) {
    random = Mix64(random);
    const auto slot = static_cast<uint32_t>(random % 2000);
    const auto there = bucket_of.find(slot);
    if (there == bucket_of.end()) {
      const int bucket = static_cast<int>(random / 2000 % 7);
      lists.Add(bucket, slot, 0);
      bucket_of[slot] = bucket;
    } else {
      lists.Remove(there->second, slot);
      bucket_of.erase(there);
    }
    if (round % 1000 != 0) continue;
    for (int bucket = 0; bucket < 7; ++bucket) {
      std::vector<uint32_t> expected;
      for (const auto& [one, its] : bucket_of) {
        if (its == bucket) expected.push_back(one);
      }
      std::vector<uint32_t> slots(lists.slots(bucket).begin(), lists.slots(bucket).end());
      std::sort(slots.begin(), slots.end());
      ASSERT_EQ(slots, expected) << round;
    }
  }
}

TEST(BucketListsTest, AListTakesFourBytesAndASixteenth) {
  BucketLists lists(/*keeps_steps=*/true, /*keeps_positions=*/true);
  const uint64_t empty = lists.memory_bytes();
  for (uint32_t slot = 0; slot < 100'000; ++slot) {
    lists.Add(9, slot, slot);
    ASSERT_LE(lists.memory_bytes() - empty, 3 * (17 * uint64_t{slot + 1} / 4 + 64)) << slot;
  }
}

}  // namespace
}  // namespace pepnet

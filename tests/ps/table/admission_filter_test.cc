#include "ps/table/admission_filter.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/base/partition.h"
#include "common/base/random.h"
#include "common/job_config/table.h"

namespace pepnet {
namespace {

using ::testing::ElementsAre;

// Filters of `words` words a bucket that count to `most`.
RowPolicy Policy(int64_t words, int64_t most, int64_t halve_steps = 1'000'000) {
  return {.admit_after_steps = most,
          .filter_bytes = words * kBucketCount * kFilterWordBytes,
          .filter_halve_steps = halve_steps};
}

// The row hashes of `count` ids of bucket 0, which stand one behind the other as RowHash() makes
// them of random ids.
std::vector<uint64_t> HashesOfBucketZero(uint64_t first, size_t count) {
  std::vector<uint64_t> hashes;
  for (uint64_t i = 0; i < count; ++i) hashes.push_back(Mix64(first + i) >> 10);
  return hashes;
}

std::vector<uint64_t> WordsOf(const AdmissionFilter& filter, size_t bucket) {
  const AdmissionFilter::Image image = filter.TakeImage();
  return image[bucket] != nullptr ? *image[bucket] : std::vector<uint64_t>();
}

TEST(AdmissionFilterTest, ItCountsTheStepsThatNameAnId) {
  AdmissionFilter filter(Policy(64, 3));
  const uint64_t id = HashesOfBucketZero(5, 1)[0], other = id + (uint64_t{7} << 54);
  EXPECT_EQ(filter.CountOf(id), 0);
  EXPECT_EQ(filter.memory_bytes(), 0u);
  filter.Count(std::vector<uint64_t>{id});
  EXPECT_EQ(filter.CountOf(id), 1);
  EXPECT_EQ(filter.CountOf(other), 0);  // of bucket 7
  filter.Count(std::vector<uint64_t>{id, other});
  EXPECT_EQ(filter.CountOf(id), 2);
  EXPECT_EQ(filter.CountOf(other), 1);
  for (int step = 0; step < 9; ++step) filter.Count(std::vector<uint64_t>{id});
  EXPECT_EQ(filter.CountOf(id), 3);  // no further
  EXPECT_EQ(filter.memory_bytes(), 2u * 64 * 8);
}

TEST(AdmissionFilterTest, CountersAreHalvedAtTheStepsOfTheirBucket) {
  AdmissionFilter filter(Policy(64, 9, /*halve_steps=*/5));
  const uint64_t zero = HashesOfBucketZero(5, 1)[0], later = zero + (uint64_t{500} << 54);
  for (int step = 0; step < 9; ++step) filter.Count(std::vector<uint64_t>{zero, later});
  filter.Forget(11);  // of buckets 205 to 409
  EXPECT_EQ(filter.CountOf(zero), 9);
  filter.Forget(12);  // of buckets 410 to 614: 500 * 5 / 1024 is 2
  EXPECT_EQ(filter.CountOf(zero), 9);
  EXPECT_EQ(filter.CountOf(later), 4);
  filter.Forget(15);
  filter.Forget(17);
  filter.Forget(20);
  EXPECT_EQ(filter.CountOf(zero), 2);
  EXPECT_EQ(filter.CountOf(later), 2);
  filter.Forget(25);
  filter.Forget(30);
  EXPECT_EQ(filter.CountOf(zero), 0);
}

// Whatever the period, each bucket has one turn in it, and turns are spread over all of it.
TEST(AdmissionFilterTest, EveryBucketIsHalvedOnceInAPeriod) {
  for (const int64_t period : {1, 3, 1000, 1024, 5000}) {
    AdmissionFilter filter(Policy(1, 15, period));
    std::vector<uint64_t> hashes;
    for (uint64_t bucket = 0; bucket < kBucketCount; ++bucket) hashes.push_back(bucket << 54);
    for (int count = 0; count < 15; ++count) filter.Count(hashes);  // no counter holds more
    const auto halved = [&] {
      return std::count_if(hashes.begin(), hashes.end(),
                           [&](uint64_t hash) { return filter.CountOf(hash) == 7; });
    };
    for (int64_t step = period; step < 2 * period; ++step) {
      const auto before = halved();
      filter.Forget(step);
      ASSERT_LE(halved() - before, (kBucketCount - 1) / period + 1) << step << " of " << period;
    }
    EXPECT_EQ(halved(), kBucketCount) << period;
  }
  AdmissionFilter for_ever(Policy(1, 15, int64_t{1} << 62));
  const uint64_t last = uint64_t{1023} << 54;
  for_ever.Count(std::vector<uint64_t>{last});
  const int64_t count = for_ever.CountOf(last);
  for (int64_t step = 1; step < 5000; ++step) for_ever.Forget(step);
  EXPECT_EQ(for_ever.CountOf(last), count);
}

TEST(AdmissionFilterTest, CountersOf8BitsHoldWhatDoesNotFitInto4) {
  for (const auto& [most, bits, halved] : {std::tuple(15, 4, 7), {16, 8, 8}, {255, 8, 127}}) {
    AdmissionFilter filter(Policy(1, most, 1));
    EXPECT_EQ(filter.counter_bits(), bits) << most;
    // Every counter of the bucket is full.
    const std::vector<uint64_t> all = HashesOfBucketZero(1, 200);
    for (int step = 0; step < 300; ++step) filter.Count(all);
    EXPECT_EQ(filter.CountOf(all[0]), most);
    filter.Forget(1);  // nothing comes down from one counter into the next
    for (const uint64_t id : all) ASSERT_EQ(filter.CountOf(id), halved) << most;
  }
}

// Against counters in a map, with places by the formula of the header.
TEST(AdmissionFilterTest, CountersStandWhereTheFormulaSays) {
  constexpr uint64_t kWords = 3, kCounters = 48;
  AdmissionFilter filter(Policy(kWords, 15));
  std::map<uint64_t, int64_t> counters;
  for (const uint64_t id : HashesOfBucketZero(77, 30)) {
    filter.Count(std::vector<uint64_t>{id});
    const uint64_t h = Mix64(id ^ 0x61646d697373696f);
    const uint64_t a = h & 0xffffffff, b = h >> 32 | 1;
    for (uint64_t i = 0; i < 4; ++i) {
      int64_t& counter = counters[((a + i * b) % (uint64_t{1} << 32)) * kCounters >> 32];
      counter = std::min<int64_t>(15, counter + 1);
    }
  }
  std::vector<uint64_t> expected(kWords, 0);
  for (const auto& [place, count] : counters) {
    expected[place / 16] |= static_cast<uint64_t>(count) << (place % 16 * 4);
  }
  EXPECT_EQ(WordsOf(filter, 0), expected);
}

// 16 counters a bucket, so that nearly all ids share all of theirs with others.
TEST(AdmissionFilterTest, TheOrderOfIdsChangesNothingEvenInAFullFilter) {
  AdmissionFilter one(Policy(1, 5)), other(Policy(1, 5));
  std::vector<uint64_t> ids = HashesOfBucketZero(3, 12);
  for (int step = 0; step < 4; ++step) {
    one.Count(ids);
    std::rotate(ids.begin(), ids.begin() + 5, ids.end());
    std::reverse(ids.begin(), ids.begin() + 7);
    other.Count(ids);
    EXPECT_EQ(WordsOf(one, 0), WordsOf(other, 0));
  }
}

// docs/dynamic_tables.md: with m counters and n ids a bucket, an id that was never named shows a
// count with a probability of (1 - exp(-4 n / m))^4.
TEST(AdmissionFilterTest, IdsAreAdmittedEarlyAsOftenAsTheFormulaSays) {
  constexpr size_t kIds = 4096;
  AdmissionFilter filter(Policy(1024, 2));  // 16,384 counters
  filter.Count(HashesOfBucketZero(0, kIds));
  // Never too few.
  for (const uint64_t id : HashesOfBucketZero(0, kIds)) ASSERT_GE(filter.CountOf(id), 1);
  constexpr int kFresh = 100'000;
  int counted = 0;
  for (const uint64_t id : HashesOfBucketZero(1'000'000, kFresh)) {
    counted += filter.CountOf(id) > 0 ? 1 : 0;
  }
  const double expected = std::pow(1 - std::exp(-4.0 * kIds / 16384), 4);  // 0.16
  EXPECT_NEAR(static_cast<double>(counted) / kFresh, expected, 0.01);
}

TEST(AdmissionFilterTest, AnImageStaysAsItIs) {
  AdmissionFilter filter(Policy(2, 5, 1));
  const std::vector<uint64_t> ids = HashesOfBucketZero(3, 5);
  filter.Count(ids);
  const AdmissionFilter::Image image = filter.TakeImage();
  const AdmissionFilter::Words words = *image[0];
  EXPECT_EQ(image[1], nullptr);
  filter.Count(ids);
  EXPECT_EQ(*image[0], words);
  EXPECT_NE(WordsOf(filter, 0), words);
  filter.Forget(4);
  EXPECT_EQ(*image[0], words);

  AdmissionFilter loaded(Policy(2, 5, 1));
  loaded.Load(0, words);
  loaded.Load(1, AdmissionFilter::Words(2, 0));
  EXPECT_EQ(WordsOf(loaded, 0), words);
  EXPECT_EQ(loaded.memory_bytes(), 16u);  // zeros take none
  for (const uint64_t id : ids) EXPECT_GE(loaded.CountOf(id), 1);
}

}  // namespace
}  // namespace pepnet

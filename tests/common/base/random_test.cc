#include "common/base/random.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace pepnet {
namespace {

using testing::ElementsAre;

// Known answers published with the algorithm (Random123). Their counter words c0..c3 are (lo, lo >>
// 32, hi, hi >> 32) here, their key words k0, k1 are (key, key >> 32).
TEST(RandomTest, PhiloxKnownAnswers) {
  EXPECT_THAT(Philox4x32(0, 0, 0), ElementsAre(0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u));
  const uint64_t ones = ~uint64_t{0};
  EXPECT_THAT(Philox4x32(ones, ones, ones),
              ElementsAre(0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu));
  EXPECT_THAT(Philox4x32(0x299f31d0a4093822u, 0x0370734413198a2eu, 0x85a308d3243f6a88u),
              ElementsAre(0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u));
}

// Many counters at once are those of one at a time, whatever their number and the blocks of a row.
TEST(RandomTest, WordsOfManyCountersAreThoseOfEach) {
  constexpr uint64_t kKey = 0x123456789abcdef0;
  for (const size_t row_blocks : {1, 2, 3, 8, 11}) {
    for (const size_t rows : {0, 1, 5, 8, 40}) {
      std::vector<int64_t> ids;
      for (size_t i = 0; i < rows; ++i) {
        ids.push_back(static_cast<int64_t>(Mix64(i) >> (i % 60)) * (i % 3 == 0 ? -1 : 1));
      }
      std::vector<uint32_t> words(4 * rows * row_blocks + 1, 77);
      PhiloxWords(kKey, ids, row_blocks, words.data());
      for (size_t i = 0; i < rows; ++i) {
        for (size_t b = 0; b < row_blocks; ++b) {
          const auto expected = Philox4x32(kKey, static_cast<uint64_t>(ids[i]), b);
          for (size_t e = 0; e < 4; ++e) {
            ASSERT_EQ(words[4 * (i * row_blocks + b) + e], expected[e]) << i << " " << b;
          }
        }
      }
      EXPECT_EQ(words.back(), 77u);
    }
  }
}

// Frozen: a run must be resumable by a later build.
TEST(RandomTest, GoldenKeys) {
  EXPECT_EQ(RandomKey(0, RandomPurpose::kTableInit, 0), 0xf7fcfe441ec12a95u);
  EXPECT_EQ(RandomKey(42, RandomPurpose::kDropout, 3, 1000), 0x74b57272e49a25ffu);
  EXPECT_NE(RandomKey(42, RandomPurpose::kDropout, 1000, 3),
            RandomKey(42, RandomPurpose::kDropout, 3, 1000));
}

TEST(RandomTest, UnitFloatCoversTheHalfOpenInterval) {
  EXPECT_EQ(UnitFloat(0), 0.0f);
  EXPECT_EQ(UnitFloat(0x80000000u), 0.5f);
  EXPECT_LT(UnitFloat(0xffffffffu), 1.0f);
  EXPECT_EQ(UnitFloat(0xffffffffu), 1.0f - 0x1.0p-24f);
}

TEST(RandomTest, KeyedPermutationIsABijection) {
  for (uint64_t n : {1, 2, 3, 5, 64, 1000}) {
    for (uint64_t key : {uint64_t{0}, uint64_t{77}, ~uint64_t{0}}) {
      const KeyedPermutation permutation(key, n);
      std::vector<bool> seen(n);
      for (uint64_t i = 0; i < n; ++i) {
        const uint64_t image = permutation(i);
        ASSERT_LT(image, n);
        ASSERT_FALSE(seen[image]) << "n " << n << ", key " << key << ": " << image << " twice";
        seen[image] = true;
      }
    }
  }
}

TEST(RandomTest, GoldenPermutation) {
  const KeyedPermutation permutation(1, 8);
  std::vector<uint64_t> images;
  for (uint64_t i = 0; i < 8; ++i) images.push_back(permutation(i));
  EXPECT_THAT(images, ElementsAre(1, 6, 3, 4, 0, 7, 2, 5));
}

TEST(RandomTest, KeysGiveDifferentPermutations) {
  const KeyedPermutation a(1, 1000), b(2, 1000);
  int moved = 0, different = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    moved += a(i) != i;
    different += a(i) != b(i);
  }
  EXPECT_GT(moved, 980);
  EXPECT_GT(different, 980);
}

TEST(RandomTest, LargePermutationsStayInside) {
  const uint64_t n = (uint64_t{1} << 40) + 12345;
  const KeyedPermutation permutation(9, n);
  for (uint64_t i = 0; i < 1000; ++i) ASSERT_LT(permutation(n - 1 - i), n);
}

}  // namespace
}  // namespace pepnet

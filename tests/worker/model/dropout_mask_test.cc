#include "worker/model/dropout_mask.h"

#include <vector>

#include <gtest/gtest.h>

#include "common/base/random.h"

namespace pepnet {
namespace {

std::vector<float> Mask(double ratio, int64_t first_row, int64_t rows, int64_t width,
                        int64_t layer = 2, int64_t step = 7) {
  std::vector<float> mask(rows * width, -1);
  FillDropoutMask(DropoutKey(11, layer, step), ratio, first_row, rows, width, mask.data());
  return mask;
}

TEST(DropoutMaskTest, ElementsFollowThePhiloxWordOfTheirRowAndColumn) {
  const uint64_t key = RandomKey(11, RandomPurpose::kDropout, 2, 7);
  const std::vector<float> mask = Mask(0.3, 100, 3, 6);
  for (int64_t row = 0; row < 3; ++row) {
    for (int64_t e = 0; e < 6; ++e) {
      const float u = UnitFloat(Philox4x32(key, 100 + row, e / 4)[e % 4]);
      EXPECT_EQ(mask[row * 6 + e], u >= 0.3 ? static_cast<float>(1 / 0.7) : 0.0f);
    }
  }
}

TEST(DropoutMaskTest, ARowKeepsItsMaskInAnySlice) {
  const std::vector<float> whole = Mask(0.5, 0, 9, 5), part = Mask(0.5, 4, 3, 5);
  EXPECT_EQ(std::vector<float>(whole.begin() + 20, whole.begin() + 35), part);
}

TEST(DropoutMaskTest, APartOfARowIsThatPartOfItsMask) {
  const std::vector<float> whole = Mask(0.5, 12, 1, 150);
  for (const int64_t first : {0, 1, 3, 4, 31, 32, 70}) {
    for (const int64_t count : {0, 1, 5, 29, 64, 80}) {
      std::vector<float> part(count);
      FillDropoutMaskFrom(DropoutKey(11, 2, 7), 0.5, 12, first, count, part.data());
      EXPECT_EQ(std::vector<float>(whole.begin() + first, whole.begin() + first + count), part)
          << first << " " << count;
    }
  }
}

TEST(DropoutMaskTest, LayersAndStepsDiffer) {
  EXPECT_NE(Mask(0.5, 0, 9, 5), Mask(0.5, 0, 9, 5, 3, 7));
  EXPECT_NE(Mask(0.5, 0, 9, 5), Mask(0.5, 0, 9, 5, 2, 8));
}

TEST(DropoutMaskTest, TheKeptShareIsOneMinusTheRatio) {
  int64_t kept = 0;
  for (float m : Mask(0.25, 0, 400, 100)) kept += m > 0;
  EXPECT_NEAR(kept / 40000.0, 0.75, 0.011);  // 5 standard deviations
}

TEST(DropoutMaskTest, RatioOneDropsEverythingAndNoRowsWriteNothing) {
  for (float m : Mask(1.0, 0, 4, 7)) EXPECT_EQ(m, 0.0f);
  EXPECT_TRUE(Mask(0.5, 0, 0, 7).empty());
}

}  // namespace
}  // namespace pepnet

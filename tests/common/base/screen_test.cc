#include "common/base/screen.h"

#include <gtest/gtest.h>

namespace pepnet {
namespace {

TEST(ScreenTest, PartsThatDoNotFitAreLeftOutFromTheEnd) {
  const std::vector<std::string> parts = {"step 3/9", "33 %", "like .559"};
  EXPECT_EQ(FitParts(parts, 25), "step 3/9  33 %  like .559");
  EXPECT_EQ(FitParts(parts, 24), "step 3/9  33 %");
  EXPECT_EQ(FitParts(parts, 14), "step 3/9  33 %");
  EXPECT_EQ(FitParts(parts, 13), "step 3/9");
  EXPECT_EQ(FitParts(parts, 6), "step 3");
  EXPECT_EQ(FitParts(parts, 0), "");
  EXPECT_EQ(FitParts({}, 80), "");
}

TEST(ScreenTest, WidthCountsColumnsNotBytes) {
  EXPECT_EQ(DisplayWidth("like"), 4);
  EXPECT_EQ(DisplayWidth("größe"), 5);
  EXPECT_EQ(DisplayWidth("点击"), 4);
  EXPECT_EQ(DisplayWidth("e\xcc\x81"), 1);  // a letter and its combining accent
  EXPECT_EQ(DisplayWidth("\xff\xfe"), 2);   // no UTF-8
  EXPECT_EQ(DisplayWidth("a\xe7\x82"), 3);  // a character that is cut short
  EXPECT_EQ(DisplayWidth("\xf0\x9f\x9a\x80"), 2);
}

TEST(ScreenTest, TextIsCutBetweenCharacters) {
  EXPECT_EQ(FitParts({"点击率"}, 5), "点击");
  EXPECT_EQ(FitParts({"ab点"}, 3), "ab");
  EXPECT_EQ(FitParts({"größe"}, 3), "grö");
}

}  // namespace
}  // namespace pepnet

#include "cli/report/chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/report/html.h"

namespace pepnet {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(ChartTest, LongLogsKeepTheFirstAndTheLastLine) {
  EXPECT_TRUE(KeptLines(0).empty());
  EXPECT_EQ(KeptLines(3), (std::vector<size_t>{0, 1, 2}));
  EXPECT_EQ(KeptLines(kMostPoints).size(), kMostPoints);
  for (const size_t count : {kMostPoints + 1, size_t{1999}, size_t{100000}}) {
    const std::vector<size_t> kept = KeptLines(count);
    EXPECT_LE(kept.size(), kMostPoints + 1) << count;
    EXPECT_GE(kept.size(), kMostPoints / 2) << count;
    EXPECT_EQ(kept.front(), 0u);
    EXPECT_EQ(kept.back(), count - 1);
  }
}

TEST(ChartTest, CurvesWithoutPointsHaveNoFigure) {
  EXPECT_EQ(CurvesFigure({}, {}), "");
  EXPECT_EQ(CurvesFigure({}, {Curve{}}), "");
  EXPECT_EQ(DotsFigure({}, {DotRow{"a", "1", {}}}, {"run"}), "");
  EXPECT_EQ(BarsFigure("", "s", {"read"}, {BarRow{"run", {0}}}), "");
}

TEST(ChartTest, TextsAreNoMarkup) {
  Curve curve;
  curve.label = curve.name = curve.source = "<b>\"'&";
  curve.dots = true;
  curve.points = {{1, 2}, {3, 4}};
  ChartLayout layout;
  layout.title = layout.subtitle = layout.x_name = layout.y_name = "<i>";
  const std::string figure = CurvesFigure(layout, {curve});
  EXPECT_THAT(figure, Not(HasSubstr("<b>")));
  EXPECT_THAT(figure, Not(HasSubstr("<i>")));
  EXPECT_THAT(figure, HasSubstr("&lt;b&gt;&quot;&#39;&amp;"));
}

TEST(ChartTest, FlaggedDotsCarryTheirValue) {
  DotRow row{"0", "3,771", {{0, 3.3, true, "tip"}, {1, 0.9, false, ""}}};
  DotLayout layout;
  layout.log_x = true;
  layout.target = 1;
  const std::string figure = DotsFigure(layout, {row}, {"global", "pepnet"});
  EXPECT_THAT(figure, HasSubstr(">3.30</text>"));
  EXPECT_THAT(figure, Not(HasSubstr(">0.90</text>")));
}

TEST(HtmlTest, TextsAreCutBetweenCharacters) {
  EXPECT_EQ(Shortened("occupation", 12), "occupation");
  EXPECT_EQ(Shortened("occupation_id", 12), "occupatio...");
  EXPECT_EQ(Shortened("\xe5\xb1\xb1\xe5\xb1\xb1\xe5\xb1\xb1\xe5\xb1\xb1", 7),
            "\xe5\xb1\xb1\xe5\xb1\xb1...");
}

TEST(HtmlTest, NumbersAreWrittenForPeople) {
  EXPECT_EQ(CountText(0), "0");
  EXPECT_EQ(CountText(-999), "-999");
  EXPECT_EQ(CountText(-1000), "-1,000");
  EXPECT_EQ(CountText(1234567), "1,234,567");
  EXPECT_EQ(RoundedText(1234.5), "1,235");
  EXPECT_EQ(RoundedText(1e30), "1e+30");
  EXPECT_EQ(BytesText(999), "999 B");
  EXPECT_EQ(BytesText(3440), "3.4 kB");
  EXPECT_EQ(BytesText(12e9), "12 GB");
}

}  // namespace
}  // namespace pepnet

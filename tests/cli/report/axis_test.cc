#include "cli/report/axis.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace pepnet {
namespace {

TEST(AxisTest, HasRoundEndsAndTicksBetweenThem) {
  const Axis axis = RoundAxis(0.613, 0.748, false, 50, 400);
  EXPECT_NEAR(axis.from, 0.60, 1e-12);
  EXPECT_NEAR(axis.to, 0.75, 1e-12);
  EXPECT_DOUBLE_EQ(axis.At(axis.from), 50);
  EXPECT_DOUBLE_EQ(axis.At(axis.to), 400);
  EXPECT_NEAR(axis.At(0.675), 225, 1e-9);
  const std::vector<double> ticks = Ticks(axis, 5);
  ASSERT_EQ(ticks.size(), 4u);
  EXPECT_EQ(TickText(ticks[1], ticks[1] - ticks[0]), "0.65");
}

TEST(AxisTest, OneValueHasRoomOnBothSides) {
  for (const double value : {0.0, 0.7, -3.0, 1e12, 1e-12}) {
    const Axis axis = RoundAxis(value, value, false, 0, 100);
    EXPECT_LT(axis.from, value);
    EXPECT_GT(axis.to, value);
    EXPECT_GT(Ticks(axis, 5).size(), 1u) << value;
  }
}

TEST(AxisTest, LogarithmicOnesHaveEqualFactors) {
  const Axis axis = RoundAxis(0.5, 8, true, 0, 300);
  EXPECT_NEAR(axis.At(4) - axis.At(2), axis.At(2) - axis.At(1), 1e-9);
  EXPECT_EQ(Ticks(axis, 5), (std::vector<double>{0.5, 1, 2, 5}));
}

// Files may hold any numbers: an axis of them ends, and what it says are numbers.
TEST(AxisTest, AnyNumbersGiveAnAxis) {
  const double largest = std::numeric_limits<double>::max(),
               least = std::numeric_limits<double>::denorm_min();
  const std::pair<double, double> ranges[] = {
      {-largest, largest}, {0, least},     {-least, 0},       {least, largest},
      {1e17, 1e17 + 16},   {1, 1 + 1e-15}, {largest, largest}};
  for (const auto& [low, high] : ranges) {
    for (const bool log : {false, true}) {
      if (log && low <= 0) continue;
      const Axis axis = RoundAxis(low, high, log, 0, 100);
      EXPECT_TRUE(std::isfinite(axis.At(low)) && std::isfinite(axis.At(high)))
          << low << " " << high;
      const std::vector<double> ticks = Ticks(axis, 5);
      EXPECT_LE(ticks.size(), 51u) << low << " " << high;
      for (const double tick : ticks) EXPECT_TRUE(std::isfinite(tick));
    }
  }
}

TEST(AxisTest, TicksAreWrittenWithTheDigitsThatTellThemApart) {
  EXPECT_EQ(TickText(0, 0.1), "0");
  EXPECT_EQ(TickText(1500, 500), "1.5k");
  EXPECT_EQ(TickText(150, 50), "150");
  EXPECT_EQ(TickText(0.02, 0.005), "0.020");
  EXPECT_EQ(TickText(2e-5, 1e-5), "2e-05");
}

}  // namespace
}  // namespace pepnet

#include "common/checkpoint/event_point.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using ::testing::HasSubstr;

TEST(EventPointTest, PointsAreReadBack) {
  const std::vector<EventPoint> points = {
      {0, 1}, {17, 1'600'000'000}, {int64_t{1} << 61, 99'999'999'999}};
  EXPECT_EQ(EventPointsToJson(points),
            "[[0, 1], [17, 1600000000], [2305843009213693952, 99999999999]]");
  ASSERT_OK_AND_ASSIGN(const std::vector<EventPoint> read,
                       EventPointsFromJson(EventPointsToJson(points)));
  EXPECT_EQ(read, points);
  ASSERT_OK_AND_ASSIGN(const std::vector<EventPoint> none,
                       EventPointsFromJson(EventPointsToJson({})));
  EXPECT_TRUE(none.empty());
}

TEST(EventPointTest, PointsThatDoNotAscendAreRefused) {
  for (const char* wrong :
       {"{}", "[1]", "[[1]]", "[[1, 2, 3]]", "[[1, 2.5]]", "[[-1, 5]]", "[[1, 0]]", "[[1, -4]]",
        "[[1, 100000000000]]", "[[1, 18446744073709551615]]", "[[9223372036854775807, 5]]",
        "[[2, 5], [2, 6]]", "[[2, 5], [3, 5]]", "[[2, 5], [3, 4]]", "[[\"2\", 5]]", "[[2, 5]"}) {
    EXPECT_EQ(EventPointsFromJson(wrong).status().code(), absl::StatusCode::kDataLoss) << wrong;
  }
  EXPECT_THAT(
      EventPointsFromJson("[[2, 5], [3, 4]]").status().message(),
      HasSubstr(
          "holds [3,4], expected [step, time] with a step of at least 3 and a time from 6 to"));
}

}  // namespace
}  // namespace pepnet

#include "ps/event_clock.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pepnet {

void PrintTo(const EventPoint& point, std::ostream* out) {
  *out << point.step << ":" << point.time;
}

namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kDay = 86400;

TEST(EventClockTest, TheFirstTimeSetsItAndItNeverGoesBack) {
  EventClock clock(kDay, {6400});
  clock.Advance(1, 0);
  EXPECT_EQ(clock.now(), 0);
  EXPECT_THAT(clock.points(), IsEmpty());
  EXPECT_EQ(clock.LastStepBefore(1), -1);
  clock.Advance(2, 50'000);
  clock.Advance(3, 49'000);
  clock.Advance(4, 0);
  EXPECT_EQ(clock.now(), 50'000);
  EXPECT_THAT(clock.points(), ElementsAre(EventPoint{4, 50'000}));
  clock.Advance(5, 50'400);
  EXPECT_THAT(clock.points(), ElementsAre(EventPoint{4, 50'000}, EventPoint{5, 50'400}));
}

TEST(EventClockTest, PointsAreAtMostA64thOfTheTimeToLiveApart) {
  EventClock clock(kDay, {0, 6400, 12'800});  // 100 s
  const int64_t times[] = {1000, 1030, 1090, 1130, 1180, 1181, 1500, 1501};
  for (int64_t step = 1; step <= 8; ++step) clock.Advance(step, times[step - 1]);
  // 1030 is within 100 s of 1000, and so is 1090; from there 1130 to 1181; 1500 is further than
  // that.
  EXPECT_THAT(clock.points(),
              ElementsAre(EventPoint{1, 1000}, EventPoint{3, 1090}, EventPoint{6, 1181},
                          EventPoint{7, 1500}, EventPoint{8, 1501}));
}

TEST(EventClockTest, RowsAreTooOldUpToTheLastStepThatIsLongAgo) {
  const std::vector<EventPoint> points = {{2, 1000}, {5, 1090}, {9, 1181}, {12, 1500}};
  EXPECT_EQ(EventClock::LastStepBefore(points, 501), -1);
  EXPECT_EQ(EventClock::LastStepBefore(points, 500), 2);
  EXPECT_EQ(EventClock::LastStepBefore(points, 411), 2);
  EXPECT_EQ(EventClock::LastStepBefore(points, 410), 5);
  EXPECT_EQ(EventClock::LastStepBefore(points, 319), 9);
  EXPECT_EQ(EventClock::LastStepBefore(points, 1), 9);
  EXPECT_EQ(EventClock::LastStepBefore({}, 1), -1);
}

TEST(EventClockTest, AStepMovesItOnByNoMoreThanTheLimit) {
  EventClock clock(100, {6400});
  clock.Advance(1, 5000);
  clock.Advance(2, 4'000'000'000);  // a row of the year 2096
  EXPECT_EQ(clock.now(), 5100);
  EXPECT_EQ(clock.limited_steps(), 1);
  clock.Advance(3, 5020);
  EXPECT_EQ(clock.now(), 5100);
  clock.Advance(4, 5200);
  EXPECT_EQ(clock.now(), 5200);
  EXPECT_EQ(clock.limited_steps(), 1);
}

TEST(EventClockTest, PointsThatNoTableNeedsAnyMoreAreDropped) {
  EventClock clock(kDay, {640, 1280});
  for (int64_t step = 1; step <= 100; ++step) clock.Advance(step, 1000 * step);
  // 98000 is the latest that is 1280 s ago.
  EXPECT_THAT(clock.points(), ElementsAre(EventPoint{98, 98'000}, EventPoint{99, 99'000},
                                          EventPoint{100, 100'000}));
  EXPECT_EQ(clock.LastStepBefore(1280), 98);
}

TEST(EventClockTest, TheNumberOfPointsIsBoundedAndARunThatStopsHasTheSame) {
  // One table lives so short that points are a second apart, another so long that none is dropped.
  const std::vector<int64_t> ttls = {64, 1'000'000'000};
  EventClock clock(kDay, ttls), resumed(kDay, ttls);
  size_t most = 0;
  for (int64_t step = 1; step <= 20'000; ++step) {
    clock.Advance(step, 1'600'000'000 + 7 * step);
    resumed.Advance(step, 1'600'000'000 + 7 * step);
    most = std::max(most, clock.points().size());
    if (step % 777 != 0) continue;
    EventClock next(kDay, ttls);
    next.Restore(*EventPointsFromJson(EventPointsToJson(resumed.points())));
    resumed = next;
  }
  EXPECT_EQ(most, EventClock::kMostPoints);
  EXPECT_EQ(clock.points(), resumed.points());
  EXPECT_EQ(clock.points().back(), (EventPoint{20'000, 1'600'140'000}));
  EXPECT_EQ(clock.LastStepBefore(70), 19'990);  // the newest are as close as they were
  // An old step counts as one up to a hundredth of its age later.
  for (const int64_t age : {1000, 5000, 19'000}) {
    const int64_t until = clock.LastStepBefore(7 * age);
    EXPECT_GE(until, 20'000 - age - age / 100) << age;
    EXPECT_LE(until, 20'000 - age) << age;
  }
}

TEST(EventClockTest, WithoutATimeToLiveThePointsAreAnHourApart) {
  EventClock clock(kDay, {0});
  for (int64_t step = 1; step <= 240; ++step) clock.Advance(step, 1'000'000 + 60 * step);
  EXPECT_THAT(clock.points(), ElementsAre(EventPoint{1, 1'000'060}, EventPoint{61, 1'003'660},
                                          EventPoint{121, 1'007'260}, EventPoint{181, 1'010'860},
                                          EventPoint{240, 1'014'400}));
}

}  // namespace
}  // namespace pepnet

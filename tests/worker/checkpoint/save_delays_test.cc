#include "worker/checkpoint/save_delays.h"

#include <gtest/gtest.h>

namespace pepnet {
namespace {

TEST(SaveDelaysTest, StepsWhileSavingAreComparedWithTheOthers) {
  SaveDelays delays;
  delays.Add(5.0, false);  // the first step warms up
  for (int step = 0; step < 8; ++step) delays.Add(0.1, false);
  EXPECT_EQ(delays.Report(), "");  // nothing to compare with yet
  delays.Add(0.14, true);
  delays.Add(0.11, true);
  EXPECT_NEAR(delays.mean_seconds(), 0.1, 1e-12);
  EXPECT_NEAR(delays.longest_delay_seconds(), 0.04, 1e-12);
  EXPECT_NEAR(delays.lost_throughput(), 0.2, 1e-12);
  EXPECT_EQ(delays.Report(),
            "2 steps while saving took 125.0 ms on average and 140.0 at most, 8 others 100.0 and "
            "100.0: at most 40.0 more, "
            "throughput while saving -20.0 %");
}

}  // namespace
}  // namespace pepnet

#include "common/base/log_functions.h"

#include <gtest/gtest.h>

#include "common/base/logging.h"

namespace pepnet {
namespace {

TEST(LoggingTest, LinesCarrySeverityAndRank) {
  InitLogging("log_functions_test", "worker 1");
  testing::internal::CaptureStderr();
  LogWarning("table user grew");
  SetLogLabel("");
  LogInfo("step 5");
  const std::string lines = testing::internal::GetCapturedStderr();
  EXPECT_NE(lines.find("[worker 1]"), std::string::npos) << lines;
  EXPECT_EQ(lines.find('W'), 0u) << lines;
  EXPECT_NE(lines.find("table user grew\nI"), std::string::npos) << lines;
  EXPECT_EQ(lines.find("[worker 1]", lines.find('\n')), std::string::npos) << lines;
}

TEST(LoggingDeathTest, CheckOrDieEndsTheProcessWithItsMessage) {
  CheckOrDie(true, "not printed");
  EXPECT_DEATH(CheckOrDie(false, "row count is negative"), "row count is negative");
}

}  // namespace
}  // namespace pepnet

// The macros of status.h as a build with -DPEPNET_STATUS_LOCATIONS=ON has them.
#ifndef PEPNET_STATUS_LOCATIONS
#define PEPNET_STATUS_LOCATIONS
#endif
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "common/base/status.h"

namespace pepnet {
namespace {

StatusOr<int> Half(int x) {
  if (x % 2 != 0) return InvalidInput("x = ", x, ", expected an even number");
  return x / 2;
}

constexpr int kLineOfQuarter = __LINE__ + 2;
StatusOr<int> Quarter(int x) {
  PEPNET_ASSIGN_OR_RETURN(const int half, Half(x));
  return Half(half);
}

constexpr int kLineOfCheck = __LINE__ + 2;
Status CheckQuarter(int x) {
  PEPNET_RETURN_IF_ERROR(Quarter(x).status());
  return absl::OkStatus();
}

TEST(StatusLocationsTest, EachLineTellsWhatItPassesOn) {
  testing::internal::CaptureStderr();
  const Status status = CheckQuarter(7);
  const std::string told = testing::internal::GetCapturedStderr();
  EXPECT_EQ(status.message(), "x = 7, expected an even number")
      << "the error itself stays as it is";
  const std::string rest = ": passes on: x = 7, expected an even number\n";
  EXPECT_EQ(told,
            absl::StrCat(__FILE__, ":", kLineOfQuarter, rest, __FILE__, ":", kLineOfCheck, rest));
}

TEST(StatusLocationsTest, NothingIsToldWithoutAnError) {
  testing::internal::CaptureStderr();
  EXPECT_TRUE(CheckQuarter(8).ok());
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace pepnet

#include "common/base/status.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

StatusOr<std::unique_ptr<int>> Half(int x) {
  if (x % 2 != 0) return InvalidInput("x = ", x, ", expected an even number");
  return std::make_unique<int>(x / 2);
}

StatusOr<int> Quarter(int x) {
  PEPNET_ASSIGN_OR_RETURN(const std::unique_ptr<int> half, Half(x));
  PEPNET_ASSIGN_OR_RETURN(auto quarter, Half(*half));
  return *quarter;
}

Status CheckQuarter(int x) {
  PEPNET_RETURN_IF_ERROR(Quarter(x).status());
  return absl::OkStatus();
}

TEST(StatusTest, MacrosReturnTheFirstError) {
  EXPECT_EQ(*Quarter(12), 3);
  EXPECT_EQ(Quarter(6).status().message(), "x = 3, expected an even number");
  EXPECT_EQ(CheckQuarter(7).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_OK(CheckQuarter(8));
}

TEST(StatusTest, AnnotateKeepsCodeAndCause) {
  EXPECT_OK(Annotate(absl::OkStatus(), "reading"));
  const Status status =
      Annotate(Annotate(absl::NotFoundError("no such file"), "part 3"), "reading table user");
  EXPECT_EQ(status, absl::NotFoundError("reading table user: part 3: no such file"));
}

}  // namespace
}  // namespace pepnet

// The matchers of status_matchers.h say what they should, and a red one prints the error.
#include "tests/support/status_matchers.h"

#include <gtest/gtest-spi.h>

#include <memory>

namespace pepnet {
namespace {

using testing::HasSubstr;
using testing::Not;

StatusOr<std::string> Text() { return std::string("text"); }
StatusOr<std::string> NoText() { return absl::NotFoundError("no file f"); }
StatusOr<std::unique_ptr<int>> Owned() { return std::make_unique<int>(3); }

TEST(StatusMatchersTest, OkPasses) {
  EXPECT_OK(absl::OkStatus());
  EXPECT_OK(Text());
  ASSERT_OK(Owned());
  EXPECT_THAT(Text(), IsOk());
  EXPECT_THAT(NoText(), Not(IsOk()));
  EXPECT_THAT(Text(), IsOkAndHolds("text"));
  EXPECT_THAT(Text(), Not(IsOkAndHolds("other")));
  EXPECT_THAT(NoText(), Not(IsOkAndHolds("text")));
}

TEST(StatusMatchersTest, AnErrorIsKnownByCodeAndMessage) {
  EXPECT_THAT(NoText(), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(NoText().status(), StatusIs(absl::StatusCode::kNotFound, "no file f"));
  EXPECT_THAT(NoText(), StatusIs(testing::_, HasSubstr("file")));
  EXPECT_THAT(NoText(), IsError(HasSubstr("file f")));
  EXPECT_THAT(NoText(), Not(StatusIs(absl::StatusCode::kInternal)));
  EXPECT_THAT(NoText(), Not(IsError(HasSubstr("g"))));
  EXPECT_THAT(Text(), Not(IsError(testing::_)));
}

TEST(StatusMatchersTest, AssignDeclaresTheValue) {
  ASSERT_OK_AND_ASSIGN(const std::string text, Text());
  EXPECT_EQ(text, "text");
  ASSERT_OK_AND_ASSIGN(auto owned, Owned());
  EXPECT_EQ(*owned, 3);
}

void AssignAnError() {
  ASSERT_OK_AND_ASSIGN(const std::string text, NoText());
  FAIL() << "the function must have ended; it has " << text;
}

TEST(StatusMatchersTest, ARedOnePrintsTheExpressionAndTheError) {
  EXPECT_NONFATAL_FAILURE(EXPECT_OK(NoText()), "NoText()");
  EXPECT_NONFATAL_FAILURE(EXPECT_OK(NoText()), "Actual: NOT_FOUND: no file f");
  EXPECT_NONFATAL_FAILURE(EXPECT_OK(NoText().status()) << "of f", "of f");
  EXPECT_FATAL_FAILURE(AssignAnError(), "Value of: NoText()");
  EXPECT_FATAL_FAILURE(AssignAnError(), "NOT_FOUND: no file f");
  EXPECT_NONFATAL_FAILURE(EXPECT_THAT(NoText(), IsOk()), "NOT_FOUND: no file f");
  EXPECT_NONFATAL_FAILURE(EXPECT_THAT(NoText(), IsError("other")), "NOT_FOUND: no file f");
  EXPECT_NONFATAL_FAILURE(EXPECT_THAT(NoText(), IsOkAndHolds("text")), "NOT_FOUND: no file f");
}

}  // namespace
}  // namespace pepnet

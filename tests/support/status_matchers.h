// Matchers of absl::Status and absl::StatusOr (and other types with ok() and status(), such as
// arrow::Result), so that a red test prints the error's code and message.
//
//   EXPECT_OK(table.Check());                                // ASSERT_OK ends the test
//   ASSERT_OK_AND_ASSIGN(const auto bytes, ReadFile(path));  // declares bytes, or ends the test
//   EXPECT_THAT(ReadFile(path), IsError(HasSubstr(path)));   // of any code, by its message
//   EXPECT_THAT(ReadFile(path), StatusIs(absl::StatusCode::kNotFound, HasSubstr(path)));
//   EXPECT_THAT(ReadFile(path), IsOkAndHolds("text"));
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <utility>

#include "common/base/status.h"

namespace pepnet {

// The status of a Status, of a StatusOr, or of what is like them.
template <typename T>
decltype(auto) StatusOf(const T& value) {
  if constexpr (requires { value.status(); }) {
    return value.status();
  } else {
    return (value);
  }
}

// For EXPECT_OK and ASSERT_OK: "Value of: ReadFile(path)", "Expected: is OK", "Actual: NOT_FOUND:
// ...".
template <typename T>
testing::AssertionResult IsOkPredicate(const char* expression, const T& value) {
  if (value.ok()) return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << "Value of: " << expression
         << "\nExpected: is OK\n  Actual: " << StatusOf(value).ToString();
}

MATCHER(IsOk, negation ? "is an error" : "is OK") {
  *result_listener << "which is " << StatusOf(arg).ToString();
  return arg.ok();
}

// `code` and `message` are values or matchers.
MATCHER_P2(StatusIs, code, message,
           "has a code that " + testing::DescribeMatcher<absl::StatusCode>(code, negation) +
               " and a message that " + testing::DescribeMatcher<std::string>(message, negation)) {
  const auto& status = StatusOf(arg);
  *result_listener << "which is " << status.ToString();
  return testing::Matches(testing::MatcherCast<absl::StatusCode>(code))(status.code()) &&
         testing::Matches(testing::MatcherCast<std::string>(message))(
             std::string(status.message()));
}

template <typename Code>
auto StatusIs(Code code) {
  return StatusIs(code, testing::_);
}

// An error of any code whose message matches.
template <typename Message>
auto IsError(Message message) {
  return StatusIs(testing::Ne(absl::StatusCode::kOk), message);
}

// A StatusOr with a value that matches.
MATCHER_P(IsOkAndHolds, value,
          (negation ? "is an error or its value " : "is OK and its value ") +
              testing::DescribeMatcher<typename std::decay_t<arg_type>::value_type>(value,
                                                                                    negation)) {
  if (!arg.ok()) {
    *result_listener << "which is " << StatusOf(arg).ToString();
    return false;
  }
  return testing::ExplainMatchResult(value, *arg, result_listener);
}

}  // namespace pepnet

#define EXPECT_OK(...) EXPECT_PRED_FORMAT1(::pepnet::IsOkPredicate, (__VA_ARGS__))
#define ASSERT_OK(...) ASSERT_PRED_FORMAT1(::pepnet::IsOkPredicate, (__VA_ARGS__))

// Declares `lhs` with the value of a StatusOr, or ends the test with the error.
#define ASSERT_OK_AND_ASSIGN(lhs, ...) \
  ASSERT_OK_AND_ASSIGN_IMPL(PEPNET_CONCAT(pepnet_test_statusor_, __LINE__), lhs, __VA_ARGS__)
#define ASSERT_OK_AND_ASSIGN_IMPL(var, lhs, ...)                                    \
  auto var = (__VA_ARGS__);                                                         \
  if (!var.ok()) {                                                                  \
    GTEST_FATAL_FAILURE_("Value of: " #__VA_ARGS__ "\nExpected: is OK\n  Actual: ") \
        << var.status().ToString();                                                 \
  }                                                                                 \
  lhs = *std::move(var)

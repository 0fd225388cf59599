#include "common/expression/name_pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using ::testing::HasSubstr;

// Whether Python's re.fullmatch(pattern, name) finds a match: every expectation below was taken
// from it.
bool Matches(const std::string& pattern, const std::string& name) {
  const auto parsed = NamePattern::Parse(pattern);
  EXPECT_OK(parsed) << pattern;
  return parsed.ok() && parsed->Matches(name);
}

std::string ErrorOf(const std::string& pattern) {
  const auto parsed = NamePattern::Parse(pattern);
  return parsed.ok() ? "OK" : std::string(parsed.status().message());
}

TEST(NamePatternTest, TheWholeNameMustMatch) {
  EXPECT_TRUE(Matches("model", "model"));
  EXPECT_FALSE(Matches("model", "model."));
  EXPECT_FALSE(Matches("odel", "model"));
  EXPECT_TRUE(Matches("model\\.epnet\\..*", "model.epnet.gate_nu.dense_layers.0.weight"));
  EXPECT_FALSE(Matches("model\\.epnet\\..*", "model.epnets"));
  EXPECT_FALSE(Matches("model\\.epnet", "model_epnet"));
  EXPECT_TRUE(
      Matches("model\\._task_tower\\..*bias|model\\.epnet.*", "model._task_tower.0.linear.bias"));
  EXPECT_FALSE(
      Matches("model\\._task_tower\\..*bias|model\\.epnet.*", "model._task_tower.0.linear.weight"));
  EXPECT_TRUE(Matches("", ""));
  EXPECT_FALSE(Matches("", "x"));
  EXPECT_TRUE(Matches("^model$", "model"));
  EXPECT_FALSE(Matches("mo^del", "model"));
  EXPECT_TRUE(Matches("a|^b|c$", "c"));
}

TEST(NamePatternTest, RepetitionsCount) {
  for (int count = 0; count <= 6; ++count) {
    const std::string name(count, 'a');
    EXPECT_EQ(Matches("a*", name), true);
    EXPECT_EQ(Matches("a+", name), count >= 1);
    EXPECT_EQ(Matches("a?", name), count <= 1);
    EXPECT_EQ(Matches("a{3}", name), count == 3);
    EXPECT_EQ(Matches("a{2,}", name), count >= 2);
    EXPECT_EQ(Matches("a{,4}", name), count <= 4);
    EXPECT_EQ(Matches("a{2,4}", name), count >= 2 && count <= 4);
    EXPECT_EQ(Matches("a{2,4}?", name), count >= 2 && count <= 4);
    EXPECT_EQ(Matches("(?:aa)*?", name), count % 2 == 0);
    EXPECT_EQ(Matches("(a{2}){1,2}", name), count == 2 || count == 4);
    EXPECT_EQ(Matches("(a|aa)+?", name), count >= 1);
    EXPECT_EQ(Matches("((a*)*)*", name), true);
  }
  EXPECT_TRUE(Matches("a{x}{", "a{x}{"));  // braces that count nothing
  EXPECT_TRUE(Matches("a{}", "a{}"));
  EXPECT_TRUE(Matches("a{,}", "aaa"));
}

TEST(NamePatternTest, SetsHoldCharacters) {
  EXPECT_TRUE(Matches("[a-c_.]+", "a_.c"));
  EXPECT_FALSE(Matches("[a-c_.]+", "d"));
  EXPECT_TRUE(Matches("[^0-9]+", "abc"));
  EXPECT_FALSE(Matches("[^0-9]+", "ab1"));
  EXPECT_TRUE(Matches("[]a]+", "a]"));
  EXPECT_TRUE(Matches("[^]a]", "b"));
  EXPECT_TRUE(Matches("[a-]+", "-a"));
  EXPECT_TRUE(Matches("[\\d\\-x]+", "4-x"));
  EXPECT_FALSE(Matches("[\\d\\-x]+", "y"));
  EXPECT_TRUE(Matches("\\w+\\.\\d\\s\\D\\S\\W", "linear_3.4 xy."));
  EXPECT_FALSE(Matches("\\W", "_"));
  EXPECT_TRUE(Matches("[\\W]", "."));
  EXPECT_FALSE(Matches("[^\\W]", "."));
  EXPECT_TRUE(Matches("\\[\\]\\(\\)\\{\\}\\*\\\\", "[](){}*\\"));
  EXPECT_FALSE(Matches(".", "\n"));
}

TEST(NamePatternTest, CharactersAreCodePoints) {
  EXPECT_TRUE(Matches("proj_w_.._x", "proj_w_\xe4\xbb\xb7\xe6\xa0\xbc_x"));
  EXPECT_TRUE(Matches("[\xe4\xb8\x80-\xe9\xbe\xa5]+", "\xe4\xbb\xb7\xe6\xa0\xbc"));
  EXPECT_FALSE(Matches("[\xe4\xb8\x80-\xe9\xbe\xa5]", "a"));
  EXPECT_TRUE(Matches(".\xff.", "\xfe\xff\xc3"));  // bytes that are no UTF-8, one by one
  EXPECT_FALSE(Matches("\xff", "\xfe"));
}

TEST(NamePatternTest, FaultsAreToldWithTheirColumn) {
  EXPECT_THAT(ErrorOf("model(epnet"),
              HasSubstr("column 6 of \"model(epnet\": a '(' without its ')'"));
  EXPECT_THAT(ErrorOf("model)"), HasSubstr("column 6 of \"model)\": a ')' without its '('"));
  EXPECT_THAT(ErrorOf("a[bc"), HasSubstr("column 2"));
  EXPECT_THAT(ErrorOf("[b-a]"), HasSubstr("column 2 of \"[b-a]\": a range"));
  EXPECT_THAT(ErrorOf("[\\d-a]"), HasSubstr("a range"));
  EXPECT_THAT(ErrorOf("*a"), HasSubstr("column 1 of \"*a\": nothing stands in front"));
  EXPECT_THAT(ErrorOf("a|+"), HasSubstr("column 3"));
  EXPECT_THAT(ErrorOf("{2}"), HasSubstr("column 1 of \"{2}\": nothing stands in front"));
  EXPECT_THAT(ErrorOf("a**"), HasSubstr("column 3 of \"a**\": a repetition of a repetition"));
  EXPECT_THAT(ErrorOf("^*"), HasSubstr("a repetition of ^ or $"));
  EXPECT_THAT(ErrorOf("a{3,2}"), HasSubstr("column 2"));
  EXPECT_THAT(ErrorOf("a{1001}"), HasSubstr("more than 1000 repetitions"));
  EXPECT_THAT(ErrorOf("a\\"), HasSubstr("column 2 of \"a\\\": a backslash at the end"));
  EXPECT_THAT(ErrorOf("(a)\\1"), HasSubstr("column 4 of \"(a)\\1\": this escape is not supported"));
  EXPECT_THAT(ErrorOf("\\bmodel"), HasSubstr("column 1"));
  EXPECT_THAT(ErrorOf("(?!model).*"),
              HasSubstr("column 1 of \"(?!model).*\": of the groups that begin with (?"));
  EXPECT_THAT(ErrorOf("(?i)model"), HasSubstr("(?: is supported"));
  EXPECT_THAT(ErrorOf(std::string(1025, 'a')), HasSubstr("has 1025 bytes; expected at most 1024"));
  EXPECT_EQ(ErrorOf(std::string(1024, 'a')), "OK");
  EXPECT_THAT(ErrorOf(std::string(51, '(') + std::string(51, ')')),
              HasSubstr("50 groups within one another"));
  EXPECT_EQ(ErrorOf(std::string(50, '(') + std::string(50, ')')), "OK");
  EXPECT_THAT(ErrorOf("((a{100}){100}){100}"), HasSubstr("repeats too much"));
  EXPECT_THAT(ErrorOf("(((){1000}){1000}){1000}"), HasSubstr("repeats too much"));
}

// Matchers that try one way after the other need 2^n steps, or a deep stack.
TEST(NamePatternTest, NoPatternTakesLong) {
  const auto start = std::chrono::steady_clock::now();
  const std::string name(200, 'a');
  EXPECT_FALSE(Matches("(a*)*b", name));
  EXPECT_FALSE(Matches("(a|a)*b", name));
  EXPECT_FALSE(Matches("(((a?)*)*)*b", name));
  EXPECT_TRUE(Matches("(a?){1000}a{200}", name));
  EXPECT_TRUE(Matches("((a?){30}){30}", name));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

}  // namespace
}  // namespace pepnet

#include "common/expression/expression.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/file/file.h"
#include "tests/support/paths.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

double Value(const std::string& text, double x = 0, double y = 0) {
  const auto expression = Expression::Parse(text, {"x", "y"});
  EXPECT_TRUE(expression.ok()) << expression.status().message();
  const double values[] = {x, y};
  return expression.ok() ? expression->Compute(values) : kNaN;
}

std::string ErrorOf(const std::string& text) {
  const auto expression = Expression::Parse(text, {"x", "price"});
  return expression.ok() ? "OK" : std::string(expression.status().message());
}

std::vector<double> Cells(const std::string& text, std::vector<double> x,
                          std::vector<double> y = {0}, double fill = kNaN) {
  const auto expression = Expression::Parse(text, {"x", "y"});
  EXPECT_TRUE(expression.ok()) << expression.status().message();
  const std::span<const double> cells[] = {x, y};
  std::vector<double> out;
  if (expression.ok()) expression->ComputeCells(cells, fill, &out);
  return out;
}

TEST(ExpressionTest, OperatorsBindByPrecedence) {
  EXPECT_EQ(Value("1 + 2 * 3 - 4 / 2"), 5);
  EXPECT_EQ(Value("2 * 3 ^ 2"), 18);
  EXPECT_EQ(Value("2 ^ 3 ^ 2"), 512);  // from right to left
  EXPECT_EQ(Value("8 / 4 / 2"), 1);    // from left to right
  EXPECT_EQ(Value("8 - 4 - 2"), 2);
  EXPECT_EQ(Value("-2 ^ 2"), -4);
  EXPECT_EQ(Value("2 ^ -1"), 0.5);
  EXPECT_EQ(Value("-x * -y", 3, 5), 15);
  EXPECT_EQ(Value("- - + - 3"), -3);
  EXPECT_EQ(Value("2 * -3 ^ 2"), -18);
  EXPECT_EQ(Value("(1 + 2) * 3"), 9);
  EXPECT_EQ(Value("1 < 2 == 1"), 1);
  EXPECT_EQ(Value("3 > 2 + 2"), 0);
  EXPECT_EQ(Value("6 & 3 | 8"), 10);  // & before |
  EXPECT_EQ(Value("8 | 6 & 3"), 10);
  EXPECT_EQ(Value("1 || 0 && 0"), 1);
  EXPECT_EQ(Value("(1 || 0) && 0"), 0);
  EXPECT_EQ(Value("2 == 2 & 1"), 1);  // comparisons before bits
  EXPECT_EQ(Value("0 ? 1 : 0 ? 2 : 3"), 3);
  EXPECT_EQ(Value("1 ? 0 ? 1 : 2 : 3"), 2);
  EXPECT_EQ(Value("x > 1 || y > 1 ? x + y : x - y", 0, 2), 2);
  EXPECT_EQ(Value("x>1?x:y", 2, 7), 2);
}

TEST(ExpressionTest, EachOperatorComputesItsFormula) {
  for (const double x : {-2.5, 0.0, 3.0}) {
    for (const double y : {-1.0, 3.0, 0.5}) {
      EXPECT_EQ(Value("x + y", x, y), x + y);
      EXPECT_EQ(Value("x - y", x, y), x - y);
      EXPECT_EQ(Value("x * y", x, y), x * y);
      EXPECT_EQ(Value("x / y", x, y), x / y);
      EXPECT_EQ(Value("x < y", x, y), x < y);
      EXPECT_EQ(Value("x > y", x, y), x > y);
      EXPECT_EQ(Value("x <= y", x, y), x <= y);
      EXPECT_EQ(Value("x >= y", x, y), x >= y);
      EXPECT_EQ(Value("x == y", x, y), x == y);
      EXPECT_EQ(Value("x != y", x, y), x != y);
      EXPECT_EQ(Value("x && y", x, y), x != 0 && y != 0);
      EXPECT_EQ(Value("x || y", x, y), x != 0 || y != 0);
      EXPECT_EQ(Value("x & y", x, y), static_cast<int64_t>(x) & static_cast<int64_t>(y));
      EXPECT_EQ(Value("x | y", x, y), static_cast<int64_t>(x) | static_cast<int64_t>(y));
      EXPECT_EQ(Value("x ? 7 : y", x, y), x != 0 ? 7 : y);
    }
    EXPECT_EQ(Value("x ^ 3", x), std::pow(x, 3));
  }
  EXPECT_TRUE(std::isnan(Value("x & 1", 1e300)));
  EXPECT_TRUE(std::isnan(Value("1 | x", kNaN)));
}

TEST(ExpressionTest, NumbersAndConstants) {
  EXPECT_EQ(Value("1.5e-3"), 1.5e-3);
  EXPECT_EQ(Value(".5"), 0.5);
  EXPECT_EQ(Value("2.E2"), 200);
  EXPECT_EQ(Value("_pi"), std::numbers::pi);
  EXPECT_EQ(Value("_e"), std::numbers::e);
}

TEST(ExpressionTest, FunctionsOfOneValueAreThoseOfTheMathematicalLibrary) {
  const struct {
    const char* name;
    double (*expected)(double);
    std::vector<double> at;
  } cases[] = {
      {"sin", [](double x) { return std::sin(x); }, {-2, 0, 1}},
      {"cos", [](double x) { return std::cos(x); }, {-2, 0, 1}},
      {"tan", [](double x) { return std::tan(x); }, {-2, 0, 1}},
      {"asin", [](double x) { return std::asin(x); }, {-1, 0, 0.3}},
      {"acos", [](double x) { return std::acos(x); }, {-1, 0, 0.3}},
      {"atan", [](double x) { return std::atan(x); }, {-9, 0, 0.3}},
      {"sinh", [](double x) { return std::sinh(x); }, {-2, 0, 1}},
      {"cosh", [](double x) { return std::cosh(x); }, {-2, 0, 1}},
      {"tanh", [](double x) { return std::tanh(x); }, {-2, 0, 1}},
      {"asinh", [](double x) { return std::asinh(x); }, {-2, 0, 1}},
      {"acosh", [](double x) { return std::acosh(x); }, {1, 2, 9}},
      {"atanh", [](double x) { return std::atanh(x); }, {-0.9, 0, 0.3}},
      {"log2", [](double x) { return std::log2(x); }, {0.1, 8}},
      {"log10", [](double x) { return std::log10(x); }, {0.1, 1000}},
      {"log", [](double x) { return std::log(x); }, {0.1, 8}},
      {"ln", [](double x) { return std::log(x); }, {0.1, 8}},
      {"exp", [](double x) { return std::exp(x); }, {-3, 2}},
      {"sqrt", [](double x) { return std::sqrt(x); }, {0, 2}},
      {"abs", [](double x) { return std::abs(x); }, {-3, 2}},
      {"floor", [](double x) { return std::floor(x); }, {-1.5, 2.5}},
      {"ceil", [](double x) { return std::ceil(x); }, {-1.5, 2.5}},
      {"trunc", [](double x) { return std::trunc(x); }, {-1.5, 2.5}},
  };
  for (const auto& one : cases) {
    for (const double x : one.at) {
      EXPECT_EQ(Value(absl::StrCat(one.name, "(x)"), x), one.expected(x))
          << one.name << "(" << x << ")";
    }
  }
}

TEST(ExpressionTest, OtherFunctionsByTheirValues) {
  EXPECT_EQ(Value("isnan(x)", kNaN), 1);
  EXPECT_EQ(Value("isnan(x)", 1), 0);
  EXPECT_EQ(Value("sign(x)", -3), -1);
  EXPECT_EQ(Value("sign(x)", 0), 0);
  EXPECT_EQ(Value("sign(x)", 9), 1);
  EXPECT_EQ(Value("rint(2.5)"), 2);
  EXPECT_EQ(Value("rint(3.5)"), 4);
  EXPECT_EQ(Value("round(2.5)"), 3);
  EXPECT_EQ(Value("round(-2.5)"), -3);
  EXPECT_EQ(Value("roundp(3.14159, 2)"), 3.14);
  EXPECT_EQ(Value("mod(7, 3)"), 1);
  EXPECT_EQ(Value("mod(-7, 3)"), -1);
  EXPECT_EQ(Value("sigmoid(0)"), 0.5);
  EXPECT_EQ(Value("sigmoid(-1000)"), 0);
  EXPECT_EQ(Value("sigmoid(1000)"), 1);
  EXPECT_DOUBLE_EQ(Value("sigmoid(x)", -2), 1 / (1 + std::exp(2)));
  EXPECT_EQ(Value("min(3, x, 2)", 5), 2);
  EXPECT_EQ(Value("max(3, x, 2)", 5), 5);
  EXPECT_EQ(Value("sum(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)"), 55);
  EXPECT_EQ(Value("avg(1, x)", 4), 2.5);
  EXPECT_TRUE(std::isnan(Value("max(1, x)", kNaN)));
  // A quarter of a great circle, and Berlin to Paris.
  EXPECT_NEAR(Value("haversine(0, 0, 90, 0)"), 6371 * std::numbers::pi / 2, 1e-9);
  EXPECT_NEAR(Value("sphere_dist(0, 0, 0, 90)"), 6371 * std::numbers::pi / 2, 1e-9);
  EXPECT_NEAR(Value("haversine(13.405, 52.52, 2.3522, 48.8566)"), 877.5, 0.1);
  EXPECT_NEAR(Value("sphere_dist(13.405, 52.52, 2.3522, 48.8566)"), 877.5, 0.1);
}

TEST(ExpressionTest, CellsAreComputedPlaceByPlace) {
  EXPECT_THAT(Cells("x + y", {1, 2, 3}, {10, 20, 30}), ElementsAre(11, 22, 33));
  EXPECT_THAT(Cells("x * 2", {1, 2, 3}), ElementsAre(2, 4, 6));
  // One value counts for all.
  EXPECT_THAT(Cells("x + y", {1, 2, 3}, {10}), ElementsAre(11, 12, 13));
  EXPECT_THAT(Cells("x + y", {1, 2, 3}, {10, 20}, 0.5), ElementsAre(11, 22, 3.5));
  EXPECT_TRUE(std::isnan(Cells("x + y", {1, 2, 3}, {10, 20})[2]));
  // Both x are as long as y before anything is added.
  EXPECT_THAT(Cells("x + x + y", {1, 2}, {10, 20, 30}, 7), ElementsAre(12, 24, 44));
  EXPECT_THAT(Cells("x + len(y)", {1, 2}, {10, 20, 30}, 7), ElementsAre(4, 5));
  EXPECT_THAT(Cells("x > 1 ? max(x, y) : 0", {1, 2, 3}, {5}), ElementsAre(0, 5, 5));
  EXPECT_THAT(Cells("7", {1, 2, 3}), ElementsAre(7));
}

TEST(ExpressionTest, FunctionsOfCellsGiveOneNumber) {
  const std::vector<double> x = {1, 2, 3, 6}, y = {2, 1, 5, 4};
  EXPECT_THAT(Cells("len(x)", x), ElementsAre(4));
  EXPECT_THAT(Cells("l2_norm(x)", x), ElementsAre(std::sqrt(50.0)));
  EXPECT_THAT(Cells("squared_norm(x)", x), ElementsAre(50));
  EXPECT_THAT(Cells("dot(x, y)", x, y), ElementsAre(43));
  EXPECT_THAT(Cells("euclid_dist(x, y)", x, y), ElementsAre(std::sqrt(10.0)));
  EXPECT_NEAR(Cells("corr(x, y)", x, y)[0], 7 / std::sqrt(14.0 * 10.0), 1e-15);
  EXPECT_THAT(Cells("variance(x)", x), ElementsAre(3.5));
  EXPECT_THAT(Cells("std_dev(x)", x), ElementsAre(std::sqrt(3.5)));
  EXPECT_THAT(Cells("pop_variance(x)", x), ElementsAre(14.0 / 3));
  EXPECT_THAT(Cells("pop_std_dev(x)", x), ElementsAre(std::sqrt(14.0 / 3)));
  EXPECT_THAT(Cells("reduce_min(x)", x), ElementsAre(1));
  EXPECT_THAT(Cells("reduce_max(x)", x), ElementsAre(6));
  EXPECT_THAT(Cells("reduce_sum(x)", x), ElementsAre(12));
  EXPECT_THAT(Cells("reduce_mean(x)", x), ElementsAre(3));
  EXPECT_THAT(Cells("reduce_prod(x)", x), ElementsAre(36));
  EXPECT_THAT(Cells("reduce_sum(x * 2) / y", x, {4}), ElementsAre(6));
  EXPECT_THAT(Cells("dot(x, y)", {1, 2}, {3}, 0), ElementsAre(9));
  ASSERT_OK_AND_ASSIGN(const Expression cells, Expression::Parse("1 + len(x)", {"x"}));
  EXPECT_TRUE(cells.reads_cells());
  ASSERT_OK_AND_ASSIGN(const Expression values, Expression::Parse("1 + log(x)", {"x"}));
  EXPECT_FALSE(values.reads_cells());
}

TEST(ExpressionTest, ErrorsNameTheColumnWhatIsThereAndWhatIsExpected) {
  EXPECT_EQ(ErrorOf("x +"),
            "column 4 of \"x +\": found the end; expected a number, a variable, a function or '('");
  EXPECT_EQ(ErrorOf(""),
            "column 1 of \"\": found the end; expected a number, a variable, a function or '('");
  EXPECT_EQ(ErrorOf("x x"), "column 3 of \"x x\": found \"x\"; expected an operator or the end");
  EXPECT_EQ(ErrorOf("(x"), "column 3 of \"(x\": found the end; expected ')'");
  EXPECT_EQ(ErrorOf("x ? 1"),
            "column 6 of \"x ? 1\": found the end; expected ':' and the value for 'else'");
  EXPECT_EQ(ErrorOf("min(x; 1)"), "column 6 of \"min(x; 1)\": found \"; 1)\"; expected ',' or ')'");
  EXPECT_EQ(
      ErrorOf("x * prise"),
      "column 5 of \"x * prise\": \"prise\" is no variable (did you mean \"price\"?); expected x, "
      "price, _pi, _e");
  EXPECT_EQ(ErrorOf("1 + sqr(x)"),
            "column 5 of \"1 + sqr(x)\": there is no function \"sqr\" (did you mean \"sqrt\"?); "
            "docs/expressions.md lists them");
  EXPECT_EQ(ErrorOf("log + 1"),
            "column 1 of \"log + 1\": the function log has no arguments; expected log(...)");
  EXPECT_EQ(ErrorOf("log(x, 2)"), "column 1 of \"log(x, 2)\": log has 2 argument(s); expected 1");
  EXPECT_EQ(ErrorOf("max()"), "column 1 of \"max()\": max has 0 argument(s); expected 1 or more");
  EXPECT_THAT(ErrorOf("rnd()"), HasSubstr("rnd() draws another number every time"));
  EXPECT_THAT(ErrorOf("1e999"), HasSubstr("expected a number that a double can hold"));
  EXPECT_THAT(ErrorOf("x = 1"), HasSubstr("found \"= 1\"; expected an operator or the end"));
  EXPECT_THAT(ErrorOf("x\x01"), HasSubstr("\\x01"));
}

TEST(ExpressionTest, LimitsHoldWhateverTheText) {
  EXPECT_THAT(ErrorOf(std::string(4097, '1')), HasSubstr("4097 characters; expected at most 4096"));
  EXPECT_EQ(ErrorOf(std::string(99, '(') + "x" + std::string(99, ')')), "OK");
  EXPECT_THAT(ErrorOf(std::string(2000, '(')), HasSubstr("nests more than 100 deep"));
  EXPECT_THAT(ErrorOf(std::string(2000, '-')), HasSubstr("nests more than 100 deep"));
  std::string power = "x", sum = "x";
  for (int i = 0; i < 1000; ++i) power += "^x";
  EXPECT_THAT(ErrorOf(power), HasSubstr("nests more than 100 deep"));
  for (int i = 0; i < 511; ++i) sum += "+x";
  EXPECT_EQ(ErrorOf(sum), "OK");
  EXPECT_THAT(ErrorOf(sum + "+x"), HasSubstr("more than 1024 parts"));
}

// docs/expressions.md lists what there is, and nothing else.
TEST(ExpressionTest, EveryFunctionIsDocumented) {
  ASSERT_OK_AND_ASSIGN(const std::string page,
                       ReadFile(SourceDir() + "/docs/expressions.md", 1 << 20));
  size_t listed = 0;
  for (size_t at = page.find("\n| `"); at != std::string::npos; at = page.find("\n| `", at + 1)) {
    const std::string name = page.substr(at + 4, page.find_first_of("(`", at + 4) - at - 4);
    listed += FindFunction(name) != nullptr ? 1 : 0;
  }
  for (const std::string& name : FunctionNames()) {
    ASSERT_THAT(page, HasSubstr("\n| `" + name + "(")) << name;
    const size_t line = page.find("\n| `" + name + "(") + 1;
    EXPECT_THAT(page.substr(line, page.find('\n', line) - line),
                EndsWith(absl::StrCat(")` | ", FindFunction(name)->meaning, " |")));
  }
  EXPECT_EQ(listed, FunctionNames().size());
}

// ---- random formulas against a second evaluation ----

// Writes a formula and computes its value while it draws it, with every operand in brackets.
class RandomFormula {
 public:
  RandomFormula(uint32_t seed, double x, double y) : random_(seed), x_(x), y_(y) {}

  std::pair<std::string, double> Draw(int depth) {
    const int kind = static_cast<int>(random_() % (depth > 4 ? 3 : 8));
    if (kind == 0) return {"x", x_};
    if (kind == 1) return {"y", y_};
    if (kind == 2) {
      const double number = static_cast<double>(random_() % 100) / 8;
      return {absl::StrCat(number), number};
    }
    const auto [a, av] = Draw(depth + 1);
    const auto [b, bv] = Draw(depth + 1);
    switch (kind) {
      case 3:
        return {absl::StrCat("(", a, ")+(", b, ")"), av + bv};
      case 4:
        return {absl::StrCat("(", a, ") * (", b, ")"), av * bv};
      case 5:
        return {absl::StrCat("max((", a, "),", b, ")"), av > bv || std::isnan(av) ? av : bv};
      case 6:
        return {absl::StrCat("(", a, ") <= (", b, ") ? -(", a, ") : abs(", b, ")"),
                av <= bv ? -av : std::abs(bv)};
      default:
        return {absl::StrCat("(", a, ") - (", b, ")"), av - bv};
    }
  }

 private:
  std::mt19937 random_;
  const double x_, y_;
};

TEST(ExpressionTest, RandomFormulasHaveTheValueOfTheirParts) {
  int computed = 0;
  for (uint32_t seed = 1; seed <= 2000; ++seed) {
    const double x = seed * 0.37 - 300, y = 100 - seed * 0.11;
    const auto [text, value] = RandomFormula(seed, x, y).Draw(0);
    const auto expression = Expression::Parse(text, {"x", "y"});
    if (!expression.ok()) continue;  // too long
    ++computed;
    const double values[] = {x, y};
    EXPECT_EQ(expression->Compute(values), value) << text;
    const std::span<const double> cells[] = {{&values[0], 1}, {&values[1], 1}};
    std::vector<double> out;
    expression->ComputeCells(cells, 0, &out);
    EXPECT_THAT(out, ElementsAre(value)) << text;
  }
  EXPECT_GT(computed, 1900);
}

}  // namespace
}  // namespace pepnet

#include "worker/data/files/number_text.h"

#include <gtest/gtest.h>

namespace pepnet {
namespace {

TEST(NumberTextTest, IntegersAreStrict) {
  int64_t value = 0;
  EXPECT_EQ(ParseInteger("007", &value), NumberText::kOk);
  EXPECT_EQ(value, 7);
  EXPECT_EQ(ParseInteger("-9223372036854775808", &value), NumberText::kOk);
  EXPECT_EQ(value, INT64_MIN);
  EXPECT_EQ(ParseInteger("9223372036854775808", &value), NumberText::kTooLarge);
  for (const char* text : {"", "+5", "1e3", " 5", "5 ", "0x1F", "true", "1.0", "-", "1_0", "5\r"}) {
    EXPECT_EQ(ParseInteger(text, &value), NumberText::kNotANumber) << text;
  }
}

TEST(NumberTextTest, RealsAreStrictAndFinite) {
  double value = 0;
  EXPECT_EQ(ParseReal("-1.5e3", &value), NumberText::kOk);
  EXPECT_EQ(value, -1500);
  EXPECT_EQ(ParseReal(".5", &value), NumberText::kOk);
  EXPECT_EQ(value, 0.5);
  EXPECT_EQ(ParseReal("1e-400", &value), NumberText::kOk);
  EXPECT_EQ(value, 0);
  EXPECT_EQ(ParseReal("1e400", &value), NumberText::kTooLarge);
  for (const char* text : {"", "+1", "nan", "inf", "-infinity", "NA", " 1", "1 ", "0x1p3", "1,5"}) {
    EXPECT_EQ(ParseReal(text, &value), NumberText::kNotANumber) << text;
  }
}

TEST(NumberTextTest, WhatIsNoNumberHasARemedyWhereThereIsOne) {
  for (const char* text : {"NA", "nan", "NULL", "None", "\\N", "n/a", "-"}) {
    EXPECT_NE(NumberRemedy(text).find("a cell without a value is empty"), std::string::npos)
        << text;
  }
  EXPECT_EQ(NumberRemedy(" 5"), "; it has blanks around it: remove them from the data");
  EXPECT_EQ(NumberRemedy("5\t"), "; it has blanks around it: remove them from the data");
  EXPECT_EQ(NumberRemedy("  "), "; it is blanks only: a cell without a value is empty");
  for (const char* text : {"", "five", " x", "1,5", "na-na"}) {
    EXPECT_EQ(NumberRemedy(text), "") << text;
  }
}

TEST(NumberTextTest, QuotedCellsAreShortAndPrintable) {
  EXPECT_EQ(QuoteCell("a\x1d\n"), "'a\\035\\n'");
  EXPECT_EQ(QuoteCell(std::string(100, 'x')), "'" + std::string(60, 'x') + "...'");
}

}  // namespace
}  // namespace pepnet

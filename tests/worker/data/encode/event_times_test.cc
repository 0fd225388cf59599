#include "worker/data/encode/event_times.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/support/status_matchers.h"
#include "tests/worker/data/data_files.h"

namespace pepnet {
namespace {

using ::testing::HasSubstr;

StatusOr<int64_t> Latest(const RowSelection& rows, bool texts_are_numbers = false,
                         int64_t units_per_second = 1) {
  return LatestEventTime({"c", units_per_second, 86400}, texts_are_numbers, rows, 0);
}
std::string ErrorOf(const RowSelection& rows, bool texts_are_numbers = false) {
  return std::string(Latest(rows, texts_are_numbers).status().message());
}
RowSelection Column(const std::shared_ptr<arrow::DataType>& type, const std::string& json) {
  return SelectAll({{"c", JsonArray(type, json)}});
}

TEST(EventTimesTest, TheLatestRowCounts) {
  EXPECT_THAT(Latest(Column(arrow::int64(), "[1600000000, 1600000007, null, 1600000003]")),
              IsOkAndHolds(1'600'000'007));
  EXPECT_THAT(Latest(Column(arrow::uint32(), "[7, 3000000000]")), IsOkAndHolds(3'000'000'000));
  EXPECT_THAT(Latest(TextCells({"12", "", "15"}), true), IsOkAndHolds(15));
  EXPECT_THAT(Latest(Column(arrow::int64(), "[null, 0]")), IsOkAndHolds(0));  // no time
  EXPECT_THAT(Latest(Column(arrow::int64(), "[]")), IsOkAndHolds(0));
}

TEST(EventTimesTest, UnitsBecomeSeconds) {
  EXPECT_THAT(Latest(Column(arrow::int64(), "[1600000000999]"), false, 1000),
              IsOkAndHolds(1'600'000'000));
  EXPECT_THAT(Latest(TextCells({"1600000001000000"}), true, 1'000'000),
              IsOkAndHolds(1'600'000'001));
  // An Arrow type has its own unit, whatever the config says of numbers.
  using arrow::TimeUnit;
  EXPECT_THAT(Latest(Column(arrow::timestamp(TimeUnit::SECOND), "[1600000000]"), false, 1000),
              IsOkAndHolds(1'600'000'000));
  EXPECT_THAT(Latest(Column(arrow::timestamp(TimeUnit::MILLI), "[1600000000999]")),
              IsOkAndHolds(1'600'000'000));
  EXPECT_THAT(Latest(Column(arrow::timestamp(TimeUnit::MICRO), "[1600000000000001]")),
              IsOkAndHolds(1'600'000'000));
  EXPECT_THAT(Latest(Column(arrow::timestamp(TimeUnit::NANO), "[1600000000000000001]")),
              IsOkAndHolds(1'600'000'000));
  // 2020-09-14
  EXPECT_THAT(Latest(Column(arrow::date32(), "[18518, 18519]")), IsOkAndHolds(1'600'041'600));
}

TEST(EventTimesTest, WhatIsNoTimeIsAnErrorThatNamesTheCell) {
  EXPECT_EQ(ErrorOf(Column(arrow::int64(), "[5, -3]")),
            "'f' row 2, column 'c': the event time -3 is before 1970; leave the cell empty where "
            "the time is not known");
  EXPECT_EQ(ErrorOf(Column(arrow::int64(), "[1600000000000]")),
            "'f' row 1, column 'c': the event time 1600000000000 is beyond the year 5138 with 1 "
            "units a second; is "
            "data_config.event_time.unit another one, as MILLISECONDS?");
  EXPECT_OK(Latest(Column(arrow::int64(), "[99999999999]")));
  EXPECT_THAT(ErrorOf(Column(arrow::int64(), "[100000000000]")), HasSubstr("beyond the year 5138"));
  EXPECT_THAT(ErrorOf(Column(arrow::date32(), "[1200000]")), HasSubstr("beyond the year 5138"));
  EXPECT_EQ(ErrorOf(TextCells({"1.5"}), true),
            "'f' row 1, column 'c': the event time '1.5' is not a whole number");
  EXPECT_THAT(ErrorOf(TextCells({"2020-09-13"}), true), HasSubstr("is not a whole number"));
  EXPECT_THAT(ErrorOf(Column(arrow::uint64(), "[18446744073709551615]")),
              HasSubstr("is not a whole number"));
}

TEST(EventTimesTest, AColumnOfAnotherTypeIsRefused) {
  EXPECT_EQ(ErrorOf(TextCells({"12"})),
            "'f' column 'c': event times need a column of whole numbers, timestamps or dates, but "
            "it has type string");
  EXPECT_THAT(ErrorOf(Column(arrow::float64(), "[12]")), HasSubstr("but it has type double"));
  EXPECT_THAT(ErrorOf(Column(arrow::boolean(), "[true]")), HasSubstr("but it has type bool"));
  EXPECT_THAT(ErrorOf(Column(arrow::list(arrow::int64()), "[[12]]")),
              HasSubstr("but it has type list"));
}

}  // namespace
}  // namespace pepnet

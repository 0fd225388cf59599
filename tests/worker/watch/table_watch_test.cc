#include "worker/watch/table_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace pepnet {
namespace {

TEST(TableWarningsTest, ATableFarLargerThanItsIdsIsNamed) {
  JobConfig config;
  for (const int64_t rows : {int64_t{1000000}, int64_t{1000000}, int64_t{50}}) {
    Table& table = config.tables.emplace_back();
    table.name = absl::StrCat("t", config.tables.size());
    table.rows = rows;
  }
  const auto seen = RowsOfServers(
      {R"({"rows":{"t1":4000,"t2":8000,"t3":0}})", R"({"rows":{"t1":5000,"t2":8000}})", "no json"});
  const std::vector<Warning> warnings = TableWarnings(config, seen);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0].subject, "t1");
  EXPECT_THAT(warnings[0].text,
              testing::HasSubstr("table t1 may have 1000000 rows, training met 9000 ids"));
}

TEST(DynamicTablesTest, CountsOfAllServersAreAddedUp) {
  JobConfig config;
  for (const char* name : {"t", "u", "v"}) {
    Table& table = config.tables.emplace_back();
    table.name = name;
    if (table.name != "v") table.expected_rows = 100;
  }
  config.tables[0].policy.ttl_steps = 5;
  const std::string one =
      R"({"rows":{"t":5,"u":7,"v":3},"lifecycle":{"t":{"admitted":9,"refused":40,"expired":1,"evicted":3,)"
      R"("candidates":20}}})";
  const std::vector<DynamicTableCounts> tables =
      DynamicTablesOf(config, {one, one, "no json", R"({"rows":{}})"});
  ASSERT_EQ(tables.size(), 2u);  // v does not grow
  EXPECT_EQ(DynamicTableLine(tables[0]),
            "t: 10 rows and 40 candidates; 18 rows were made, 2 expired, 6 were evicted; steps "
            "named ids 80 times "
            "without giving them a row");
  EXPECT_EQ(DynamicTableLine(tables[1]), "u: 14 rows");
}

TEST(DynamicTablesTest, TheEventTimeAndStepsThatWereLimitedAreSaid) {
  JobConfig config;
  const auto stats = [](int64_t now, int64_t limited) {
    return std::vector<std::string>(
        2, absl::StrCat(R"({"event_time":{"now":)", now, R"(,"limited_steps":)", limited, "}}"));
  };
  EXPECT_EQ(EventTimeLine(config, stats(5, 0)), "");
  config.data.event_time = {"when", 1, 600};
  EXPECT_EQ(EventTimeLine(config, {R"({"rows":{}})"}), "");
  EXPECT_EQ(EventTimeLine(config, stats(0, 0)),
            "event time: no row had one in column when, so none expired by it");
  EXPECT_EQ(EventTimeLine(config, stats(1'600'000'000, 0)), "event time: 1600000000 s since 1970");
  EXPECT_EQ(EventTimeLine(config, stats(1'600'000'000, 3)),
            "event time: 1600000000 s since 1970; 3 steps named times further ahead than "
            "max_jump_seconds, 600, and "
            "moved it on by no more");
}

}  // namespace
}  // namespace pepnet

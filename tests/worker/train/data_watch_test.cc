#include "worker/train/data_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_join.h"
#include "common/net/in_process.h"
#include "tests/support/cluster.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

JobConfig Config() {
  JobConfig config;
  config.data.labels = {"clk", "unused", "buy"};
  for (const char* name : {"constant", "varies", "raw"}) {
    Feature& feature = config.features.emplace_back();
    feature.name = feature.column = std::string(name);
    feature.is_read = true;
    feature.dim = 1;
  }
  for (const int label : {0, 2}) {
    Tower& tower = config.model.towers.emplace_back();
    tower.label = label;
    tower.losses.emplace_back();
  }
  return config;
}

// `rows` rows; label clk is `clicks`, feature "raw" is 0.5, "varies" is the row's number plus `offset`, or a negative `offset`.
struct Slice {
  int64_t rows;
  float clicks;
  int64_t offset;
};

Batch Rows(const Slice& slice) {
  const auto& [rows, clicks, offset] = slice;
  Batch batch;
  batch.rows = rows;
  batch.labels.resize(3);
  batch.ids.resize(3);
  batch.values.resize(3);
  batch.values[2].Resize(rows);
  for (int64_t r = 0; r < rows; ++r) {
    batch.labels[0].values.push_back(clicks);
    batch.labels[1].values.push_back(0);
    batch.labels[2].values.push_back(static_cast<float>(r % 2));
    batch.ids[0].ids.push_back(7);
    batch.ids[1].ids.push_back(offset + (offset < 0 ? 0 : r));
    batch.values[2][r] = 0.5f;
  }
  for (int f = 0; f < 2; ++f) {
    for (int32_t r = 0; r <= rows; ++r) batch.ids[f].offsets.push_back(r);
  }
  return batch;
}

// What worker 0 is told if worker w sees batches[w].
std::string WarningsOf(const JobConfig& config, const std::vector<Slice>& batches) {
  std::string text;
  std::vector<int> ranks;
  for (size_t w = 0; w < batches.size(); ++w) ranks.push_back(static_cast<int>(w));
  const Status status = RunRanks(static_cast<int>(batches.size()), {}, [&](int rank, Transport* transport) -> Status {
    const auto collective = MakeCollective(transport, Channel::kDense, ranks, 30);
    DataWatch watch(&config);
    watch.Observe(Rows(batches[rank]));
    watch.Observe(Rows({0, 0, 0}));
    PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> warnings, watch.Warnings(collective.get()));
    if (rank == 0) text = absl::StrJoin(warnings, "\n");
    if (rank != 0) {
      EXPECT_TRUE(warnings.empty());
    }
    return absl::OkStatus();
  });
  EXPECT_OK(status);
  return text;
}

constexpr char kConstant[] =
    "feature constant (column constant) was the same in all of 200 rows: the model learns nothing from it";
constexpr char kRaw[] = "feature raw (column raw) was the same in all of 200 rows: the model learns nothing from it";

TEST(DataWatchTest, ALabelThatNeverOrAlwaysIsOneAndConstantFeaturesAreNamed) {
  const JobConfig config = Config();
  EXPECT_EQ(WarningsOf(config, {{200, 0, 0}}),
            absl::StrCat("label clk was never 1 in 200 rows: nothing can be learnt from it; is it the right column?\n",
                         kConstant, "\n", kRaw));
  EXPECT_EQ(WarningsOf(config, {{100, 1, 0}, {0, 0, 0}, {100, 1, 0}}),
            absl::StrCat("label clk was always 1 in 200 rows: nothing can be learnt from it; is it the right column?\n",
                         kConstant, "\n", kRaw));
  EXPECT_EQ(WarningsOf(config, {{100, 1, 0}, {100, 0, 0}}), absl::StrCat(kConstant, "\n", kRaw));
}

TEST(DataWatchTest, AFeatureThatIsConstantOnEachWorkerButNotAmongThemIsNoWarning) {
  JobConfig config = Config();
  EXPECT_EQ(WarningsOf(config, {{100, 1, -1}, {100, 0, -2}}), absl::StrCat(kConstant, "\n", kRaw));
  EXPECT_NE(WarningsOf(config, {{100, 1, -1}, {100, 0, -1}}).find("feature varies"), std::string::npos);
  EXPECT_EQ(WarningsOf(config, {{9, 0, 0}}), "") << "nine rows prove nothing";
}

TEST(DataWatchTest, ATableFarLargerThanItsIdsIsNamed) {
  JobConfig config;
  for (const int64_t rows : {int64_t{1000000}, int64_t{1000000}, int64_t{50}}) {
    Table& table = config.tables.emplace_back();
    table.name = absl::StrCat("t", config.tables.size());
    table.rows = rows;
  }
  const auto seen =
      RowsOfServers({R"({"rows":{"t1":4000,"t2":8000,"t3":0}})", R"({"rows":{"t1":5000,"t2":8000}})", "no json"});
  const std::vector<std::string> warnings = TableWarnings(config, seen);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("table t1 may have 1000000 rows, training met 9000 ids"), std::string::npos)
      << warnings[0];
}

TEST(DynamicTableLinesTest, CountsOfAllServersAreAddedUp) {
  const std::string one =
      R"({"rows":{"t":5,"u":7},"lifecycle":{"t":{"admitted":9,"refused":40,"expired":1,"evicted":3,)"
      R"("candidates":20}}})";
  EXPECT_THAT(
      DynamicTableLines({one, one, "no json", R"({"rows":{}})"}),
      testing::ElementsAre("t: 10 rows and 40 candidates; 18 rows were made, 2 expired, 6 were evicted; steps named "
                           "ids 80 times without giving them a row"));
  EXPECT_TRUE(DynamicTableLines({R"({"rows":{"t":5}})"}).empty());
}

}  // namespace
}  // namespace pepnet

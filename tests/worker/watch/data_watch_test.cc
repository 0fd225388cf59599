#include "worker/watch/data_watch.h"

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

// `rows` rows; label clk is `clicks`, feature "raw" is 0.5, "varies" is the row's number plus
// `offset`, or a negative `offset`.
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

// The warnings of worker 0 if worker w sees batches[w].
std::string WarningsOf(const JobConfig& config, const std::vector<Slice>& batches) {
  std::string text;
  std::vector<int> ranks;
  for (size_t w = 0; w < batches.size(); ++w) ranks.push_back(static_cast<int>(w));
  const Status status =
      RunRanks(static_cast<int>(batches.size()), {}, [&](int rank, Transport* transport) -> Status {
        const auto collective = MakeCollective(transport, Channel::kDense, ranks, 30);
        DataWatch watch(&config);
        watch.Observe(Rows(batches[rank]));
        watch.Observe(Rows({0, 0, 0}));
        PEPNET_ASSIGN_OR_RETURN(const std::vector<Warning> warnings,
                                watch.Warnings(collective.get()));
        if (rank == 0) {
          text = absl::StrJoin(warnings, "\n",
                               [](std::string* out, const Warning& one) { out->append(one.text); });
        }
        if (rank != 0) {
          EXPECT_TRUE(warnings.empty());
        }
        return absl::OkStatus();
      });
  EXPECT_OK(status);
  return text;
}

constexpr char kConstant[] =
    "feature constant (column constant) was the same in all of 200 rows: the model learns nothing "
    "from it";
constexpr char kRaw[] =
    "feature raw (column raw) was the same in all of 200 rows: the model learns nothing from it";

TEST(DataWatchTest, ALabelThatNeverOrAlwaysIsOneAndConstantFeaturesAreNamed) {
  const JobConfig config = Config();
  EXPECT_EQ(WarningsOf(config, {{200, 0, 0}}),
            absl::StrCat("label clk was never 1 in 200 rows: nothing can be learnt from it; is it "
                         "the right column?\n",
                         kConstant, "\n", kRaw));
  EXPECT_EQ(WarningsOf(config, {{100, 1, 0}, {0, 0, 0}, {100, 1, 0}}),
            absl::StrCat("label clk was always 1 in 200 rows: nothing can be learnt from it; is it "
                         "the right column?\n",
                         kConstant, "\n", kRaw));
  EXPECT_EQ(WarningsOf(config, {{100, 1, 0}, {100, 0, 0}}), absl::StrCat(kConstant, "\n", kRaw));
}

TEST(DataWatchTest, RawValuesFarFromZeroAreNamedUnlessTheyAreNormalized) {
  JobConfig config = Config();
  config.features[2].bucketizer = Bucketizer::kNone;
  Batch one = Rows({100, 1, 0}), two = Rows({100, 0, 0});
  one.values[2][7] = -3;
  two.values[2][99] = 1.5e9f;
  const char* text =
      "feature raw (column raw) had values from -3 to 1.5e+09, which go into the network as they "
      "are: they outweigh "
      "the "
      "other inputs, and training may diverge or stand still; set a normalizer (log10, zscore, "
      "minmax) or boundaries";
  const auto warnings_of = [&] {
    std::string told;
    EXPECT_OK(RunRanks(2, {}, [&](int rank, Transport* transport) -> Status {
      const auto collective = MakeCollective(transport, Channel::kDense, {0, 1}, 30);
      DataWatch watch(&config);
      watch.Observe(rank == 0 ? one : two);
      PEPNET_ASSIGN_OR_RETURN(const std::vector<Warning> warnings,
                              watch.Warnings(collective.get()));
      for (const Warning& warning : warnings) {
        if (warning.kind == warning_kinds::kRange) told += warning.text;
      }
      return absl::OkStatus();
    }));
    return told;
  };
  EXPECT_EQ(warnings_of(), text);
  config.features[2].normalizer.kind = NormalizerKind::kLog10;
  EXPECT_EQ(warnings_of(), "");
  config.features[2].normalizer.kind = NormalizerKind::kNone;
  two.values[2][99] = 99;
  EXPECT_EQ(warnings_of(), "") << "no wide range";
}

TEST(DataWatchTest, AFeatureThatIsConstantOnEachWorkerButNotAmongThemIsNoWarning) {
  JobConfig config = Config();
  EXPECT_EQ(WarningsOf(config, {{100, 1, -1}, {100, 0, -2}}), absl::StrCat(kConstant, "\n", kRaw));
  EXPECT_NE(WarningsOf(config, {{100, 1, -1}, {100, 0, -1}}).find("feature varies"),
            std::string::npos);
  EXPECT_EQ(WarningsOf(config, {{9, 0, 0}}), "") << "nine rows prove nothing";
}

}  // namespace
}  // namespace pepnet

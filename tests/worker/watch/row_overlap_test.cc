#include "worker/watch/row_overlap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "common/net/in_process.h"
#include "tests/support/cluster.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

constexpr int64_t kBatch = 64;

JobConfig Config() {
  JobConfig config;
  config.data.labels = {"clk"};
  config.features.emplace_back().is_read = true;
  config.model.towers.emplace_back().label = 0;
  return config;
}

// Worker `index` of `count`'s slice of the rows [begin, begin + kBatch) of `rows`, whose ids are
// id(row).
Batch Slice(int64_t begin, int64_t rows, int index, int count,
            const std::function<int64_t(int64_t)>& id) {
  Batch batch;
  batch.global_rows = std::min(kBatch, rows - begin);
  const int64_t share = (kBatch + count - 1) / count;
  batch.first_row = std::min(batch.global_rows, share * index);
  batch.rows = std::min(batch.global_rows, share * (index + 1)) - batch.first_row;
  batch.labels.resize(1);
  batch.ids.resize(1);
  batch.values.resize(1);
  batch.elements.resize(1);
  batch.ids[0].offsets.push_back(0);
  for (int64_t row = 0; row < batch.rows; ++row) {
    batch.labels[0].values.push_back(1);
    batch.ids[0].ids.push_back(id(begin + batch.first_row + row));
    batch.ids[0].offsets.push_back(static_cast<int32_t>(row + 1));
  }
  return batch;
}

// The warnings about 16,000 training and 2,000 eval rows on `workers` workers.
std::string Said(int workers, const std::function<int64_t(int64_t)>& trained,
                 const std::function<int64_t(int64_t)>& evaluated) {
  const JobConfig config = Config();
  std::string text;
  std::vector<int> ranks;
  for (int w = 0; w < workers; ++w) ranks.push_back(w);
  EXPECT_OK(RunRanks(workers, {}, [&](int rank, Transport* transport) -> Status {
    const auto collective = MakeCollective(transport, Channel::kDense, ranks, 30);
    TrainedRows sample(&config);
    RowOverlap overlap(&config);
    for (int64_t begin = 0; begin < 16000; begin += kBatch) {
      sample.Observe(Slice(begin, 16000, rank, workers, trained));
    }
    for (int64_t begin = 0; begin < 2000; begin += kBatch) {
      overlap.Add(Slice(begin, 2000, rank, workers, evaluated));
    }
    PEPNET_ASSIGN_OR_RETURN(const std::optional<Warning> warning,
                            overlap.Compare(sample, collective.get()));
    if (rank == 0 && warning.has_value()) text = warning->text;
    return absl::OkStatus();
  }));
  return text;
}

TEST(RowOverlapTest, EvalRowsThatWereTrainedAreFoundOnAnyNumberOfWorkers) {
  const auto trained = [](int64_t row) { return row; };
  // Every other eval row is one of the first 8,000 training rows.
  const auto evaluated = [](int64_t row) { return row % 2 == 0 ? row * 4 : 1000000 + row; };
  const std::string text = Said(1, trained, evaluated);
  EXPECT_THAT(text,
              testing::StartsWith(
                  "50.0 % of 1000 training rows looked at stand among the eval rows, with equal "
                  "features and labels (by chance it would be about 0.0 %): "));
  EXPECT_EQ(Said(3, trained, evaluated), text);
}

TEST(RowOverlapTest, RowsOfTheirOwnAreNot) {
  EXPECT_EQ(Said(
                2, [](int64_t row) { return row; }, [](int64_t row) { return 1000000 + row; }),
            "");
}

TEST(RowOverlapTest, RowsThatAreAlikeByNatureProveNothing) {
  // 500 kinds of rows in both, drawn alike: nearly all training rows have their like, and so have
  // the eval rows.
  EXPECT_EQ(Said(
                2, [](int64_t row) { return row * 7919 % 500; },
                [](int64_t row) { return row * 104729 % 500; }),
            "");
}

TEST(RowOverlapTest, AHashSeesEveryPartOfARow) {
  JobConfig config = Config();
  Feature& raw = config.features.emplace_back();
  raw.is_read = true;
  raw.bucketizer = Bucketizer::kNone;
  raw.dim = 2;
  const auto hash = [&](int64_t id, float value, float label) {
    Batch batch = Slice(0, 1, 0, 1, [&](int64_t) { return id; });
    batch.ids.resize(2);
    batch.values.resize(2);
    batch.elements.resize(2);
    batch.values[1].Resize(2);
    batch.values[1][0] = 1;
    batch.values[1][1] = value;
    batch.labels[0].values[0] = label;
    return RowHash(config, batch, 0);
  };
  EXPECT_EQ(hash(1, 2, 0), hash(1, 2, 0));
  EXPECT_NE(hash(1, 2, 0), hash(2, 2, 0));
  EXPECT_NE(hash(1, 2, 0), hash(1, 3, 0));
  EXPECT_NE(hash(1, 2, 0), hash(1, 2, 1));
  config.features[1].is_read = false;
  EXPECT_EQ(hash(1, 2, 0), hash(1, 3, 0)) << "what nothing reads";
}

}  // namespace
}  // namespace pepnet

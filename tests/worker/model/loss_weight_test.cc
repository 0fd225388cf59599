#include "worker/model/loss_weight.h"
#include "tests/support/with_mutant.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pepnet {
namespace {

using testing::ElementsAre;

// Four towers: unweighted; `weight` alone; sample weight and indicator and `weight`; indicator
// alone.
JobConfig Config() {
  JobConfig config;
  config.data.labels = {"y", "clk"};
  config.data.sample_weights = {"w"};
  config.model.towers.resize(4);
  std::vector<Tower>& towers = config.model.towers;
  towers[1].weighted = towers[2].weighted = towers[3].weighted = true;
  towers[1].weight = 3;
  towers[2].weight = 0.5;
  towers[2].sample_weight = 0;
  towers[2].task_space_indicator = towers[3].task_space_indicator = 1;
  towers[2].in_task_space_weight = 2;
  towers[2].out_task_space_weight = 1;
  towers[3].in_task_space_weight = 1;
  towers[3].out_task_space_weight = 0;
  return config;
}

Batch MakeBatch(std::vector<float> clicks, std::vector<float> weights) {
  Batch batch;
  batch.rows = static_cast<int64_t>(clicks.size());
  batch.labels.resize(2);
  batch.labels[0].values.assign(clicks.size(), 0);
  batch.labels[1].values = std::move(clicks);
  batch.sample_weights.push_back(std::move(weights));
  return batch;
}

TEST(LossWeightTest, LossNormalizersAreRowsAndSumsOfWeightTimesSpace) {
  const LossNormalizers local =
      LocalLossNormalizers(Config(), MakeBatch({1, 0, 3, -1}, {1, 2, 0.5, 4}));
  EXPECT_EQ(local.rows, 4);
  EXPECT_THAT(local.weight_sums, ElementsAre(4, 4, 1 * 2 + 2 + 0.5 * 2 + 4, 2));
}

TEST(LossWeightTest, ScalesAreTheGlobalMeanOfTheSpecification) {
  LossNormalizers global;
  global.rows = 8;
  global.weight_sums = {8, 8, 16, 4};
  const auto scales = RowScales(Config(), MakeBatch({1, 0}, {1, 2}), global);
  EXPECT_THAT(scales[0], ElementsAre(1.0f / 8, 1.0f / 8));
  EXPECT_THAT(scales[1], ElementsAre(3.0f / 8, 3.0f / 8));
  EXPECT_THAT(scales[2], ElementsAre(0.5f * 2 / 16, 0.5f * 2 / 16));
  EXPECT_THAT(scales[3], ElementsAre(1.0f / 4, 0.0f));
}

TEST(LossWeightTest, OneWorkersScalesAreTheReferencesNormalisedWeights) {
  // w / mean(w) * weight / B with w = {2, 2, 1, 4}: mean 9 / 4.
  const JobConfig config = Config();
  const Batch batch = MakeBatch({1, 0, 3, -1}, {1, 2, 0.5, 4});
  const auto scales = RowScales(config, batch, LocalLossNormalizers(config, batch));
  const double w[] = {2, 2, 1, 4};
  for (int i = 0; i < 4; ++i) EXPECT_FLOAT_EQ(scales[2][i], w[i] / (9.0 / 4) * 0.5 / 4);
}

TEST(LossWeightTest, NoRowInSpaceGivesZeroScalesNotNaN) {
  const JobConfig config = Config();
  const Batch batch = MakeBatch({0, 0, 0}, {0, 0, 0});
  const LossNormalizers local = LocalLossNormalizers(config, batch);
  EXPECT_EQ(local.weight_sums[2], 0);
  const auto scales = RowScales(config, batch, local);
  EXPECT_THAT(scales[2], ElementsAre(0, 0, 0));
  EXPECT_THAT(scales[3], ElementsAre(0, 0, 0));
}

TEST(LossWeightTest, SlicesAddUpToTheWholeAndAnEmptySliceAddsNothing) {
  const JobConfig config = Config();
  const LossNormalizers whole = LocalLossNormalizers(config, MakeBatch({1, 0, 1}, {1, 2, 0.25}));
  const LossNormalizers a = LocalLossNormalizers(config, MakeBatch({1}, {1}));
  const LossNormalizers b = LocalLossNormalizers(config, MakeBatch({0, 1}, {2, 0.25}));
  const LossNormalizers none = LocalLossNormalizers(config, Batch());
  EXPECT_EQ(a.rows + b.rows + none.rows, whole.rows);
  for (size_t t = 0; t < 4; ++t) {
    EXPECT_EQ(a.weight_sums[t] + b.weight_sums[t] + none.weight_sums[t], whole.weight_sums[t]);
  }
  for (const auto& scale : RowScales(config, Batch(), whole)) EXPECT_TRUE(scale.empty());
}

TEST(LossWeightTest, MutantLocalLossNormalizerDividesByTheSlice) {
  PEPNET_NEEDS_MUTANTS();
  LossNormalizers global;
  global.rows = 8;
  global.weight_sums = {8, 8, 16, 4};
  const WithMutant mutant(Mutant::kLocalLossNormalizer);
  const auto scales = RowScales(Config(), MakeBatch({1, 0}, {1, 2}), global);
  EXPECT_THAT(scales[0], ElementsAre(0.5f, 0.5f));
}

}  // namespace
}  // namespace pepnet

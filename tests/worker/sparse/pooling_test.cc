#include "worker/sparse/pooling.h"

#include <gtest/gtest.h>

namespace pepnet {
namespace {

// One table of width 2 with rows for the ids 4, 5, 6; one feature on it.
struct Fixture {
  JobConfig config;
  Batch batch;
  UniqueIds ids;
  FloatBuffers rows;

  Fixture(Pooling pooling, bool weighted) {
    config.tables.resize(1);
    config.tables[0].dim = 2;
    Feature feature;
    feature.dim = 2;
    feature.is_read = true;
    feature.pooling = pooling;
    feature.weighted = weighted;
    config.features.push_back(feature);
    config.leaves = {{0, 0, 2}};
    batch.rows = 3;  // {4, 5}, {}, {6, 6}
    batch.ids.push_back({{4, 5, 6, 6}, {0, 2, 2, 4}, {}});
    if (weighted) batch.ids[0].weights = {0.5f, 2.0f, 1.0f, 3.0f};
    ids = FindUniqueIds(config, batch);
    rows.emplace_back(6);
    const float values[] = {1, 10, 2, 20, 3, 30};
    std::copy(std::begin(values), std::end(values), rows[0].begin());
  }

  std::vector<float> Pool() {
    FloatBuffers pooled;
    PoolLeaves(config, batch, ids, rows, &pooled);
    return {pooled[0].begin(), pooled[0].end()};
  }

  std::vector<float> Scatter(const std::vector<float>& gradient) {
    FloatBuffers gradients, row_gradients;
    gradients.emplace_back(gradient.size());
    std::copy(gradient.begin(), gradient.end(), gradients[0].begin());
    ScatterGradients(config, batch, ids, gradients, &row_gradients);
    return {row_gradients[0].begin(), row_gradients[0].end()};
  }
};

TEST(PoolingTest, SumAddsEveryLookupAndLeavesAnEmptyCellZero) {
  EXPECT_EQ(Fixture(Pooling::kSum, false).Pool(), (std::vector<float>{3, 30, 0, 0, 6, 60}));
}

TEST(PoolingTest, MeanDividesByTheNumberOfLookupsNotOfWeights) {
  EXPECT_EQ(Fixture(Pooling::kMean, false).Pool(), (std::vector<float>{1.5f, 15, 0, 0, 3, 30}));
  // (0.5 * 1 + 2 * 2) / 2 and (1 + 3) * 3 / 2
  EXPECT_EQ(Fixture(Pooling::kMean, true).Pool(), (std::vector<float>{2.25f, 22.5f, 0, 0, 6, 60}));
}

TEST(PoolingTest, GradientOfALookupIsItsFactorTimesTheGradientOfItsCell) {
  const std::vector<float> gradient = {1, -1, 100, 100, 4, -8};
  EXPECT_EQ(Fixture(Pooling::kSum, false).Scatter(gradient), (std::vector<float>{1, -1, 1, -1, 8, -16}));
  EXPECT_EQ(Fixture(Pooling::kMean, true).Scatter(gradient), (std::vector<float>{0.25f, -0.25f, 1, -1, 8, -16}));
}

TEST(PoolingTest, ClippingActsOnThePooledGradientBeforeCountWeightAndSum) {
  Fixture fixture(Pooling::kMean, false);
  fixture.config.train.sparse_optimizer.gradient_clipping = true;
  fixture.config.train.sparse_optimizer.max_gradient = 2;
  // 4 -> 2 and -8 -> -2; each of the two lookups of id 6 gets half, and they add up.
  EXPECT_EQ(fixture.Scatter({1, -1, 100, 100, 4, -8}), (std::vector<float>{0.5f, -0.5f, 0.5f, -0.5f, 2, -2}));
}

TEST(PoolingTest, FeaturesOnOneTableAddTheirGradients) {
  Fixture fixture(Pooling::kSum, false);
  fixture.config.features.push_back(fixture.config.features[0]);
  fixture.config.leaves.push_back({1, 0, 2});
  fixture.batch.ids.push_back({{5}, {0, 0, 1, 1}, {}});
  fixture.ids = FindUniqueIds(fixture.config, fixture.batch);
  FloatBuffers gradients, row_gradients;
  for (int f = 0; f < 2; ++f) {
    gradients.emplace_back(6);
    for (size_t i = 0; i < 6; ++i) gradients[f][i] = static_cast<float>((f + 1) * (i + 1));
  }
  ScatterGradients(fixture.config, fixture.batch, fixture.ids, gradients, &row_gradients);
  // Row of id 5: cell 0 of the first feature (1, 2) and cell 1 of the second (6, 8).
  EXPECT_EQ(row_gradients[0][2], 1 + 6);
  EXPECT_EQ(row_gradients[0][3], 2 + 8);
}

// One sequence feature: rows {4 | 5}, {}, {6, 6} of elements {4}, {5} and {6, 6}.
struct SequenceFixture : Fixture {
  explicit SequenceFixture(bool by_element, Pooling pooling) : Fixture(pooling, false) {
    config.features[0].sequence = Sequence{};
    config.leaves = {{0, 0, 2, by_element}};
    batch.ids[0].offsets = {0, 1, 2, 4};
    batch.elements = {{0, 2, 2, 3}};
  }
};

TEST(PoolingTest, ALeafOfASequenceHasAVectorForEachElement) {
  EXPECT_EQ(SequenceFixture(true, Pooling::kSum).Pool(), (std::vector<float>{1, 10, 2, 20, 6, 60}));
  EXPECT_EQ(SequenceFixture(true, Pooling::kMean).Pool(), (std::vector<float>{1, 10, 2, 20, 3, 30}));
  EXPECT_EQ(SequenceFixture(true, Pooling::kMean).Scatter({1, -1, 5, 7, 4, -8}),
            (std::vector<float>{1, -1, 5, 7, 4, -8}));
}

TEST(PoolingTest, ASequenceThatAGroupListsIsPooledWhole) {
  EXPECT_EQ(SequenceFixture(false, Pooling::kSum).Pool(), (std::vector<float>{3, 30, 0, 0, 6, 60}));
  EXPECT_EQ(SequenceFixture(false, Pooling::kMean).Pool(), (std::vector<float>{1.5f, 15, 0, 0, 3, 30}));
  EXPECT_EQ(SequenceFixture(false, Pooling::kSum).Scatter({1, -1, 100, 100, 4, -8}),
            (std::vector<float>{1, -1, 1, -1, 8, -16}));
}

}  // namespace
}  // namespace pepnet

#include "worker/sparse/pooling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <span>

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
    PoolLeaves(config, batch, ids, PulledRows(rows, config.tables), &pooled);
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
  EXPECT_EQ(Fixture(Pooling::kSum, false).Scatter(gradient),
            (std::vector<float>{1, -1, 1, -1, 8, -16}));
  EXPECT_EQ(Fixture(Pooling::kMean, true).Scatter(gradient),
            (std::vector<float>{0.25f, -0.25f, 1, -1, 8, -16}));
}

TEST(PoolingTest, ClippingActsOnThePooledGradientBeforeCountWeightAndSum) {
  Fixture fixture(Pooling::kMean, false);
  fixture.config.train.sparse_optimizer.gradient_clipping = true;
  fixture.config.train.sparse_optimizer.max_gradient = 2;
  // 4 -> 2 and -8 -> -2; each of the two lookups of id 6 gets half, and they add up.
  EXPECT_EQ(fixture.Scatter({1, -1, 100, 100, 4, -8}),
            (std::vector<float>{0.5f, -0.5f, 0.5f, -0.5f, 2, -2}));
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
  EXPECT_EQ(SequenceFixture(true, Pooling::kMean).Pool(),
            (std::vector<float>{1, 10, 2, 20, 3, 30}));
  EXPECT_EQ(SequenceFixture(true, Pooling::kMean).Scatter({1, -1, 5, 7, 4, -8}),
            (std::vector<float>{1, -1, 5, 7, 4, -8}));
}

TEST(PoolingTest, ASequenceThatAGroupListsIsPooledWhole) {
  EXPECT_EQ(SequenceFixture(false, Pooling::kSum).Pool(), (std::vector<float>{3, 30, 0, 0, 6, 60}));
  EXPECT_EQ(SequenceFixture(false, Pooling::kMean).Pool(),
            (std::vector<float>{1.5f, 15, 0, 0, 3, 30}));
  EXPECT_EQ(SequenceFixture(false, Pooling::kSum).Scatter({1, -1, 100, 100, 4, -8}),
            (std::vector<float>{1, -1, 1, -1, 8, -16}));
}

// Two features on one table and one on another, with bags of 0 to 30 ids.
struct RandomJob {
  RandomJob(int dim, bool weighted, Pooling pooling, bool clips, int64_t rows) {
    config.tables.resize(2);
    config.features.resize(3);
    batch.rows = rows;
    for (int t = 0; t < 2; ++t) {
      config.tables[t].rows = 1000;
      config.tables[t].dim = dim;
    }
    for (int f = 0; f < 3; ++f) {
      Feature& feature = config.features[f];
      feature.is_read = true;
      feature.weighted = weighted;
      feature.pooling = pooling;
      config.leaves.push_back({f, f == 2 ? 1 : 0, dim});
      IdColumn column;
      column.offsets.push_back(0);
      for (int64_t row = 0; row < rows; ++row) {
        for (uint64_t n = random() % 31; n > 0; --n) {
          column.ids.push_back(static_cast<int64_t>(random() % 1000));
          if (weighted) column.weights.push_back(Number());
        }
        column.offsets.push_back(static_cast<int32_t>(column.ids.size()));
      }
      batch.ids.push_back(std::move(column));
      leaf_gradients.emplace_back(static_cast<size_t>(rows * dim));
      for (float& gradient : leaf_gradients.back()) gradient = Number();
    }
    config.train.sparse_optimizer.gradient_clipping = clips;
    config.train.sparse_optimizer.max_gradient = 0.5;
    ids = FindUniqueIds(config, batch);
    for (int t = 0; t < 2; ++t) {
      table_rows.emplace_back(ids.ids[t].size() * static_cast<size_t>(dim));
      for (float& value : table_rows.back()) value = Number();
    }
  }

  float Number() {
    return static_cast<float>(static_cast<int64_t>(random() % 2001) - 1000) * 0.001f;
  }

  // As the formulas of the header stand, one lookup after the other.
  template <typename Visit>
  void ForEachLookup(int f, const Visit& visit) const {
    const Feature& feature = config.features[f];
    const IdColumn& column = batch.ids[f];
    for (size_t b = 0; b + 1 < column.offsets.size(); ++b) {
      for (int32_t i = column.offsets[b]; i < column.offsets[b + 1]; ++i) {
        float factor = feature.weighted ? column.weights[i] : 1.0f;
        if (feature.pooling == Pooling::kMean) {
          factor *= 1.0f / static_cast<float>(column.offsets[b + 1] - column.offsets[b]);
        }
        visit(b, static_cast<size_t>(ids.positions[f][i]), factor);
      }
    }
  }

  std::mt19937_64 random{7};
  JobConfig config;
  Batch batch;
  UniqueIds ids;
  FloatBuffers leaf_gradients, table_rows;
};

TEST(PoolingTest, EveryWidthAndNumberOfThreadsGivesTheBitsOfAPlainLoop) {
  for (const int dim : {1, 3, 4, 8, 16, 24, 32, 48, 64, 80}) {
    for (const int kind : {0, 1, 2, 3}) {
      const RandomJob job(dim, /*weighted=*/kind % 2 == 1,
                          kind / 2 == 1 ? Pooling::kMean : Pooling::kSum,
                          /*clips=*/kind == 3, /*rows=*/dim == 16 ? 1000 : 40);
      const size_t width = static_cast<size_t>(dim);
      std::vector<std::vector<float>> pooled(3), gradients(2);
      for (int t = 0; t < 2; ++t) gradients[t].resize(job.table_rows[t].size());
      for (int f = 0; f < 3; ++f) {
        const int t = job.config.leaves[f].table;
        pooled[f].resize(static_cast<size_t>(job.batch.rows) * width);
        job.ForEachLookup(f, [&](size_t bag, size_t position, float factor) {
          for (size_t d = 0; d < width; ++d) {
            const float gradient = job.leaf_gradients[f][bag * width + d];
            pooled[f][bag * width + d] += factor * job.table_rows[t][position * width + d];
            gradients[t][position * width + d] +=
                factor * (kind == 3 ? std::clamp(gradient, -0.5f, 0.5f) : gradient);
          }
        });
      }
      for (const int threads : {1, 2, 5}) {
        ThreadTeam team(threads, "test");
        FloatBuffers got_pooled, got_gradients;
        PoolLeaves(job.config, job.batch, job.ids, PulledRows(job.table_rows, job.config.tables),
                   &got_pooled, &team);
        std::vector<std::span<float>> spans;
        for (int t = 0; t < 2; ++t) {
          spans.push_back(got_gradients.emplace_back(gradients[t].size()).span());
        }
        ScatterGradients(job.config, job.batch, job.ids, job.leaf_gradients, spans, &team);
        for (int f = 0; f < 3; ++f) {
          EXPECT_EQ(std::vector<float>(got_pooled[f].begin(), got_pooled[f].end()), pooled[f])
              << dim << " " << kind;
        }
        for (int t = 0; t < 2; ++t) {
          EXPECT_EQ(std::vector<float>(got_gradients[t].begin(), got_gradients[t].end()),
                    gradients[t])
              << dim << " " << kind;
        }
      }
    }
  }
}

TEST(PoolingTest, ARowThatNoBagHoldsGetsNoGradient) {
  Fixture fixture(Pooling::kSum, false);
  fixture.ids.ids[0].push_back(77);
  EXPECT_EQ(fixture.Scatter({1, -1, 100, 100, 4, -8}),
            (std::vector<float>{1, -1, 1, -1, 8, -16, 0, 0}));
}

}  // namespace
}  // namespace pepnet

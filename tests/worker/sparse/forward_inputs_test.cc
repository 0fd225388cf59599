#include "worker/sparse/forward_inputs.h"

#include <gtest/gtest.h>

#include "tests/support/cluster.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

class ForwardInputsTest : public testing::Test {
 protected:
  ForwardInputsTest() : config_(MakeRandomJob(directory_.path(), {})) {}

  // The first batch of the job, as if pulled for training step 5 or for reading.
  PreparedBatch Prepared(bool read_only) {
    LoaderOptions options;
    options.input_path = config_.train_input_path;
    options.batch_size = 7;
    auto loader = BatchLoader::Open(config_, options);
    EXPECT_OK(loader);
    PreparedBatch prepared;
    prepared.batch = **(*loader)->Next();
    prepared.ids = FindUniqueIds(config_, prepared.batch);
    prepared.ticket.step = 5;
    prepared.ticket.read_only = read_only;
    return prepared;
  }
  // Row i of table t: t + i, t + i + 0.5, ...
  FloatBuffers Rows(const PreparedBatch& prepared) const {
    FloatBuffers rows(config_.tables.size());
    for (size_t t = 0; t < rows.size(); ++t) {
      const size_t dim = config_.tables[t].dim;
      rows[t].Resize(prepared.ids.ids[t].size() * dim);
      for (size_t i = 0; i < rows[t].size(); ++i) {
        rows[t][i] = static_cast<float>(t + i / dim) + 0.5f * static_cast<float>(i % dim);
      }
    }
    return rows;
  }

  TemporaryDirectory directory_;
  const JobConfig config_;
};

TEST_F(ForwardInputsTest, AStepReadsPooledRowsScalesAndItsNumber) {
  PreparedBatch prepared = Prepared(/*read_only=*/false);
  prepared.loss_normalizers = LocalLossNormalizers(config_, prepared.batch);
  const FloatBuffers rows = Rows(prepared);
  ForwardInputs inputs(&config_);
  const ModelInput& input = inputs.PoolRows(prepared, rows);
  EXPECT_EQ(input.batch, &prepared.batch);
  EXPECT_EQ(input.step, 4);  // finished before step 5
  ASSERT_NE(input.row_scales, nullptr);
  EXPECT_EQ(*input.row_scales, RowScales(config_, prepared.batch, *prepared.loss_normalizers));
  FloatBuffers pooled;
  PoolLeaves(config_, prepared.batch, prepared.ids, PulledRows(rows, config_.tables), &pooled);
  ASSERT_EQ(input.leaves.size(), config_.leaves.size());
  int with_table = 0;
  for (size_t f = 0; f < config_.leaves.size(); ++f) {
    const Leaf& leaf = config_.leaves[f];
    const Feature& feature = config_.features[leaf.feature];
    if (leaf.table < 0) {
      EXPECT_EQ(input.leaves[f], prepared.batch.values[leaf.feature].data());
    } else {
      ASSERT_GT(pooled[f].size(), 0u);
      EXPECT_EQ(std::memcmp(input.leaves[f], pooled[f].data(), pooled[f].bytes()), 0)
          << feature.name;
      ++with_table;
    }
  }
  EXPECT_GT(with_table, 2);
}

TEST_F(ForwardInputsTest, WithoutLossNormalizersThereAreNoScalesEvenAfterABatchThatHadThem) {
  ForwardInputs inputs(&config_);
  PreparedBatch trained = Prepared(/*read_only=*/false);
  trained.loss_normalizers = LocalLossNormalizers(config_, trained.batch);
  ASSERT_NE(inputs.PoolRows(trained, Rows(trained)).row_scales, nullptr);
  const PreparedBatch read = Prepared(/*read_only=*/true);
  const ModelInput& input = inputs.PoolRows(read, Rows(read));
  EXPECT_EQ(input.row_scales, nullptr);
  EXPECT_EQ(input.step, 0);  // dropout is the steps' alone
  EXPECT_EQ(input.batch, &read.batch);
}

}  // namespace
}  // namespace pepnet

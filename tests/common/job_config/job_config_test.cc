#include "common/job_config/shape_description.h"
#include "common/job_config/sparse_optimizer.h"
#include "common/job_config/table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/common/config/config_text.h"

namespace pepnet {
namespace {

using ::testing::HasSubstr;

TEST(JobConfigTest, StateFloatsPerRow) {
  EXPECT_EQ(SparseStateDim(SparseOptimizerKind::kSgd, 16), 0);
  EXPECT_EQ(SparseStateDim(SparseOptimizerKind::kAdagrad, 16), 16);
  EXPECT_EQ(SparseStateDim(SparseOptimizerKind::kRowwiseAdagrad, 16), 1);
  EXPECT_EQ(SparseStateDim(SparseOptimizerKind::kAdam, 16), 32);
  EXPECT_EQ(SparseStateDim(SparseOptimizerKind::kPartialRowwiseAdam, 16), 17);
}

TEST(JobConfigTest, TableNamesInCheckpoints) {
  const std::string pooled =
      "model.embedding_group.emb_impls.__BASE__.ebc.embedding_bags.user_id_emb.weight";
  Table table;
  table.name = "user_id_emb";
  EXPECT_EQ(TableParameterName(table), pooled);
  EXPECT_EQ(TableOfParameter(pooled), "user_id_emb");
  const std::string sequence =
      "model.embedding_group.seq_emb_impls.__BASE__.ec_dict.16.embeddings.item_emb.weight";
  table.name = SequenceTableName("item_emb", 16);
  table.dim = 16;
  table.sequence = true;
  EXPECT_EQ(TableParameterName(table), sequence);
  EXPECT_EQ(TableOfParameter(sequence), table.name);
  EXPECT_EQ(TableOfParameter("model.epnet.gate_nu.weight"), std::nullopt);
}

std::string DifferenceAfter(const std::string& from, const std::string& to) {
  const auto ours = Parse(kSmallConfig);
  const auto theirs = Parse(Changed(from, to));
  EXPECT_TRUE(ours.ok() && theirs.ok()) << ours.status() << theirs.status();
  return FirstDifference(ShapeDescription(*ours), ShapeDescription(*theirs));
}

TEST(ShapeDescriptionTest, RatesPathsAndLengthMayChange) {
  EXPECT_EQ(DifferenceAfter("lr: 0.001", "lr: 0.1"), "");
  EXPECT_EQ(DifferenceAfter("num_steps: 5", "num_epochs: 3"), "");
  EXPECT_EQ(DifferenceAfter("batch_size: 8", "batch_size: 9"), "");
  EXPECT_EQ(DifferenceAfter("model_dir: \"m\"", "model_dir: \"n\""), "");
  EXPECT_EQ(DifferenceAfter("CsvDataset with_header: true", "ParquetDataset"), "");
  EXPECT_EQ(DifferenceAfter("[6, 3]", "[6, 3] ppnet_dropout_ratio: 0.5"), "");
}

TEST(ShapeDescriptionTest, WhatFixesShapesAndMeaningMayNot) {
  EXPECT_EQ(DifferenceAfter("num_buckets: 10", "num_buckets: 11"),
            "the config has \"table \"user_emb\": rows 10, width 4, init default\", the checkpoint "
            "has \"table "
            "\"user_emb\": rows 11, width 4, init default\"");
  EXPECT_THAT(DifferenceAfter("hash_bucket_size", "num_buckets"), HasSubstr("hash"));
  EXPECT_THAT(DifferenceAfter("embedding_dim: 4", "embedding_dim: 5"), HasSubstr("width 5"));
  EXPECT_THAT(DifferenceAfter("embedding_dim: 4", "embedding_dim: 4 pooling: 'mean'"),
              HasSubstr("mean"));
  EXPECT_THAT(DifferenceAfter("[\"user\", \"item\"", "[\"item\", \"user\""),
              HasSubstr("group all"));
  EXPECT_THAT(DifferenceAfter("[6, 3]", "[6, 4]"), HasSubstr("ppnet"));
  EXPECT_THAT(DifferenceAfter("[6, 3]", "[6, 3] ppnet_activation: 'nn.Tanh'"), HasSubstr("tanh"));
  EXPECT_THAT(DifferenceAfter("hidden_units: 5", "hidden_units: 5 use_ln: true"),
              HasSubstr("layer norm"));
  EXPECT_THAT(DifferenceAfter("adagrad_optimizer", "sgd_optimizer"), HasSubstr("sparse optimizer"));
  EXPECT_THAT(DifferenceAfter("adam_optimizer", "adamw_optimizer"), HasSubstr("dense optimizer"));
  EXPECT_THAT(DifferenceAfter("pepnet {", "pepnet { domain_input_name: 'dom' task_domain_num: 2"),
              HasSubstr("towers per task"));
  EXPECT_THAT(
      DifferenceAfter("item:price\"", "item:price\" normalizer: 'method=minmax,min=0,max=2'"),
      HasSubstr("normalizer"));
}

TEST(ShapeDescriptionTest, ALineOnOneSideOnlyIsADifference) {
  EXPECT_EQ(FirstDifference("a: 1\nb: 2\n", "a: 1\n"),
            "the config has \"b: 2\", the checkpoint has no such line");
  EXPECT_EQ(FirstDifference("a: 1\n", "a: 1\nb: 2\n"),
            "the checkpoint has \"b: 2\", the config has no such line");
  EXPECT_NE(FirstDifference("a: 1\nb: 2\n", "b: 2\na: 1\n"), "");
  EXPECT_EQ(FirstDifference("", ""), "");
}

}  // namespace
}  // namespace pepnet

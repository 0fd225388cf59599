// Sequence features, sequence groups and encoders of a config: what they become, and what is
// refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/job_config/shape_description.h"
#include "tests/common/config/config_text.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kConfig[] = R"(
train_input_path: "train.csv"
model_dir: "model"
train_config {
  sparse_optimizer { sgd_optimizer { lr: 0.1 } constant_learning_rate {} }
  dense_optimizer { sgd_optimizer { lr: 0.1 } constant_learning_rate {} }
  num_steps: 5
}
data_config { batch_size: 4 fg_mode: FG_DAG label_fields: "clk" }
feature_configs { id_feature { feature_name: "uid" expression: "user:uid" num_buckets: 9 embedding_dim: 4 } }
feature_configs { id_feature { feature_name: "iid" expression: "item:iid" num_buckets: 7 embedding_dim: 4 embedding_name: "item_emb" } }
feature_configs {
  sequence_feature {
    sequence_name: "click"
    sequence_length: 5
    sequence_delim: "#"
    features { id_feature { feature_name: "iid" expression: "item:iid" num_buckets: 7 embedding_dim: 4 embedding_name: "item_emb" } }
    features { raw_feature { feature_name: "ts" expression: "user:time" value_dim: 2 } }
  }
}
feature_configs { sequence_id_feature { feature_name: "tags" expression: "user:tags" hash_bucket_size: 6 embedding_dim: 3 value_dim: 0 } }
model_config {
  feature_groups {
    group_name: "all"
    feature_names: ["uid", "iid", "tags"]
    sequence_groups { group_name: "clicks" feature_names: ["click__iid", "iid", "click__ts"] }
    sequence_groups { group_name: "tags" feature_names: ["tags"] }
    sequence_encoders { din_encoder { input: "clicks" attn_mlp { hidden_units: [8, 4] } max_seq_length: 3 } }
    sequence_encoders { pooling_encoder { input: "tags" pooling_type: "sum" } }
  }
  pepnet {
    task_towers { tower_name: "ctr" label_name: "clk" losses { binary_cross_entropy {} } }
  }
}
)";

// As the reference names them with USE_RTP=1, which no config says.
TEST(SequenceConfigTest, SequencesMayBeNamedWithOneUnderscore) {
  const std::string named = "[\"click__iid\", \"iid\", \"click__ts\"]",
                    rtp = "[\"click_iid\", \"iid\", \"click_ts\"]";
  const std::string with_operator =
      Changed("features { raw_feature",
              "features { lookup_feature { feature_name: 'found' map: 'user:kv' key: 'item:key' "
              "sequence_fields: 'key' } } features { raw_feature",
              kConfig);
  ASSERT_OK_AND_ASSIGN(const JobConfig job, Parse(Changed(named, rtp, with_operator)));
  ASSERT_EQ(job.features.size(), 6u);
  EXPECT_EQ(job.features[2].name, "click_iid");
  EXPECT_EQ(job.features[2].column, "click_iid");
  EXPECT_EQ(job.features[4].column, "click_time");
  EXPECT_THAT(ColumnsOf(job.features[3]), ElementsAre("kv", "click_key"));
  EXPECT_THAT(AllNotes(job), HasSubstr("USE_RTP=1"));
  EXPECT_THAT(AllNotes(*Parse(kConfig)), testing::Not(HasSubstr("USE_RTP=1")));
  // The effective config means the same.
  EXPECT_EQ(FirstDifference(ShapeDescription(*Parse(job.effective_text)), ShapeDescription(job)),
            "");
  // If one usual name is listed, or the other one is a feature's own, nothing else is meant.
  EXPECT_THAT(ErrorOf(Changed(named, "[\"click__iid\", \"iid\", \"click_ts\"]", kConfig)),
              HasSubstr("no feature is named \"click_ts\" (did you mean \"click__ts\"?)"));
  std::string own = Changed("feature_name: \"tags\"", "feature_name: \"click_ts\"", kConfig);
  own = Changed(named, "[\"click_ts\", \"iid\"]",
                Changed("embedding_dim: 3", "embedding_dim: 4", own));
  own = Changed("feature_names: [\"tags\"]", "feature_names: [\"click_ts\"]", own);
  own = Changed("\"tags\"]\n    sequence_groups", "\"click_ts\"]\n    sequence_groups", own);
  ASSERT_OK_AND_ASSIGN(const JobConfig usual, Parse(own));
  EXPECT_EQ(usual.features[2].name, "click__iid");
}

// Features of a sequence that the model does not use are left out by these names, too.
TEST(SequenceConfigTest, UnusedFeaturesOfASequenceWithOneUnderscoreAreLeftOut) {
  const std::string named = "[\"click__iid\", \"iid\", \"click__ts\"]";
  const std::string unused = Changed("features { raw_feature",
                                     "features { tokenize_feature { feature_name: 'text' } } "
                                     "features { raw_feature",
                                     kConfig);
  ASSERT_OK_AND_ASSIGN(const JobConfig job,
                       Parse(Changed(named, "[\"click_iid\", \"iid\", \"click_ts\"]", unused)));
  EXPECT_EQ(job.features.size(), 5u);
  EXPECT_THAT(AllNotes(job), HasSubstr("the model does not use click_text, so it is left out"));
}

TEST(SequenceConfigTest, GroupsReadDenseEmbeddingsAndSequenceGroupsDoNot) {
  const std::string price =
      "feature_configs { raw_feature { feature_name: 'price' expression: 'item:price' "
      "embedding_dim: 3 "
      "mlp {} } }\nmodel_config {";
  std::string text = Changed("model_config {", price, kConfig);
  text =
      Changed("\"tags\"]\n    sequence_groups", "\"tags\", \"price\"]\n    sequence_groups", text);
  ASSERT_OK_AND_ASSIGN(const JobConfig job, Parse(text));
  ASSERT_EQ(job.model.embeddings.size(), 1u);
  const DenseEmbedding& embedding = job.model.embeddings[0];
  EXPECT_EQ(job.leaves[embedding.leaf].embedding, 0);
  EXPECT_EQ(
      embedding.projection,
      "model.embedding_group.emb_impls.__BASE__.dense_ec.dense_embs.mlp#3.proj_w_price.weight");
  ASSERT_OK_AND_ASSIGN(const JobConfig plain, Parse(kConfig));
  EXPECT_EQ(job.model.main.width, plain.model.main.width + 3);
  // DIN reads its query; what it would be of such a feature is not defined.
  EXPECT_THAT(ErrorOf(Changed("\"click__iid\", \"iid\", \"click__ts\"",
                              "\"click__iid\", \"price\", \"click__ts\"", text)),
              HasSubstr("the query of the sequence group \"clicks\" holds price, which has mlp"));
  const std::string ts = "value_dim: 2 mlp {}";  // no embedding_dim, which is not read
  ASSERT_OK_AND_ASSIGN(const JobConfig sequence, Parse(Changed("value_dim: 2", ts, kConfig)));
  EXPECT_TRUE(sequence.model.embeddings.empty());
  EXPECT_THAT(AllNotes(sequence),
              HasSubstr("raw_feature.mlp: without effect: a sequence of numbers is read as it is"));
}

TEST(SequenceConfigTest, FeaturesLeavesGroupsAndEncoders) {
  ASSERT_OK_AND_ASSIGN(const JobConfig job, Parse(kConfig));
  ASSERT_EQ(job.features.size(), 5u);
  const Feature& clicked = job.features[2];
  EXPECT_EQ(clicked.name, "click__iid");
  EXPECT_EQ(clicked.column, "click__iid");
  EXPECT_EQ(clicked.value_dim, 1);
  EXPECT_EQ(clicked.default_value, "0");
  ASSERT_TRUE(clicked.sequence.has_value());
  EXPECT_EQ(clicked.sequence->delimiter, "#");
  EXPECT_EQ(clicked.sequence->max_elements, 5);
  EXPECT_TRUE(clicked.sequence->fills_empty);
  EXPECT_EQ(job.features[3].column, "click__time");
  EXPECT_EQ(job.features[3].dim, 2);
  EXPECT_EQ(job.features[4].value_dim, 0);
  EXPECT_EQ(job.features[4].sequence->delimiter, ";");

  // uid, iid pooled, iid as a query, the three sequences, and tags pooled whole.
  std::vector<std::string> leaves;
  for (const Leaf& leaf : job.leaves) {
    leaves.push_back(absl::StrCat(job.features[leaf.feature].name, " ",
                                  leaf.table < 0 ? "values" : job.tables[leaf.table].name,
                                  leaf.sequence ? " by element" : ""));
  }
  EXPECT_THAT(leaves, ElementsAre("uid uid_emb", "iid item_emb", "iid sequence.4.item_emb",
                                  "click__iid sequence.4.item_emb by element",
                                  "click__ts values by element", "tags tags_emb",
                                  "tags sequence.3.tags_emb by element"));
  const Model& model = job.model;
  EXPECT_THAT(model.main.leaves, ElementsAre(0, 1, 5));
  EXPECT_THAT(model.main.encoders, ElementsAre(0, 1));
  EXPECT_EQ(model.main.width, 4 + 4 + 3 + 6 + 3);
  EXPECT_THAT(model.sequence_groups[0].query, ElementsAre(2));
  EXPECT_THAT(model.sequence_groups[0].sequence, ElementsAre(3, 4));
  EXPECT_EQ(model.sequence_groups[0].width, 6);
  EXPECT_EQ(model.encoders[0].kind, EncoderKind::kDin);
  EXPECT_EQ(model.encoders[0].max_length, 3);
  EXPECT_EQ(model.encoders[0].module, "model.embedding_group._group_name_to_seq_encoders.all.0");
  EXPECT_EQ(model.encoders[1].sequence_group, 1);
  EXPECT_FALSE(model.encoders[1].mean);
}

TEST(SequenceConfigTest, FinishedCellsAreReadWhole) {
  ASSERT_OK_AND_ASSIGN(const JobConfig job, Parse(Changed("FG_DAG", "FG_NONE", kConfig)));
  EXPECT_EQ(job.features[3].column, "click__ts");
  EXPECT_EQ(job.features[2].default_value, std::nullopt);
  EXPECT_EQ(job.features[2].sequence->max_elements, 0);
  EXPECT_FALSE(job.features[2].sequence->fills_empty);
}

TEST(SequenceConfigTest, TheShapeNamesWhatACheckpointMustAgreeOn) {
  ASSERT_OK_AND_ASSIGN(const JobConfig job, Parse(kConfig));
  const std::string shape = ShapeDescription(job);
  EXPECT_THAT(shape,
              HasSubstr("encoder 0: din of \"clicks\", at most 3 positions, mlp [8, 4] relu"));
  EXPECT_THAT(
      shape,
      HasSubstr("sequence group \"clicks\": query \"iid\", sequence \"click__iid\" \"click__ts\""));
  EXPECT_THAT(shape, HasSubstr("table \"item_emb\" and \"sequence.4.item_emb\""));
  ASSERT_OK_AND_ASSIGN(const JobConfig other,
                       Parse(Changed("max_seq_length: 3", "max_seq_length: 4", kConfig)));
  EXPECT_THAT(FirstDifference(shape, ShapeDescription(other)), HasSubstr("encoder 0"));
}

TEST(SequenceConfigTest, SuffixedGroupsHaveTablesOfTheirOwn) {
  ASSERT_OK_AND_ASSIGN(const JobConfig job,
                       Parse(Changed("group_name: \"all\"",
                                     "group_name: \"all\" embedding_name_suffix: \"x\"", kConfig)));
  std::vector<std::string> names;
  for (const Table& table : job.tables) names.push_back(table.name);
  EXPECT_THAT(names, ElementsAre("uid_emb_x", "item_emb_x", "sequence.4.item_emb_x", "tags_emb_x",
                                 "sequence.3.tags_emb_x"));
}

TEST(SequenceConfigTest, WhatIsRefusedSaysWhatToDo) {
  const struct {
    const char* from;
    const char* to;
    const char* error;
  } cases[] = {
      {"sequence_length: 5", "",
       "sequence_length: is missing; expected the largest number of elements"},
      {"sequence_delim: \"#\"", "sequence_delim: \"\"",
       "sequence_delim: is empty; expected the text between two"},
      {"sequence_delim: \"#\"", "sequence_delim: \"\\x1d\"", "is the sequence_delim as well"},
      {"sequence_name: \"click\"", "", "sequence_name: is missing"},
      {"expression: \"user:uid\"", "expression: \"user:uid\" sequence_length: 3",
       "sequence_length: only applies to sequences; remove it, or make the feature a "
       "sequence_id_feature"},
      {"\"iid\", \"tags\"]", "\"iid\", \"tags\", \"click__ts\"]",
       "\"click__ts\" is a sequence of numbers, which only a sequence group can read"},
      {"input: \"tags\"", "input: \"clicks\"", "no encoder reads the sequence group \"tags\""},
      {"input: \"tags\"", "input: \"tag\"", "no sequence group of group \"all\" is named \"tag\""},
      {"input: \"tags\"", "",
       "input: is missing; expected one of the group's sequence groups clicks or tags"},
      {"\"click__iid\", \"iid\", \"click__ts\"", "\"click__iid\"",
       "has no query; list a feature in it that is no seq"},
      {"\"click__iid\", \"iid\", \"click__ts\"", "\"iid\", \"uid\", \"click__iid\"",
       "is 8 wide, its positions 4; expected a query that is no wider"},
      {"\"click__iid\", \"iid\", \"click__ts\"", "\"iid\"",
       "holds no sequence; expected at least one"},
      {"group_name: \"tags\"", "group_name: \"clicks\"", "\"clicks\" names two sequence groups"},
      {"attn_mlp { hidden_units: [8, 4] }", "", "attn_mlp: is missing"},
      {"max_seq_length: 3", "max_seq_length: -1", "max_seq_length: -1; expected 0 (all positions)"},
      {"pooling_type: \"sum\"", "pooling_type: \"max\"",
       "pooling_type: \"max\"; expected sum or mean"},
      {"pooling_encoder { input: \"tags\" pooling_type: \"sum\" }",
       "self_attention_encoder { input: \"tags\" multihead_attn_dim: 6 num_heads: 4 }",
       "num_heads: 4; expected a divisor of multihead_attn_dim 6"},
      {"pooling_encoder { input: \"tags\" pooling_type: \"sum\" }", "",
       "sequence_encoders[1]: is empty"},
      {"value_dim: 0", "value_dim: 0 weighted: true",
       "weighted: true; a sequence cannot be weighted"},
  };
  for (const auto& one : cases) {
    EXPECT_THAT(ErrorOf(Changed(one.from, one.to, kConfig)), HasSubstr(one.error)) << one.to;
  }
}

TEST(SequenceConfigTest, EncodersNeedGroupsAndGroupsEncoders) {
  const std::string groups =
      R"(    sequence_groups { group_name: "clicks" feature_names: ["click__iid", "iid", "click__ts"] }
    sequence_groups { group_name: "tags" feature_names: ["tags"] }
)";
  EXPECT_THAT(ErrorOf(Changed(groups, "", kConfig)), HasSubstr("stand without sequence_groups"));
  const std::string encoders =
      R"(    sequence_encoders { din_encoder { input: "clicks" attn_mlp { hidden_units: [8, 4] } max_seq_length: 3 } }
    sequence_encoders { pooling_encoder { input: "tags" pooling_type: "sum" } }
)";
  EXPECT_THAT(ErrorOf(Changed(encoders, "", kConfig)),
              HasSubstr("stand without sequence_encoders"));
}

}  // namespace
}  // namespace pepnet

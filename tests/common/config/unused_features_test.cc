#include "common/config/unused_features.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/job_config/shape_description.h"
#include "tests/common/config/config_text.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// kSmallConfig with a feature in front of the price, whose line is 14.
std::string With(const std::string& feature) {
  return Changed("feature_configs { raw_feature",
                 "feature_configs { " + feature + " }\nfeature_configs { raw_feature");
}

// Of a kind that is computed here only for some tokenizers.
constexpr char kRefused[] =
    "{ feature_name: 'x' expression: 'user:x' embedding_dim: 4 tokenizer_type: 'sentencepiece' }";

TEST(UnusedFeaturesTest, MayBeOfAnyKind) {
  for (const std::string kind : {"tokenize_feature", "sequence_tokenize_feature"}) {
    ASSERT_OK_AND_ASSIGN(const auto job, Parse(With(kind + " " + kRefused)));
    EXPECT_THAT(AllNotes(job),
                StartsWith("job.config:14: feature_configs[2]." + kind + ".tokenizer_type: "));
    EXPECT_THAT(AllNotes(job), HasSubstr("; the model does not use x, so it is left out\n"));
    EXPECT_EQ(FirstDifference(ShapeDescription(job), ShapeDescription(*Parse(kSmallConfig))), "");
    EXPECT_THAT(job.effective_text, Not(HasSubstr(kind)));
  }
}

TEST(UnusedFeaturesTest, MayLackOrHoldWhatAUsedOneMayNot) {
  const std::pair<const char*, const char*> cases[] = {
      {"num_buckets: 5", "embedding_dim: is missing"},
      {"num_buckets: 5 embedding_dim: 4 use_mask: true", "use_mask: true is not supported"},
      {"num_buckets: 5 embedding_dim: 4 zch { zch_size: 3 }", "zch: num_buckets is set as well"},
      {"num_buckets: 5 embedding_dim: 4 init_fn: 'xavier'", "init_fn: unknown initialiser"},
      {"vocab_file: 'no/file' embedding_dim: 4 default_bucketize_value: 0", "no/file"},
  };
  for (const auto& [fields, fault] : cases) {
    ASSERT_OK_AND_ASSIGN(
        const auto job,
        Parse(With(std::string("id_feature { feature_name: 'x' expression: 'user:x' ") + fields +
                   " }")));
    EXPECT_EQ(job.features.size(), 3u) << fields;
    EXPECT_EQ(job.notes.size(), 1u) << AllNotes(job);
    EXPECT_THAT(AllNotes(job), StartsWith("job.config:14: feature_configs[2].id_feature"))
        << fields;
    EXPECT_THAT(AllNotes(job), HasSubstr(fault));
    EXPECT_THAT(AllNotes(job), HasSubstr("the model does not use x, so it is left out"));
  }
}

TEST(UnusedFeaturesTest, KeepTheirPlaceInWhatIsSaidOfOthers) {
  EXPECT_THAT(ErrorOf(Changed("item:price\"", "item:price\" value_dim: 0",
                              With("match_feature { feature_name: 'x' }"))),
              StartsWith("job.config:15: feature_configs[3].raw_feature.value_dim: 0"));
}

TEST(UnusedFeaturesTest, AFeatureThatTheModelNamesIsRefused) {
  const std::string refusal =
      "job.config:14: feature_configs[2].tokenize_feature.tokenizer_type: \"sentencepiece\"";
  const std::string text = With(absl::StrCat("tokenize_feature ", kRefused));
  EXPECT_THAT(ErrorOf(Changed("\"item\", \"price\"", "\"item\", \"price\", \"x\"", text)),
              StartsWith(refusal));
  EXPECT_THAT(ErrorOf(Changed("auc {}", "grouped_auc { grouping_key: 'x' }", text)),
              StartsWith(refusal));
  EXPECT_THAT(ErrorOf(text + "eval_config { slice_by: 'x' }"), StartsWith(refusal));
}

TEST(UnusedFeaturesTest, ASequenceIsUsedByTheNamesOfItsFeatures) {
  const std::string text = With(
      "sequence_feature { sequence_name: 'seq', features { tokenize_feature { feature_name: 'a' "
      "use_mask: true } } }");
  ASSERT_OK_AND_ASSIGN(const auto job, Parse(text));
  EXPECT_THAT(AllNotes(job), HasSubstr("the model does not use seq, so it is left out"));
  for (const char* name : {"\"seq\"", "\"seq__a\""}) {
    EXPECT_THAT(
        ErrorOf(Changed("\"price\"]", std::string("\"price\", ") + name + "]", text)),
        StartsWith(
            "job.config:14: "
            "feature_configs[2].sequence_feature.features[0].tokenize_feature.use_mask: true"))
        << name;
  }
  EXPECT_THAT(ErrorOf(Changed("\"price\"]", "\"price\", \"sequel\"]", text)),
              HasSubstr("no feature is named \"sequel\""));
}

// Of a sequence that is used, what the model does not name goes alone.
TEST(UnusedFeaturesTest, OfASequenceEachFeatureIsUsedOrNot) {
  std::string text = With(
      "sequence_feature { sequence_name: 'seq' sequence_length: 9 features { id_feature { "
      "feature_name: 'a' "
      "expression: 'user:a' num_buckets: 4 embedding_dim: 4 } } features { tokenize_feature { "
      "feature_name: 'b' } } }");
  text = Changed("\"price\"]", "\"price\", \"seq__a\"]", text);
  ASSERT_OK_AND_ASSIGN(const auto job, Parse(text));
  EXPECT_THAT(AllNotes(job), HasSubstr("the model does not use seq__b, so it is left out"));
  EXPECT_EQ(job.features.size(), 4u);
}

// Nobody knows what it uses.
TEST(UnusedFeaturesTest, NothingIsLeftOutWhereTheModelCannotBeRead) {
  std::vector<std::string> all;
  const auto job = ParseJobConfig(Changed("feature_names: \"user\" group_type: DEEP",
                                          "feature_names: \"user\" sequence_groups { zzz: 'x' }",
                                          With("sequence_id_feature { feature_name: 'x' }")),
                                  "job.config", {}, &all);
  EXPECT_FALSE(job.ok());
  ASSERT_FALSE(all.empty());
  EXPECT_THAT(all[0], HasSubstr("unknown field \"zzz\" in SeqGroupConfig"));
}

TEST(UnusedFeaturesTest, AFeatureWithoutANameIsRefused) {
  EXPECT_THAT(ErrorOf(With("combine_feature { expression: 'user:a' }")),
              HasSubstr("feature_name: is missing"));
  EXPECT_THAT(ErrorOf(With("id_feature { num_buckets: 4 embedding_dim: 4 }")),
              HasSubstr("feature_name: is missing"));
}

}  // namespace
}  // namespace pepnet

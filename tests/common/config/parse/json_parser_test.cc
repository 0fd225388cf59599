// Pipeline configs in JSON (common/config/parse/json_parser.h), through ParseJobConfig.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/job_config/shape_description.h"
#include "tests/common/config/config_text.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// kSmallConfig, its names in both spellings, its numbers in all that protobuf reads.
constexpr char kJson[] = R"({
  "trainInputPath": "a.csv", "eval_input_path": "b.csv", "model_dir": "m",
  "trainConfig": {
    "sparseOptimizer": {"adagradOptimizer": {"lr": 0.001}, "constantLearningRate": {}},
    "dense_optimizer": {"adam_optimizer": {"lr": "0.002"}, "constant_learning_rate": {}},
    "numSteps": 5
  },
  "dataConfig": {"batchSize": 8, "datasetType": "CsvDataset", "withHeader": true, "fgMode": "FG_DAG",
                 "labelFields": ["clk", "buy", "dom"], "sampleWeightFields": ["sw"], "evalBatchSize": null},
  "featureConfigs": [
    {"idFeature": {"featureName": "user", "expression": "user:user", "numBuckets": "10", "embeddingDim": 4}},
    {"idFeature": {"featureName": "item", "expression": "item:item", "hashBucketSize": "20", "embeddingDim": 4}},
    {"rawFeature": {"featureName": "price", "expression": "item:price"}}
  ],
  "modelConfig": {
    "featureGroups": [
      {"groupName": "all", "featureNames": ["user", "item", "price"], "groupType": "DEEP"},
      {"groupName": "uia", "featureNames": ["user"], "groupType": 0}
    ],
    "pepnet": {
      "ppnetHiddenUnits": [6, 3],
      "taskTowers": [
        {"towerName": "ctr", "labelName": "clk", "losses": [{"binaryCrossEntropy": {}}], "metrics": [{"auc": {}}]},
        {"towerName": "cvr", "labelName": "buy", "mlp": {"hiddenUnits": [5]}, "losses": [{"binary_cross_entropy": {}}]}
      ]
    }
  }
})";

StatusOr<JobConfig> ParseJsonText(const std::string& text, const ConfigOverrides& overrides = {}) {
  return ParseJobConfig(text, "job.json", overrides);
}

std::string JsonError(const std::string& from, const std::string& to) {
  const auto job = ParseJsonText(Changed(from, to, kJson));
  return job.ok() ? "OK" : std::string(job.status().message());
}

TEST(JsonParserTest, IsTheSameConfigAsTheText) {
  ASSERT_OK_AND_ASSIGN(const auto job, ParseJsonText(kJson));
  EXPECT_EQ(job.effective_text, Parse(kSmallConfig)->effective_text);
  EXPECT_EQ(AllNotes(job), "");
}

TEST(JsonParserTest, VocabulariesAreObjectsOfWordsAndRows) {
  ASSERT_OK_AND_ASSIGN(const auto job, ParseJsonText(Changed(
                                           "\"numBuckets\": \"10\"",
                                           R"("vocabDict": {"a": "2", "key": 3, "b": 4})", kJson)));
  EXPECT_EQ(job.features[0].vocabulary,
            (std::map<std::string, int64_t>{{"a", 2}, {"key", 3}, {"b", 4}}));
}

TEST(JsonParserTest, FaultsNameTheFileAndTheField) {
  EXPECT_EQ(
      JsonError("numSteps", "numStep"),
      "job.json: train_config: TrainConfig has no field \"numStep\" (did you mean \"num_steps\"?)");
  EXPECT_EQ(
      JsonError("\"numSteps\": 5", "\"numSteps\": \"five\""),
      "job.json: train_config: num_steps: value \"five\" does not fit num_steps of type uint32");
  EXPECT_EQ(JsonError("\"numSteps\": 5", "\"numSteps\": 5, \"numSteps\": 6"),
            "job.json: \"numSteps\" is given twice");
  EXPECT_THAT(JsonError("\"withHeader\": true", "\"withHeader\": \"yes\""),
              HasSubstr("value \"yes\" does not fit with_header of type bool"));
  EXPECT_THAT(JsonError("\"FG_DAG\"", "\"FG_DUG\""),
              HasSubstr("value \"FG_DUG\" is not one of FgMode"));
  EXPECT_EQ(JsonError("\"batchSize\": 8", "\"batchSize\": 0"),
            "job.json: data_config.batch_size: 0; expected at least 1 row");
  EXPECT_EQ(
      JsonError("\"numSteps\": 5",
                "\"numSteps\": 5, \"delta_embedding_dump_config\": {\"size\": 3, \"by\": {}}"),
      "job.json: train_config.delta_embedding_dump_config: is not supported; remove it");
  EXPECT_THAT(JsonError("{\n", "[\n"), StartsWith("job.json: expected a JSON object such as "));
  EXPECT_THAT(JsonError("}\n  }\n}", ""), StartsWith("job.json: expected a JSON object such as "));
}

TEST(JsonParserTest, UnusedFeaturesOfOtherKindsAreLeftOut) {
  ASSERT_OK_AND_ASSIGN(
      const auto job,
      ParseJsonText(Changed(
          "{\"rawFeature\"",
          "{\"tokenizeFeature\": {\"featureName\": \"x\", \"useMask\": true}}, {\"rawFeature\"",
          kJson)));
  EXPECT_THAT(
      AllNotes(job),
      StartsWith("job.json: feature_configs[2].tokenize_feature.use_mask: true is not supported"));
  EXPECT_EQ(job.features.size(), 3u);
}

TEST(JsonParserTest, CanBeEditedAndReadWithFieldsOfAnotherVersion) {
  ConfigOverrides overrides;
  overrides.edit_config_json = R"({"train_config.num_steps": 7})";
  overrides.ignore_unknown_fields = true;
  ASSERT_OK_AND_ASSIGN(
      const auto job,
      ParseJsonText(Changed("\"numSteps\"", "\"later\": 1, \"numSteps\"", kJson), overrides));
  EXPECT_EQ(job.train.num_steps, 7);
  EXPECT_THAT(AllNotes(job),
              HasSubstr("job.json: unknown field \"later\" of TrainConfig is ignored"));
}

TEST(JsonParserTest, TheNameOfTheFileTellsTheFormat) {
  EXPECT_THAT(
      ErrorOf(kJson),
      StartsWith("job.config:1: the file begins with \"{\", as JSON does; the name of a pipeline "
                 "config in JSON ends in .json"));
}

}  // namespace
}  // namespace pepnet

// --edit_config_json (common/config/parse/edit_config.h), through ParseJobConfig.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/common/config/config_text.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

StatusOr<JobConfig> Edited(const std::string& json) {
  ConfigOverrides overrides;
  overrides.edit_config_json = json;
  return Parse(kSmallConfig, overrides);
}

JobConfig Good(const std::string& json) {
  auto job = Edited(json);
  EXPECT_OK(job);
  return job.ok() ? *std::move(job) : JobConfig();
}

std::string Bad(const std::string& json) {
  const auto job = Edited(json);
  return job.ok() ? "OK" : std::string(job.status().message());
}

TEST(EditConfigTest, SetsScalarsOfEveryType) {
  const JobConfig job =
      Good(R"({"train_config.num_steps": 10, "data_config.shuffle": true, "model_dir": "elsewhere",
      "train_config.dense_optimizer.adam_optimizer.lr": 0.5, "data_config.dataset_type": "ParquetDataset",
      "feature_configs[0].id_feature.num_buckets": 50000000000})");
  EXPECT_EQ(job.train.num_steps, 10);
  EXPECT_TRUE(job.data.shuffle);
  EXPECT_EQ(job.model_dir, "elsewhere");
  EXPECT_EQ(job.train.dense_optimizer.lr, 0.5);
  EXPECT_EQ(job.data.dataset_type, DatasetType::kParquet);
  EXPECT_EQ(job.tables[0].rows, 50000000000);
  EXPECT_THAT(AllNotes(job), HasSubstr("--edit_config_json: train_config.num_steps: set to 10"));
}

TEST(EditConfigTest, SelectsElements) {
  EXPECT_EQ(Good(R"({"feature_configs[0:2].id_feature.embedding_dim": 6})").model.main.width, 13);
  EXPECT_EQ(Good(R"({"feature_configs[:2].id_feature.embedding_dim": 6})").model.main.width, 13);
  EXPECT_EQ(Good(R"({"feature_configs[-2:-1].id_feature.embedding_dim": 6})").model.main.width, 11);
  EXPECT_EQ(Good(R"({"feature_configs[-1].raw_feature.value_dim": 3})").model.main.width, 11);
  EXPECT_EQ(Good(R"({"feature_configs[id_feature.feature_name=item].id_feature.embedding_dim": 6})")
                .model.main.width,
            11);
  EXPECT_EQ(Good(R"({"feature_configs[id_feature.embedding_dim=4].id_feature.embedding_dim": 6})")
                .model.main.width,
            13);
  const JobConfig job = Good(R"({"model_config.pepnet.task_towers[:].weight": 0.5,
      "model_config.pepnet.task_towers[tower_name='cvr'].weight": 0.25, "model_config.pepnet.ppnet_hidden_units[1]": 9})");
  EXPECT_EQ(job.model.towers[0].weight, 0.5);
  EXPECT_EQ(job.model.towers[1].weight, 0.25);
  EXPECT_THAT(job.model.ppnet_hidden_units, ElementsAre(6, 9));
}

TEST(EditConfigTest, ListsObjectsAndNullReplaceTheWholeField) {
  const JobConfig job =
      Good(R"({"model_config.pepnet.ppnet_hidden_units": [7, 5, 2], "train_config.num_steps": null,
      "train_config.num_epochs": 2, "train_config.sparse_optimizer": {"sgd_optimizer": {"lr": 0.25}},
      "feature_configs[1].id_feature.hash_bucket_size": null, "feature_configs[1].id_feature.vocab_list": ["a", "b"]})");
  EXPECT_THAT(job.model.ppnet_hidden_units, ElementsAre(7, 5, 2));
  EXPECT_EQ(job.train.num_epochs, 2);
  EXPECT_EQ(job.train.sparse_optimizer.kind, SparseOptimizerKind::kSgd);
  EXPECT_EQ(job.train.sparse_optimizer.lr, 0.25);
  EXPECT_EQ(job.tables[1].rows, 4);
  const JobConfig towers = Good(R"({"model_config.pepnet.task_towers": [
      {"tower_name": "t", "label_name": "dom", "losses": [{"l2_loss": {}}]}]})");
  ASSERT_EQ(towers.model.towers.size(), 1u);
  EXPECT_EQ(towers.model.towers[0].losses[0].name, "l2_loss_t");
}

TEST(EditConfigTest, AlsoEditsTheOlderDialect) {
  const JobConfig job = Good(
      R"({"model_config.pepnet.main_group_name": "all", "model_config.pepnet.uia_group_name": "uia"})");
  EXPECT_TRUE(job.model.uia.has_value());
}

TEST(EditConfigTest, NumbersSwitchesAndMessagesMayBeTexts) {
  const JobConfig job = Good(R"({"train_config.num_steps": "7", "data_config.shuffle": "True",
      "train_config.use_tensorboard": "false", "train_config.dense_optimizer.adam_optimizer.lr": " 5e-1 ",
      "data_config.dataset_type": "2", "model_config.pepnet.ppnet_hidden_units": "[7, 5]",
      "train_config.sparse_optimizer": "{sgd_optimizer {lr: 0.25}}"})");
  EXPECT_EQ(job.train.num_steps, 7);
  EXPECT_TRUE(job.data.shuffle);
  EXPECT_FALSE(job.train.use_tensorboard);
  EXPECT_EQ(job.train.dense_optimizer.lr, 0.5);
  EXPECT_EQ(job.data.dataset_type, DatasetType::kParquet);
  EXPECT_THAT(job.model.ppnet_hidden_units, ElementsAre(7, 5));
  EXPECT_EQ(job.train.sparse_optimizer.kind, SparseOptimizerKind::kSgd);
  EXPECT_EQ(job.train.sparse_optimizer.lr, 0.25);
}

TEST(EditConfigTest, OneEntrySetsSeveralFields) {
  const JobConfig job =
      Good(R"({"train_config.num_steps; data_config.batch_size ;model_dir": "7; 32;elsewhere"})");
  EXPECT_EQ(job.train.num_steps, 7);
  EXPECT_EQ(job.data.batch_size, 32);
  EXPECT_EQ(job.model_dir, "elsewhere");
  EXPECT_THAT(AllNotes(job),
              HasSubstr("--edit_config_json: data_config.batch_size: set to \"32\"\n"));
  // A single path takes its text whole.
  EXPECT_EQ(Good(R"({"data_config.fg_encoded_multival_sep": ";"})").data.fg_encoded_multival_sep,
            ";");
  EXPECT_EQ(Bad(R"({"train_config.num_steps;data_config.batch_size": "7"})"),
            "--edit_config_json: train_config.num_steps;data_config.batch_size: names 2 fields, "
            "but its value \"7\" does "
            "not; expected a text of 2 values with \";\" between them");
  EXPECT_THAT(Bad(R"({"train_config.num_steps;data_config.batch_size": 7})"),
              HasSubstr("names 2 fields"));
  EXPECT_THAT(Bad(R"({"train_config.num_steps;data_config.batch_siz": "7;8"})"),
              HasSubstr("data_config.batch_siz: DataConfig has no field \"batch_siz\""));
}

TEST(EditConfigTest, SelectorsCompareNumbers) {
  const auto widths = [](const std::string& selector) {
    return Good("{\"feature_configs[" + selector + "].id_feature.embedding_dim\": 6}")
        .model.main.width;
  };
  EXPECT_EQ(widths("id_feature.hash_bucket_size>=20"), 11);
  EXPECT_EQ(widths("id_feature.hash_bucket_size > 19"), 11);
  EXPECT_EQ(widths("id_feature.embedding_dim<=4"), 13);
  EXPECT_THAT(Bad(R"({"feature_configs[:].id_feature.embedding_dim": "many"})"),
              HasSubstr("does not fit"));
  EXPECT_THAT(Bad(R"({"feature_configs[id_feature.embedding_dim<4].id_feature.embedding_dim": 6})"),
              HasSubstr("no element of feature_configs has id_feature.embedding_dim<4"));
  EXPECT_THAT(Bad(R"({"feature_configs[id_feature.embedding_dim<x].id_feature.embedding_dim": 6})"),
              HasSubstr("\"x\" behind < is no number"));
  EXPECT_THAT(Bad(R"({"feature_configs[id_feature.feature_name>4].id_feature.embedding_dim": 6})"),
              HasSubstr("\"user\" is no number, which > needs"));
}

TEST(EditConfigTest, UnknownPathsAreNamed) {
  EXPECT_EQ(Bad(R"({"train_config.num_step": 1})"),
            "--edit_config_json: train_config.num_step: TrainConfig has no field \"num_step\" (did "
            "you mean "
            "\"num_steps\"?)");
  EXPECT_THAT(Bad(R"({"feature_configs.id_feature": 1})"), HasSubstr("is repeated"));
  EXPECT_THAT(Bad(R"({"feature_configs[7].id_feature.num_buckets": 1})"),
              HasSubstr("which has 3 elements"));
  EXPECT_THAT(Bad(R"({"feature_configs[x].id_feature.num_buckets": 1})"),
              HasSubstr("\"x\" is not an index"));
  EXPECT_THAT(Bad(R"({"feature_configs[id_feature.feature_name=no].id_feature": {}})"),
              HasSubstr("no element"));
  EXPECT_THAT(Bad(R"({"feature_configs[id_feature.nam=no].id_feature": {}})"),
              HasSubstr("has no field \"nam\""));
  EXPECT_THAT(Bad(R"({"train_config[0].num_steps": 1})"), HasSubstr("is not repeated"));
  EXPECT_THAT(Bad(R"({"model_dir.x": 1})"), HasSubstr("is a value, not a message"));
  for (const char* path :
       {"", ".", "a..b", "feature_configs[0", "feature_configs[0]x", "feature_configs[]"}) {
    EXPECT_THAT(Bad(std::string("{\"") + path + "\": 1}"), HasSubstr("--edit_config_json: "))
        << path;
  }
}

TEST(EditConfigTest, APathWithoutItsBeginningIsToldWhole) {
  EXPECT_EQ(
      Bad(R"({"num_epochs": 1})"),
      "--edit_config_json: num_epochs: EasyRecConfig has no field \"num_epochs\" (did you mean "
      "\"train_config.num_epochs\"?)");
  // Messages that the config has come first.
  EXPECT_EQ(Bad(R"({"lr": 1})"),
            "--edit_config_json: lr: EasyRecConfig has no field \"lr\" (did you mean "
            "\"train_config.sparse_optimizer.adagrad_optimizer.lr\" or "
            "\"train_config.dense_optimizer.adam_optimizer.lr\"?)");
  // At most three; of a list the first element that has the field, and no other kind of feature in
  // its place.
  EXPECT_THAT(Bad(R"({"raw_feature.value_dim": 2})"),
              HasSubstr("(did you mean \"feature_configs[2].raw_feature.value_dim\"?)"));
  EXPECT_THAT(Bad(R"({"task_towers[:].mlp.hidden_units[0]": 2})"),
              HasSubstr("(did you mean "
                        "\"model_config.pepnet.task_towers[:].mlp.hidden_units[0]\"?)"));
  const std::string many = Bad(R"({"embedding_dim": 2})");
  EXPECT_THAT(many, HasSubstr("\"feature_configs[0].id_feature.embedding_dim\""));
  EXPECT_THAT(many, HasSubstr("\"feature_configs[2].raw_feature.embedding_dim\""));
  EXPECT_LE(std::count(many.begin(), many.end(), '['), 3) << many;
  // The rest of the path must fit, and a near name of the first step is told as before.
  EXPECT_THAT(Bad(R"({"pepnet.nonsense": 2})"), Not(HasSubstr("did you mean")));
  EXPECT_THAT(Bad(R"({"train_confi.num_epochs": 2})"), HasSubstr("did you mean \"train_config\"?"));
}

TEST(EditConfigTest, ValuesMustFit) {
  EXPECT_EQ(Bad(R"({"train_config.num_steps": "ten"})"),
            "--edit_config_json: train_config.num_steps: value \"ten\" does not fit num_steps of "
            "type uint32");
  EXPECT_THAT(Bad(R"({"train_config.num_steps": -1})"), HasSubstr("does not fit"));
  EXPECT_THAT(Bad(R"({"train_config.num_steps": 1.5})"), HasSubstr("does not fit"));
  EXPECT_THAT(Bad(R"({"train_config.num_steps": 4294967296})"), HasSubstr("does not fit"));
  EXPECT_THAT(Bad(R"({"train_config": 1})"), HasSubstr("of type object"));
  EXPECT_THAT(Bad(R"({"data_config.dataset_type": "Nope"})"),
              HasSubstr("is not one of DatasetType"));
  EXPECT_THAT(Bad(R"({"model_dir": 1})"), HasSubstr("does not fit"));
  EXPECT_THAT(Bad(R"({"data_config.shuffle": 1})"), HasSubstr("does not fit"));
  EXPECT_THAT(Bad(R"({"data_config.shuffle": "yes"})"),
              HasSubstr("value \"yes\" does not fit shuffle of type bool"));
  EXPECT_THAT(Bad(R"({"train_config.num_steps": "-1"})"), HasSubstr("does not fit"));
  EXPECT_THAT(Bad(R"({"train_config.num_steps": "1.5"})"), HasSubstr("does not fit"));
  EXPECT_THAT(Bad(R"({"train_config.num_steps": "4294967296"})"), HasSubstr("does not fit"));
  EXPECT_THAT(Bad(R"({"data_config.dataset_type": "77"})"), HasSubstr("is not one of DatasetType"));
  EXPECT_THAT(Bad(R"({"train_config": "num_step: 5"})"),
              HasSubstr("has no field named \"num_step\""));
  EXPECT_THAT(Bad("[1]"), HasSubstr("expected a JSON object"));
  EXPECT_THAT(Bad("{"), HasSubstr("expected a JSON object"));
}

TEST(EditConfigTest, LaterErrorsNameTheEditAndNotALine) {
  EXPECT_EQ(Bad(R"({"data_config.batch_size": 0})"),
            "--edit_config_json: data_config.batch_size: 0; expected at least 1 row");
}

TEST(EditConfigTest, HostileEditsEndInASentence) {
  const auto error = [](const std::string& edits) {
    ConfigOverrides overrides;
    overrides.edit_config_json = edits;
    return ErrorOf(kSmallConfig, overrides);
  };
  std::string deep;
  for (int i = 0; i < 20000; ++i) deep += '[';
  EXPECT_THAT(error("{\"model_dir\": " + deep), HasSubstr("deeper than"));
  EXPECT_THAT(error(R"({"train_config.num_steps": 1, "train_config.num_steps": 2})"),
              HasSubstr("given twice"));
  EXPECT_THAT(error(R"({"train_config.num_epochs": 1e400})"), HasSubstr("number overflow"));
  EXPECT_THAT(error(R"({"feature_configs[2147483647].raw_feature.embedding_dim": 1})"),
              HasSubstr("is outside"));
  EXPECT_THAT(error(R"({"feature_configs[-2147483648].raw_feature.embedding_dim": 1})"),
              HasSubstr("is outside"));
  const std::string long_value =
      error("{\"train_config.num_steps\": \"" + std::string(100000, 'x') + "\"}");
  EXPECT_LT(long_value.size(), 1000u);
  std::string nested;
  for (int i = 0; i < 20000; ++i) nested += "sparse_optimizer { ";
  EXPECT_THAT(error("{\"train_config\": \"" + nested + "\"}"),
              HasSubstr("does not fit train_config"));
  EXPECT_THAT(error("{\"a\x1b\u001b[2J\": 1}"), Not(HasSubstr("\x1b")));
}

StatusOr<JobConfig> Set(const std::vector<std::string>& assignments, const std::string& json = "") {
  ConfigOverrides overrides;
  overrides.edit_config_json = json;
  overrides.set = assignments;
  return Parse(kSmallConfig, overrides);
}

TEST(SetFieldsTest, TextsNumbersAndJsonAreValues) {
  ASSERT_OK_AND_ASSIGN(
      const JobConfig job,
      Set({"train_config.num_steps=10", "data_config.shuffle=true", "model_dir=a=b",
           "model_config.pepnet.task_towers[tower_name=cvr].weight=0.25",
           "model_config.pepnet.ppnet_hidden_units=[6, 9]",
           "feature_configs[0].id_feature.init_fn=nn.init.uniform_,a=-0.5,b=0.5",
           "train_config.num_steps=11"},
          R"({"train_config.num_steps": 9})"));
  EXPECT_EQ(job.train.num_steps, 11);  // in order, behind --edit_config_json
  EXPECT_TRUE(job.data.shuffle);
  EXPECT_EQ(job.model_dir, "a=b");
  EXPECT_EQ(job.model.towers[1].weight, 0.25);
  EXPECT_THAT(job.model.ppnet_hidden_units, ElementsAre(6, 9));
  EXPECT_EQ(job.tables[0].initializer.a, -0.5);
  EXPECT_THAT(AllNotes(job), HasSubstr("--set: train_config.num_steps: set to \"11\""));
}

TEST(SetFieldsTest, FaultsNameTheAssignment) {
  const auto fault = [](const std::string& assignment) {
    const auto job = Set({assignment});
    return job.ok() ? "OK" : std::string(job.status().message());
  };
  EXPECT_THAT(fault("train_config.num_steps"),
              HasSubstr("--set train_config.num_steps: expected path=value"));
  EXPECT_THAT(fault("=5"), HasSubstr("expected path=value"));
  EXPECT_EQ(fault("num_epochs=1"),
            "--set: num_epochs: EasyRecConfig has no field \"num_epochs\" (did you mean "
            "\"train_config.num_epochs\"?)");
  EXPECT_THAT(fault("towers[name=5"), HasSubstr("expected path=value"));
  EXPECT_THAT(fault("train_config.num_step=5"), HasSubstr("--set: train_config.num_step: "));
  EXPECT_THAT(fault("train_config.num_steps=five"), HasSubstr("--set: train_config.num_steps: "));
  EXPECT_THAT(fault("model_config.pepnet.ppnet_hidden_units=[6,"),
              HasSubstr("ppnet_hidden_units=[6,: [6, is not JSON"));
}

}  // namespace
}  // namespace pepnet

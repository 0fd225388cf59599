#include "common/config/load.h"
#include "common/job_config/shape_description.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/config/values/vocabulary.h"
#include "tests/common/config/config_text.h"
#include "tests/support/paths.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string GoldenDir() { return SourceDir() + "/tests/golden/"; }
std::string ConfigsDir() { return SourceDir() + "/configs/"; }

JobConfig Load(const std::string& path) {
  auto job = LoadJobConfig(path, {});
  EXPECT_OK(job);
  return job.ok() ? *std::move(job) : JobConfig();
}

class LoadsTest : public ::testing::TestWithParam<std::string> {};

TEST_P(LoadsTest, AndItsEffectiveTextMeansTheSame) {
  const JobConfig job = Load(GetParam());
  const auto again = ParseJobConfig(job.effective_text, "effective", {});
  ASSERT_OK(again) << "\n" << job.effective_text;
  EXPECT_EQ(job.effective_text, again->effective_text);
  EXPECT_LE(again->notes.size(), job.notes.size()) << AllNotes(*again);
  EXPECT_EQ("", FirstDifference(ShapeDescription(job), ShapeDescription(*again)));
}

TEST(EffectiveTextTest, HoldsTheDefaultsOfWhatIsNotSet) {
  const std::string text = Parse(kSmallConfig)->effective_text;
  for (const char* field : {"log_step_count_steps: 100", "shuffle: false", "slice_top: 20",
                            "exporter_type: \"latest\"", "pooling: \"sum\"", "thresholds: 200"}) {
    EXPECT_THAT(text, HasSubstr(field));
  }
  for (const char* field : {"use_dense_ema", "pin_memory", "num_epochs", "slice_by", " weight: "}) {
    EXPECT_THAT(text, Not(HasSubstr(field)))
        << "has no effect, may not be set, has no default, or says something by being set";
  }
}

// eval and predict read the effective config of a training, whose defaults nobody has written.
TEST(EffectiveTextTest, GivesNoNotesOfItsDefaults) {
  const JobConfig job = *Parse(kSmallConfig);
  EXPECT_THAT(job.effective_text, Not(HasSubstr("pareto_min_loss_weight")));
  EXPECT_EQ(AllNotes(*Parse(job.effective_text)), AllNotes(job));
  ConfigOverrides overrides;
  overrides.set = {"model_config.pepnet.task_towers[0].pareto_min_loss_weight=0.25"};
  ASSERT_OK_AND_ASSIGN(const JobConfig noted, ParseJobConfig(kSmallConfig, "small", overrides));
  EXPECT_THAT(AllNotes(noted), HasSubstr("use_pareto_loss_weight is not set"));
}

INSTANTIATE_TEST_SUITE_P(Configs, LoadsTest,
                         ::testing::Values(GoldenDir() + "seed_small/pipeline.config",
                                           GoldenDir() + "no_domain/pipeline.config",
                                           GoldenDir() + "no_uia/pipeline.config",
                                           GoldenDir() + "multi_domain/pipeline.config",
                                           GoldenDir() + "features/pipeline.config",
                                           GoldenDir() + "mixed/pipeline.config",
                                           GoldenDir() + "optim/pipeline.config",
                                           GoldenDir() + "reference_example/pepnet_taobao.config",
                                           GoldenDir() +
                                               "reference_example/pepnet_taobao_older.config"));

// Every file in configs/.
std::vector<std::string> OurConfigs() {
  std::vector<std::string> paths;
  for (const auto& file : std::filesystem::directory_iterator(ConfigsDir())) {
    if (file.path().extension() == ".config") paths.push_back(file.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

INSTANTIATE_TEST_SUITE_P(Ours, LoadsTest, ::testing::ValuesIn(OurConfigs()));

TEST(LoadTest, SeedSmallFacts) {
  const JobConfig job = Load(GoldenDir() + "seed_small/pipeline.config");
  EXPECT_EQ(job.train_input_path, "train.csv");
  EXPECT_EQ(job.model_dir, "model");
  EXPECT_EQ(job.data.dataset_type, DatasetType::kCsv);
  EXPECT_EQ(job.data.fg_mode, FgMode::kNormal);
  EXPECT_TRUE(job.data.with_header);
  EXPECT_EQ(job.data.batch_size, 8);
  EXPECT_EQ(job.data.eval_batch_size, 0);
  EXPECT_THAT(job.data.labels, ElementsAre("clk", "buy"));
  ASSERT_EQ(job.features.size(), 17u);
  ASSERT_EQ(job.tables.size(), 17u);
  EXPECT_EQ(job.tables[0].name, "user_id_emb");
  EXPECT_EQ(job.tables[0].rows, 23);
  EXPECT_EQ(job.tables[0].dim, 4);
  EXPECT_EQ(job.tables[16].name, "price_emb");
  EXPECT_EQ(job.tables[16].rows, 6);
  const Feature& brands = job.features[15];
  EXPECT_EQ(brands.name, "tag_brand_list");
  EXPECT_EQ(brands.column, "tag_brand_list");
  EXPECT_EQ(brands.separator, "|");
  EXPECT_EQ(brands.pooling, Pooling::kMean);
  EXPECT_EQ(brands.default_value, std::nullopt);
  const Feature& price = job.features[16];
  EXPECT_EQ(price.bucketizer, Bucketizer::kBoundaries);
  EXPECT_THAT(price.boundaries, ElementsAre(1.5, 4.0, 9.5, 20.0, 55.0));
  EXPECT_EQ(price.default_value, "0");
  EXPECT_EQ(job.model.main.width, 68);
  ASSERT_TRUE(job.model.domain && job.model.uia);
  EXPECT_THAT(job.model.domain->leaves, ElementsAre(6));
  EXPECT_THAT(job.model.uia->leaves, ElementsAre(0, 8));
  EXPECT_EQ(job.model.epnet_hidden_unit, 10);
  EXPECT_EQ(job.model.epnet_gamma, 2);
  EXPECT_THAT(job.model.ppnet_hidden_units, ElementsAre(12, 6));
  EXPECT_EQ(job.model.ppnet_activation.kind, ActivationKind::kRelu);
  EXPECT_EQ(job.model.domain_label, -1);
  EXPECT_EQ(job.model.domain_count, 1);
  ASSERT_EQ(job.model.towers.size(), 2u);
  EXPECT_FALSE(job.model.towers[0].weighted);
  const Tower& cvr = job.model.towers[1];
  EXPECT_TRUE(cvr.weighted);
  EXPECT_EQ(cvr.label, 1);
  EXPECT_EQ(cvr.task_space_indicator, 0);
  EXPECT_EQ(cvr.in_task_space_weight, 1);
  EXPECT_EQ(cvr.out_task_space_weight, 0);
  EXPECT_THAT(cvr.mlp->hidden_units, ElementsAre(8, 6, 4));
  EXPECT_THAT(cvr.mlp->dropout_ratio, ElementsAre(0, 0, 0));
  EXPECT_EQ(cvr.metrics[0].name, "auc_cvr");
  EXPECT_EQ(cvr.metrics[0].thresholds, 1000);
  EXPECT_EQ(cvr.losses[0].name, "binary_cross_entropy_cvr");
  EXPECT_EQ(job.train.num_steps, 5);
  EXPECT_EQ(job.train.sparse_optimizer.lr, 0.01);
  EXPECT_EQ(job.train.dense_optimizer.lr, 0.002);
  EXPECT_EQ(job.train.save_checkpoints_steps, 1000);
  EXPECT_THAT(AllNotes(job), HasSubstr("wide_deep: older spelling"));
  EXPECT_THAT(AllNotes(job), HasSubstr("main_group_name: older spelling"));
  EXPECT_THAT(AllNotes(job), HasSubstr("fg_encoded: older spelling"));
}

TEST(LoadTest, MixedFacts) {
  const JobConfig job = Load(GoldenDir() + "mixed/pipeline.config");
  EXPECT_FALSE(job.data.with_header);
  EXPECT_EQ(job.data.input_fields.size(), 15u);
  EXPECT_EQ(job.data.input_fields[0].type, ColumnType::kInteger);
  EXPECT_EQ(job.data.input_fields[3].type, ColumnType::kUnspecified);
  EXPECT_EQ(job.data.input_fields[14].type, ColumnType::kFloating);
  EXPECT_EQ(job.data.eval_batch_size, 10);
  const auto feature = [&](const std::string& name) {
    for (const Feature& f : job.features) {
      if (f.name == name) return f;
    }
    ADD_FAILURE() << name;
    return Feature();
  };
  EXPECT_EQ(feature("iid").default_value, "4");
  EXPECT_TRUE(feature("wtags").weighted);
  EXPECT_EQ(feature("wtags").separator, "\x1d");
  // The default value is in the list and keeps its row there.
  const Feature brand = feature("brand");
  EXPECT_EQ(brand.rows, 5);
  EXPECT_EQ(brand.unknown_id, 1);
  EXPECT_THAT(brand.vocabulary,
              ElementsAre(std::pair("aa", 2), std::pair("bb", 3), std::pair("cc", 4)));
  const Feature city = feature("city");
  EXPECT_EQ(city.rows, 3);
  EXPECT_EQ(city.unknown_id, 1);
  EXPECT_THAT(city.vocabulary,
              ElementsAre(std::pair("p", 0), std::pair("q", 1), std::pair("r", 2)));
  // The default value takes row 0 even if the dictionary says otherwise.
  const Feature level = feature("level");
  EXPECT_EQ(level.rows, 6);
  EXPECT_THAT(level.vocabulary,
              ElementsAre(std::pair("hi", 5), std::pair("lo", 2), std::pair("mid", 0)));
  const Feature lang = feature("lang");
  EXPECT_EQ(lang.rows, 5);
  EXPECT_EQ(lang.unknown_id, 2);
  EXPECT_EQ(lang.vocabulary.count("zz"), 0u);
  const Feature price = feature("price");
  EXPECT_EQ(price.bucketizer, Bucketizer::kNone);
  EXPECT_EQ(price.normalizer.kind, NormalizerKind::kLog10);
  EXPECT_EQ(price.normalizer.a, 0.01);
  EXPECT_EQ(price.normalizer.b, -2);
  const Feature dist = feature("dist");
  EXPECT_THAT(dist.boundaries, ElementsAre(0.2, 0.55, 0.8));
  EXPECT_EQ(dist.normalizer.kind, NormalizerKind::kMinmax);
  const Feature vec = feature("vec");
  EXPECT_EQ(vec.dim, 2);
  EXPECT_EQ(vec.default_value,
            "0.25\x1d"
            "0.75");
  EXPECT_EQ(feature("hist").bucketizer, Bucketizer::kHash);
  EXPECT_EQ(job.model.main.width, 1 + 2 + 10 * 4);
  const Tower& val = job.model.towers[2];
  EXPECT_TRUE(val.weighted);
  EXPECT_EQ(val.weight, 0.5);
  EXPECT_EQ(val.losses[0].kind, LossKind::kL2);
  EXPECT_EQ(val.mlp->activation.kind, ActivationKind::kSilu);
  EXPECT_EQ(val.metrics[1].name, "mean_absolute_error_val");
  EXPECT_EQ(job.model.towers[0].metrics[2].kind, MetricKind::kGroupedAuc);
  EXPECT_EQ(job.model.towers[0].metrics[2].grouping_feature, 0);
  EXPECT_EQ(job.model.towers[1].metrics[2].threshold, 0.35);
  EXPECT_EQ(job.model.towers[1].out_task_space_weight, 0.2);
  EXPECT_EQ(job.train.gradient_accumulation_steps, 2);
  EXPECT_EQ(job.train.clipping, ClippingType::kValue);
  EXPECT_EQ(job.train.clip_max_gradient, 0.05);
  EXPECT_EQ(job.train.sparse_optimizer.initial_accumulator_value, 0.001);
  EXPECT_EQ(job.train.sparse_optimizer.schedule.kind, ScheduleKind::kExponentialDecay);
  EXPECT_EQ(job.train.sparse_optimizer.schedule.decay_factor, 0.6);
  EXPECT_FALSE(job.train.sparse_optimizer.schedule.staircase);
  EXPECT_EQ(job.train.dense_optimizer.kind, DenseOptimizerKind::kSgd);
  EXPECT_EQ(job.train.dense_optimizer.momentum, 0.9);
}

TEST(LoadTest, MultiDomainFacts) {
  const JobConfig job = Load(GoldenDir() + "multi_domain/pipeline.config");
  EXPECT_EQ(job.model.domain_label, 2);
  EXPECT_EQ(job.model.domain_count, 3);
  EXPECT_EQ(job.model.epnet_gamma, 1.5);
  EXPECT_EQ(job.model.ppnet_gamma, 2.5);
  EXPECT_EQ(job.model.ppnet_activation.kind, ActivationKind::kTanh);
  EXPECT_EQ(job.model.towers[1].mlp->activation.kind, ActivationKind::kLeakyRelu);
  EXPECT_EQ(job.model.towers[1].mlp->activation.parameter, 0.2);
  EXPECT_EQ(job.model.towers[1].out_task_space_weight, 0.1);
}

TEST(LoadTest, FgNoneReadsFinishedIdsFromTheFeatureName) {
  const JobConfig job = Load(GoldenDir() + "no_uia/pipeline.config");
  EXPECT_EQ(job.data.fg_mode, FgMode::kNone);
  EXPECT_EQ(job.features[0].column, "user");
  EXPECT_EQ(job.features[0].separator, "\x03");
  EXPECT_EQ(job.features[0].default_value, std::nullopt);
  EXPECT_EQ(job.features[2].default_value, "0");
  EXPECT_EQ(job.features[5].bucketizer, Bucketizer::kNone);
  // The "0" of raw features is for the other modes.
  EXPECT_EQ(job.features[5].default_value, std::nullopt);
  EXPECT_FALSE(job.model.uia);
  EXPECT_EQ(job.model.epnet_hidden_unit, job.model.main.width);
}

TEST(LoadTest, SharedTableIsCreatedOnce) {
  const JobConfig job = Load(GoldenDir() + "features/pipeline.config");
  EXPECT_EQ(job.leaves[0].table, 0);
  EXPECT_EQ(job.leaves[1].table, 0);
  EXPECT_EQ(job.tables[0].name, "item_emb");
  EXPECT_EQ(job.tables.size(), 6u);
  EXPECT_EQ(job.train.sparse_optimizer.initial_accumulator_value, 0.00002);
  EXPECT_EQ(job.features[0].column, "last_items");
}

TEST(LoadTest, BothDialectsGiveOneEffectiveConfig) {
  const JobConfig today = Load(ConfigsDir() + "pepnet_taobao.config");
  const JobConfig older = Load(ConfigsDir() + "pepnet_taobao_legacy.config");
  EXPECT_EQ(today.effective_text, older.effective_text);
  EXPECT_TRUE(today.notes.empty()) << AllNotes(today);
  EXPECT_EQ(older.notes.size(), 3u + 1 + 3) << AllNotes(older);
  EXPECT_EQ(today.model.main.width, 272);
  EXPECT_EQ(today.model.uia->width, 32);
}

TEST(LoadTest, TheGpuConfigDiffersInBatchAndReaders) {
  ConfigOverrides edits;
  edits.edit_config_json =
      R"({"model_dir": "runs/pepnet_taobao_gpu", "data_config.batch_size": 16384, "data_config.num_workers": 16})";
  ASSERT_OK_AND_ASSIGN(const auto edited,
                       LoadJobConfig(ConfigsDir() + "pepnet_taobao.config", edits));
  EXPECT_EQ(Load(ConfigsDir() + "pepnet_taobao_gpu.config").effective_text, edited.effective_text);
}

TEST(LoadTest, ExampleConfigHasTowersPerDomain) {
  const JobConfig job = Load(ConfigsDir() + "pepnet_taobao_example.config");
  EXPECT_EQ(job.model.domain_label, 2);
  EXPECT_EQ(job.model.domain_count, 3);
  EXPECT_EQ(job.features.size(), 16u);
  EXPECT_EQ(job.model.uia->leaves.size(), 13u);
  EXPECT_EQ(job.model.epnet_hidden_unit, 256);
}

TEST(LoadTest, ReferenceExampleIsAcceptedUnchanged) {
  const JobConfig job = Load(GoldenDir() + "reference_example/pepnet_taobao.config");
  EXPECT_EQ(job.data.dataset_type, std::nullopt);
  EXPECT_EQ(job.data.dataset_type_name, "OdpsDataset");
  EXPECT_THAT(AllNotes(job), HasSubstr("OdpsDataset is not read"));
  EXPECT_EQ(job.model.uia->leaves.size(), 13u);
  const JobConfig ours = Load(ConfigsDir() + "pepnet_taobao_example.config");
  EXPECT_EQ(job.model.domain_count, ours.model.domain_count);
  EXPECT_EQ(job.model.epnet_hidden_unit, ours.model.epnet_hidden_unit);
  const JobConfig older = Load(GoldenDir() + "reference_example/pepnet_taobao_older.config");
  EXPECT_EQ(older.model.epnet_hidden_unit, 128);
  EXPECT_EQ(older.model.domain_count, 1);
}

TEST(LoadTest, MissingFileIsNotFound) {
  const auto job = LoadJobConfig("no/such/file.config", {});
  EXPECT_EQ(job.status().code(), absl::StatusCode::kNotFound) << job.status();
  EXPECT_THAT(job, IsError(HasSubstr("no/such/file.config")));
}

TEST(LoadTest, OverridesWinOverTheFile) {
  ConfigOverrides overrides;
  overrides.train_input_path = "x.csv";
  overrides.eval_input_path = "y.csv";
  overrides.model_dir = "z";
  overrides.fine_tune_checkpoint = "c";
  ASSERT_OK_AND_ASSIGN(const auto job, Parse(kSmallConfig, overrides));
  EXPECT_EQ(job.train_input_path, "x.csv");
  EXPECT_EQ(job.eval_input_path, "y.csv");
  EXPECT_EQ(job.model_dir, "z");
  EXPECT_EQ(job.train.fine_tune_checkpoint, "c");
  EXPECT_THAT(job.effective_text, HasSubstr("model_dir: \"z\""));
}

TEST(LoadTest, TheDatasetTypeCanBeOverridden) {
  ConfigOverrides overrides;
  overrides.dataset_type = "ParquetDataset";
  EXPECT_EQ(Parse(kSmallConfig, overrides)->data.dataset_type, DatasetType::kParquet);
  overrides.dataset_type = "OdpsDataset";
  ASSERT_OK_AND_ASSIGN(const auto job, Parse(kSmallConfig, overrides));
  EXPECT_EQ(job.data.dataset_type, std::nullopt);
  EXPECT_THAT(AllNotes(job),
              HasSubstr("--dataset_type: data_config.dataset_type: OdpsDataset is not read"));
  overrides.dataset_type = "ParqetDataset";
  EXPECT_EQ(ErrorOf(kSmallConfig, overrides),
            "--dataset_type: \"ParqetDataset\"; expected OdpsDataset, ParquetDataset, CsvDataset, "
            "OdpsDatasetV1 or "
            "KafkaDataset (did you mean \"ParquetDataset\"?)");
}

// ---- dialects -----------------------------------------------------------------------------------

TEST(DialectTest, NamedGroupsMayHaveAnyName) {
  std::string text = Changed("group_name: \"all\"", "group_name: \"m\"");
  text = Changed("group_name: \"uia\"", "group_name: \"p\"", text);
  text = Changed("pepnet {", "pepnet { uia_group_name: 'p' main_group_name: 'm'", text);
  ASSERT_OK_AND_ASSIGN(const auto job, Parse(text));
  EXPECT_EQ(job.effective_text, Parse(kSmallConfig)->effective_text);
}

TEST(DialectTest, WithNamesANetworkExistsOnlyIfItsGroupIsNamed) {
  ASSERT_OK_AND_ASSIGN(const auto job,
                       Parse(Changed("pepnet {", "pepnet { main_group_name: 'all'")));
  EXPECT_FALSE(job.model.uia);
  EXPECT_THAT(AllNotes(job), HasSubstr("\"uia\" is named by none"));
  EXPECT_THAT(AllNotes(job), HasSubstr("ppnet_hidden_units: without effect"));
}

TEST(DialectTest, OneGroupMayHaveTwoRoles) {
  ASSERT_OK_AND_ASSIGN(
      const auto job,
      Parse(Changed("pepnet {", "pepnet { main_group_name: 'all' uia_group_name: 'all'")));
  EXPECT_EQ(job.model.uia->width, job.model.main.width);
}

TEST(DialectTest, MissingGroupsAndContradictionsAreErrors) {
  EXPECT_EQ(ErrorOf(Changed("pepnet {", "pepnet { main_group_name: 'al'")),
            "job.config:18: model_config.pepnet.main_group_name: no feature group is named \"al\" "
            "(did you mean \"all\"?)");
  EXPECT_THAT(ErrorOf(Changed("pepnet {", "pepnet { uia_group_name: 'uia'")),
              HasSubstr("job.config:18: model_config.pepnet.main_group_name: is missing"));
  EXPECT_THAT(
      ErrorOf(Changed("group_type: DEEP", "group_type: DEEP wide_deep: WIDE")),
      HasSubstr(
          "job.config:16: model_config.feature_groups[0].wide_deep: WIDE but group_type is DEEP"));
  EXPECT_THAT(ErrorOf(Changed("group_type: DEEP", "wide_deep: WIDE_AND_DEEP")),
              HasSubstr("job.config:16: model_config.feature_groups[0].group_type: WIDE_AND_DEEP "
                        "is not supported"));
}

TEST(DialectTest, AGroupWithoutRoleIsDroppedWithANote) {
  ASSERT_OK_AND_ASSIGN(
      const auto job,
      Parse(Changed(
          "pepnet {",
          "feature_groups { group_name: 'x' feature_names: 'nobody' group_type: WIDE } pepnet {")));
  EXPECT_THAT(AllNotes(job),
              HasSubstr("feature group \"x\" is none of all, domain and uia and is dropped"));
  EXPECT_THAT(job.effective_text, Not(HasSubstr("nobody")));
}

TEST(DialectTest, FgEncodedDecides) {
  EXPECT_EQ(Parse(Changed("fg_mode: FG_DAG", "fg_mode: FG_DAG fg_encoded: true"))->data.fg_mode,
            FgMode::kNone);
  EXPECT_EQ(Parse(Changed("fg_mode: FG_DAG", "fg_mode: FG_NONE fg_encoded: false"))->data.fg_mode,
            FgMode::kNormal);
  EXPECT_EQ(Parse(Changed("fg_mode: FG_DAG", ""))->data.fg_mode, FgMode::kNone);
}

// ---- grammar ------------------------------------------------------------------------------------

TEST(GrammarTest, EverySpellingOfTheTextFormatMeansTheSame) {
  const std::string expected = Parse(kSmallConfig)->effective_text;
  const std::pair<const char*, const char*> spellings[] = {
      {"train_config {", "train_config: {"},
      {"adagrad_optimizer { lr: 0.001 }", "adagrad_optimizer < lr: 0.001 >"},
      {"adagrad_optimizer { lr: 0.001 }", "adagrad_optimizer: < lr: 1e-3 >"},
      {"lr: 0.002", "lr: .002f"},
      {"num_steps: 5", "num_steps: 5,"},
      {"num_steps: 5", "num_steps: 5;"},
      {"num_steps: 5", "num_steps: 0x5  # a comment"},
      {"feature_names: [\"user\", \"item\", \"price\"]",
       "feature_names: \"user\" feature_names: ['item'] feature_names: \"pr\" 'ice'"},
      {"hidden_units: 5", "hidden_units: [5]"},
      {"with_header: true", "with_header: True"},
      {"with_header: true", "with_header: t"},
      {"with_header: true", "with_header: 1"},
      {"group_type: DEEP", "group_type: 0"},
      {"\"clk\", \"buy\"", "'\\x63lk', \"\\142uy\""},
      {"losses { binary_cross_entropy {} }", "losses: [ { binary_cross_entropy {} } ]"},
      {"ppnet_hidden_units: [6, 3]", "ppnet_hidden_units: 6 ppnet_hidden_units: 3"},
  };
  for (const auto& [from, to] : spellings) {
    const auto job = Parse(Changed(from, to));
    ASSERT_OK(job) << to;
    EXPECT_EQ(job->effective_text, expected) << to;
  }
  for (const char* no : {"False", "false", "f", "0"}) {
    EXPECT_OK(Parse(Changed("fg_mode", std::string("shuffle: ") + no + " fg_mode"))) << no;
  }
}

TEST(GrammarTest, InfinityIsANumber) {
  ASSERT_OK_AND_ASSIGN(
      const auto job,
      Parse(Changed("num_steps: 5",
                    "num_steps: 5 grad_clipping { clipping_type: 'norm' norm_type: inf }")));
  EXPECT_TRUE(std::isinf(job.train.clip_norm_type));
}

TEST(GrammarTest, ErrorsNameLineAndColumn) {
  EXPECT_EQ(
      ErrorOf(Changed("num_steps: 5", "num_stpes: 5")),
      "job.config:7:12: unknown field \"num_stpes\" in TrainConfig (did you mean \"num_steps\"?)");
  EXPECT_EQ(ErrorOf(Changed("num_steps: 5", "zzz { y: [1, 2] x: 'a' } num_steps: 5")),
            "job.config:7:7: unknown field \"zzz\" in TrainConfig");
  EXPECT_THAT(ErrorOf(Changed("num_steps: 5", "a: 1 b: 2 num_steps: 5")),
              HasSubstr("(and 1 more)"));
  EXPECT_THAT(ErrorOf(Changed("num_steps: 5", "num_steps: 5 num_steps: 6")),
              HasSubstr("job.config:7:"));
  EXPECT_THAT(ErrorOf(Changed("num_steps: 5", "num_steps: -5")), HasSubstr("job.config:7:"));
  EXPECT_THAT(ErrorOf(Changed("num_steps: 5", "num_steps: 'five'")), HasSubstr("job.config:7:"));
  EXPECT_THAT(ErrorOf(Changed("CsvDataset", "CvsDataset")), HasSubstr("job.config:9:"));
  EXPECT_THAT(ErrorOf(Changed("adagrad_optimizer", "sgd_optimizer { lr: 1 } adagrad_optimizer")),
              HasSubstr("job.config:5:"));
  EXPECT_THAT(ErrorOf("train_config {"), HasSubstr("job.config:1:"));
  EXPECT_THAT(ErrorOf(""), HasSubstr("train_input_path: is missing"));
}

TEST(GrammarTest, SeparatorsDoNotHideWhyAMessageIsRefused) {
  const auto with = [](const std::string& fields) {
    return ErrorOf(
        Changed("data_config {", absl::StrCat("data_config { negative_sampler { ", fields, " }")));
  };
  const std::string expected = with("input_path: 'a' length: 3");
  EXPECT_THAT(expected, HasSubstr("samplers are not supported"));
  for (const char* spelling : {"input_path: 'a', length: 3,", "input_path: 'a'; length: 3;",
                               "input_path: 'a', x { y: [1, 2], z: '}' }, length: 3 # a, b; {\n",
                               "x: [{a: 1, b: 2}, {a: 3;}]"}) {
    EXPECT_EQ(with(spelling), expected) << spelling;
  }
  EXPECT_THAT(ErrorOf(Changed("num_steps: 5", "num_steps: 5,,")),
              HasSubstr("job.config:7: \",\" stands where a field is expected"));
  EXPECT_THAT(ErrorOf(Changed("num_steps: 5", "num_steps: ; 5")),
              HasSubstr("\";\" stands where a value is expected"));
  EXPECT_THAT(ErrorOf(Changed("train_config {", "train_config { ,")),
              HasSubstr("stands where a field is expected"));
}

TEST(GrammarTest, WhatTheParserCannotSayIsSaid) {
  EXPECT_THAT(ErrorOf(std::string("\xef\xbb\xbf") + kSmallConfig), HasSubstr("byte order mark"));
  EXPECT_EQ(ErrorOf(Changed("\"clk\"",
                            "\xe2\x80\x9c"
                            "clk\""))
                .substr(0, 21),
            "job.config:10:18: the");
  EXPECT_THAT(ErrorOf("train_config {\n num_steps: 1\n"),
              HasSubstr("ends inside of what \"{\" opens in line 1"));
  EXPECT_THAT(ErrorOf(Changed("num_steps: 5", "num_steps: 5 optimizer_config { }")),
              HasSubstr("convert_easyrec_config_to_tzrec_config"));
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "a{";
  EXPECT_THAT(ErrorOf(deep), HasSubstr("deeper than 100 levels"));
  EXPECT_THAT(ErrorOf(Changed("num_steps: 5", absl::StrCat("num_steps: 5 ", deep))),
              HasSubstr("deeper than"));
}

TEST(GrammarTest, AllFaultsAreFoundWhereAllAreWanted) {
  std::string text = Changed("num_steps: 5", "num_stpes: 5 save_checkpoints_timestamp_interval: 3");
  text = Changed("fg_mode: FG_DAG", "fg_mode: FG_DAG sample_mask_prob: 0.5", text);
  text = Changed("hash_bucket_size: 20", "use_mask: true hash_bucket_size: 20", text);
  std::vector<std::string> all;
  const auto job = ParseJobConfig(text, "job.config", {}, &all);
  EXPECT_FALSE(job.ok());
  ASSERT_GE(all.size(), 4u);
  EXPECT_THAT(all[0], HasSubstr("num_stpes"));
  EXPECT_EQ(job.status().message(), all[0]);
  std::string together;
  for (const std::string& fault : all) together += fault;
  for (const char* field :
       {"save_checkpoints_timestamp_interval", "sample_mask_prob", "use_mask"}) {
    EXPECT_THAT(together, HasSubstr(field));
  }
  all.clear();
  EXPECT_OK(ParseJobConfig(kSmallConfig, "job.config", {}, &all));
  EXPECT_TRUE(all.empty());
}

TEST(GrammarTest, NamesThatBecomeFilesAreCheckedBeforeTheTraining) {
  std::string letters;
  for (int i = 0; i < 29; ++i) letters += "\xe4\xb8\xad";
  EXPECT_THAT(ErrorOf(Changed("\"user\"", "\"user\" embedding_name: '" + letters + "'")),
              HasSubstr("takes 261 bytes as the name of a directory"));
  EXPECT_EQ(ErrorOf(Changed("\"user\"", "\"user\" embedding_name: '" + letters.substr(3) + "'")),
            "OK");
  EXPECT_THAT(ErrorOf(Changed("tower_name: \"ctr\"", "tower_name: '\\377'")),
              HasSubstr("\"\\xff\" is not UTF-8"));
  ConfigOverrides home;
  home.model_dir = "~/model";
  EXPECT_THAT(ErrorOf(kSmallConfig, home), HasSubstr("begins with ~"));
}

TEST(VocabularyFileTest, MarksOfEditorsAreNoWords) {
  ASSERT_OK_AND_ASSIGN(const auto marked, ParseVocabularyFile("\xef\xbb\xbfred\r\nblue\r\n", "v"));
  EXPECT_EQ(marked, *ParseVocabularyFile("red\nblue\n", "v"));
  EXPECT_EQ(marked.at("red"), 0);
  for (const std::string& text : {std::string("\xff\xfer\0e\0", 6), std::string("r\0e\0\n", 5)}) {
    EXPECT_THAT(ParseVocabularyFile(text, "v"), IsError(HasSubstr("UTF-8")));
  }
  EXPECT_THAT(ParseVocabularyFile("a\x1b[2J\na\x1b[2J\n", "v"), IsError(HasSubstr("a\\x1b[2J")));
}

TEST(GrammarTest, UnknownFieldsCanBeIgnoredButNotSilently) {
  ConfigOverrides overrides;
  overrides.ignore_unknown_fields = true;
  ASSERT_OK_AND_ASSIGN(
      const auto job, Parse(Changed("num_steps: 5", "num_steps: 5 brand_new { x: 1 }"), overrides));
  EXPECT_THAT(AllNotes(job),
              HasSubstr("job.config:7: unknown field \"brand_new\" of TrainConfig is ignored"));
}

}  // namespace
}  // namespace pepnet

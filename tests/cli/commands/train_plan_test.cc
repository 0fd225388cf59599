#include "cli/commands/train_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/file/file.h"
#include "tests/support/cluster.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::HasSubstr;

TEST(TrainPlanTest, SaysWhoDoesWhatWithWhat) {
  TemporaryDirectory directory;
  JobConfig config = MakeRandomJob(directory.path(), {});
  EXPECT_THAT(
      TrainPlan(config, {{0, 1}, 2, 4, /*colocated=*/true}),
      HasSubstr("ranks: 2 workers (0, 1) with 4 threads each, 2 servers in the same ranks\n"));
  const std::string plan = TrainPlan(config, {{0, 3}, 2, 4});
  EXPECT_THAT(plan, HasSubstr("ranks: 2 workers (0, 3) with 4 threads each, 2 servers"));
  EXPECT_THAT(plan, HasSubstr("global batch: 12 rows"));
  EXPECT_THAT(plan, HasSubstr("3 files, 0.0 MiB"));
  EXPECT_THAT(plan, HasSubstr("length: 2 epochs; "));
  EXPECT_THAT(plan, HasSubstr("uid_emb: at most 50 rows x 4, 0.0 MiB with optimizer state"));
  EXPECT_THAT(plan, HasSubstr("7 tables"));
  config.tables[0].value_kind = ValueKind::kInt8;
  config.tables[0].rows = int64_t{1} << 20;
  config.train.sparse_optimizer.kind = SparseOptimizerKind::kSgd;  // 4 int8 and a scale, in words
  EXPECT_THAT(TrainPlan(config, {{0}, 1, 1}),
              HasSubstr(config.tables[0].name +
                        ": at most 1048576 rows x 4 INT8, 8.0 MiB with optimizer state"));
  EXPECT_THAT(TrainPlan(config, {{0}, 1, 1}), testing::Not(HasSubstr("event time")));
  config.data.event_time = {"when", 1, 600};
  config.tables[0].policy = {
      .admit_after_steps = 2, .filter_bytes = 3 << 20, .filter_halve_steps = 9};
  EXPECT_THAT(
      TrainPlan(config, {{0}, 1, 1}),
      HasSubstr(
          "\n  event time: the latest of column when; a step moves it on by 600 s at most\n"));
  EXPECT_THAT(TrainPlan(config, {{0}, 1, 1}),
              HasSubstr("INT8, 11.0 MiB with optimizer state; an id gets its row in"));
  config.train.save_checkpoints_steps = 7;
  config.train.keep_checkpoint_max = 3;
  EXPECT_THAT(TrainPlan(config, {{0}, 1, 1}),
              HasSubstr("a checkpoint every 7 steps and at the end, the newest 3 are kept"));
  config.train_input_path = "gone/*.csv";
  EXPECT_THAT(TrainPlan(config, {{0}, 1, 1}), HasSubstr("gone/*.csv"));
}

TEST(TrainPlanTest, InBriefItIsTwoLines) {
  TemporaryDirectory directory;
  JobConfig config = MakeRandomJob(directory.path(), {});
  config.train.save_checkpoints_epochs = 1;
  config.train.keep_checkpoint_max = 3;
  config.train.best.metrics = {{"auc_ctr"}};
  std::vector<std::string> brief = BriefTrainPlan(config, {{0}, 1, 1});
  ASSERT_EQ(brief.size(), 3u) << "the job has domains";
  EXPECT_EQ(
      brief[2],
      "evaluations are over all rows; by domain as well with eval_config { slice_by: \"dom\" }");
  config.eval.slice_by = {{"dom", -1, 0}};
  brief = BriefTrainPlan(config, {{0}, 1, 1});
  ASSERT_EQ(brief.size(), 2u);
  EXPECT_THAT(brief[0], testing::StartsWith(
                            "1 worker with 1 thread, 1 server; 7 tables of at most 0.0 MiB, "));
  EXPECT_THAT(
      brief[1],
      HasSubstr(
          "3 files, 0.0 MiB; batches of 6 rows; 2 epochs; a checkpoint every epoch and at the "
          "end, the newest 3 and the best are kept in " +
          config.model_dir));
  const std::vector<std::string> spread =
      BriefTrainPlan(config, {{0, 1}, 2, 4, /*colocated=*/true});
  EXPECT_THAT(spread[0],
              testing::StartsWith("2 workers with 4 threads each, 2 servers in the same ranks; "));
}

TEST(PlanWarningsTest, WhatLooksWrongIsSaid) {
  TemporaryDirectory directory;
  JobConfig config = MakeRandomJob(directory.path(), {});
  config.train_input_path = directory / "train-0.csv";
  config.eval_input_path = directory / "train-2.csv";
  EXPECT_TRUE(PlanWarnings(config).empty());
  config.eval_input_path = directory / "./train-*.csv";
  ASSERT_EQ(PlanWarnings(config).size(), 1u);
  EXPECT_THAT(
      PlanWarnings(config)[0].text,
      HasSubstr("eval data are train data (1 of 3 files, first " + (directory / "./train-0.csv")));
  config.eval_input_path = "";
  config.train.num_epochs = 0;
  config.train.num_steps = 50000;
  config.train.save_checkpoints_steps = 50000;
  ASSERT_EQ(PlanWarnings(config).size(), 2u);
  EXPECT_THAT(PlanWarnings(config)[0].text, HasSubstr("nothing is evaluated"));
  EXPECT_THAT(PlanWarnings(config)[1].text,
              HasSubstr("no checkpoint before the end of 50000 steps"));
}

TEST(PlanWarningsTest, ACopyOfATrainFileIsNoEvalFile) {
  TemporaryDirectory directory;
  JobConfig config = MakeRandomJob(directory.path(), {});
  config.train_input_path = absl::StrCat(directory / "train-0.csv", ",", directory / "train-2.csv");
  config.eval_input_path = directory / "eval.csv";
  ASSERT_OK_AND_ASSIGN(std::string text, ReadFile(directory / "train-2.csv"));
  ASSERT_OK(WriteFileAtomically(directory / "eval.csv", text));
  const std::vector<Warning> warnings = PlanWarnings(config);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0].kind, warning_kinds::kOverlap);
  EXPECT_THAT(warnings[0].text, HasSubstr("eval data are train data (1 of 1 files, first " +
                                          (directory / "eval.csv") + ", a copy of " +
                                          (directory / "train-2.csv") + ")"));
  ++text.back();  // the same size
  ASSERT_OK(WriteFileAtomically(directory / "eval.csv", text));
  EXPECT_TRUE(PlanWarnings(config).empty());
}

TEST(ConfigWarningsTest, AVocabularyWhoseWordsEndInNumbersIsNamed) {
  JobConfig config;
  Feature& feature = config.features.emplace_back();
  feature.name = "phone";
  feature.is_read = true;
  feature.bucketizer = Bucketizer::kVocabulary;
  feature.vocabulary = {{"Galaxy", 22}, {"Pixel", 7}, {"iPhone", 13}};
  feature.rows = 23;
  const std::vector<Warning> warnings = ConfigWarnings(config);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0].text,
            "feature phone: its vocabulary has 3 words for 23 rows, 'Galaxy' in row 22 for "
            "example: if the number belongs "
            "to the word, write 'Galaxy 22 0', the word and its row, in vocab_file");
  feature.vocabulary = {{"Galaxy 22", 0}, {"Pixel 7", 1}, {"iPhone 13", 2}};
  feature.rows = 3;
  EXPECT_TRUE(ConfigWarnings(config).empty());
  feature.vocabulary = {{"a", 2}};  // of a vocab_list: two rows stand before it
  EXPECT_TRUE(ConfigWarnings(config).empty());
}

TEST(ConfigWarningsTest, AFeatureThatReadsALabelOfATaskIsNamed) {
  TemporaryDirectory directory;
  JobConfig config = MakeRandomJob(directory.path(), {});
  EXPECT_TRUE(ConfigWarnings(config).empty());
  const std::string& label = config.data.labels[config.model.towers[1].label];
  config.features[0].column = label;
  const std::vector<Warning> warnings = ConfigWarnings(config);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0].kind, warning_kinds::kLeak);
  EXPECT_THAT(warnings[0].text, testing::StartsWith(absl::StrCat(
                                    "feature ", config.features[0].name, " reads column ", label,
                                    ", the label of task ", config.model.towers[1].name, ": ")));
  config.features[0].is_read = false;
  EXPECT_TRUE(ConfigWarnings(config).empty()) << "what no group reads does no harm";
}

}  // namespace
}  // namespace pepnet

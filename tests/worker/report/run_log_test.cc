#include "worker/report/run_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "common/file/file.h"
#include "tests/support/cluster.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

TEST(RunLogTest, EvaluationLineStartsWithTheStepAndTurnsNanIntoNull) {
  EXPECT_EQ(
      EvaluationJson({7, {{"auc_ctr", 0.5}, {"a", std::numeric_limits<double>::quiet_NaN()}}}),
      R"({"global_step":7,"a":null,"auc_ctr":0.5})");
}

TEST(RunLogTest, ResumingCutsTheFilesBackToTheRestoredStep) {
  TemporaryDirectory directory;
  ASSERT_OK(WriteFileAtomically(directory / "metrics.jsonl",
                                "{\"step\":5}\n{\"step\":10}\n{\"step\":15}\n{\"st"));
  ASSERT_OK(WriteFileAtomically(directory / "train_eval_result.txt",
                                "{\"global_step\":10}\n{\"global_step\":20}\n"));
  ASSERT_OK(RunLog::Open(directory.path(), 10));
  EXPECT_EQ(*ReadFile(directory / "metrics.jsonl"), "{\"step\":5}\n{\"step\":10}\n");
  EXPECT_EQ(*ReadFile(directory / "train_eval_result.txt"), "{\"global_step\":10}\n");
}

// A line that somebody has damaged must not take the lines behind it along.
TEST(RunLogTest, ADamagedLineIsLeftOutAndTheFileIsKept) {
  TemporaryDirectory directory;
  const std::string text =
      "{\"global_step\":5}\n{\"global_st\xff\n{\"global_step\":10}\n{\"global_step\":20}\n";
  for (const char* aside : {"train_eval_result.txt.damaged", "train_eval_result.txt.damaged-2"}) {
    ASSERT_OK(WriteFileAtomically(directory / "train_eval_result.txt", text));
    testing::internal::CaptureStderr();
    ASSERT_OK_AND_ASSIGN(const auto log, RunLog::Open(directory.path(), 10));
    const std::string told = testing::internal::GetCapturedStderr();
    EXPECT_EQ(log.last_evaluated_step(), 10);
    EXPECT_EQ(*ReadFile(directory / "train_eval_result.txt"),
              "{\"global_step\":5}\n{\"global_step\":10}\n");
    EXPECT_EQ(*ReadFile(directory / aside), text);
    EXPECT_NE(told.find("the first is line 2"), std::string::npos) << told;
  }
  ASSERT_OK(
      WriteFileAtomically(directory / "warnings.jsonl", "{\"step\":5,\"kind\":3}\n{\"step\":6}\n"));
  ASSERT_OK(RunLog::Open(directory.path(), 10));
  EXPECT_EQ(*ReadFile(directory / "warnings.jsonl"), "{\"step\":5,\"kind\":3}\n{\"step\":6}\n");
}

TEST(RunLogTest, ARepeatedEvaluationOfAFinishedJobIsWrittenOnce) {
  TemporaryDirectory directory;
  ASSERT_OK(WriteFileAtomically(directory / "train_eval_result.txt",
                                "{\"global_step\":10,\"auc\":0.5}\n"));
  ASSERT_OK_AND_ASSIGN(auto log, RunLog::Open(directory.path(), 10));
  EXPECT_EQ(log.last_evaluated_step(), 10);
  ASSERT_OK(log.Evaluation({10, {{"auc", 0.5}}}));
  EXPECT_EQ(*ReadFile(directory / "train_eval_result.txt"), "{\"global_step\":10,\"auc\":0.5}\n");
  ASSERT_OK(log.Evaluation({10, {{"auc", 0.25}}}));  // other data: the last word on step 10
  EXPECT_EQ(*ReadFile(directory / "train_eval_result.txt"), "{\"global_step\":10,\"auc\":0.25}\n");
}

TEST(RunLogTest, AWarningIsRecordedOnceOverAllPartsOfARun) {
  TemporaryDirectory directory;
  const Warning leak{"leak", "auc_ctr", "first"}, again{"leak", "auc_ctr", "other numbers"},
      other{"leak", "x", "y"};
  const std::string line =
      "{\"step\":5,\"kind\":\"leak\",\"subject\":\"auc_ctr\",\"text\":\"first\"}\n";
  const std::string later = "{\"step\":15,\"kind\":\"leak\",\"subject\":\"x\",\"text\":\"y\"}\n";
  {
    ASSERT_OK_AND_ASSIGN(auto log, RunLog::Open(directory.path(), 0));
    ASSERT_OK(log.Warn(5, {leak, again}));
    ASSERT_OK(log.Warn(15, {again, other}));
    EXPECT_EQ(*ReadFile(directory / "warnings.jsonl"), line + later);
  }
  ASSERT_OK_AND_ASSIGN(auto log, RunLog::Open(directory.path(), 10));
  EXPECT_EQ(*ReadFile(directory / "warnings.jsonl"), line);
  testing::internal::CaptureStderr();
  ASSERT_OK(log.Warn(15, {again, other}));
  ASSERT_OK(log.Warn(20, {again, other}));
  const std::string told = testing::internal::GetCapturedStderr();
  EXPECT_EQ(told.find("other numbers"), told.rfind("other numbers")) << told;
  EXPECT_NE(told.find("other numbers"), std::string::npos)
      << "the log of this part does not have it yet";
  EXPECT_EQ(*ReadFile(directory / "warnings.jsonl"), line + later);
}

TEST(RunLogTest, AStepSaysWhyATrainMetricHasNoValue) {
  TemporaryDirectory directory;
  RunLogOptions options;
  options.metrics_textfile = directory / "pepnet.prom";
  ASSERT_OK_AND_ASSIGN(auto log, RunLog::Open(directory.path(), 0, options));
  StepRecord record;
  record.step = 1;
  record.train_windows = {{"auc_a", {2, 0.75, ""}, {4, 0.5, ""}},
                          {"pcoc_a", {2, std::nullopt, "every label is 0"}, {4, 1.5, ""}}};
  ASSERT_OK(log.Step(record, StageTimes()));
  const nlohmann::json line = nlohmann::json::parse(*ReadFile(directory / "metrics.jsonl"));
  EXPECT_EQ(line["window_auc_a"], 0.75);
  EXPECT_TRUE(line["window_pcoc_a"].is_null());
  EXPECT_EQ(line["lifetime_pcoc_a"], 1.5);
  EXPECT_EQ(line["why"].dump(), R"({"window_pcoc_a":"every label is 0"})");
  record.step = 2;
  record.train_windows.resize(1);
  ASSERT_OK(log.Step(record, StageTimes()));
  const std::string text = *ReadFile(directory / "metrics.jsonl");
  EXPECT_EQ(text.find("why"), text.rfind("why")) << "all have a value";
}

TEST(RunLogTest, AFreshRunStartsWithEmptyFiles) {
  TemporaryDirectory directory;
  ASSERT_OK(WriteFileAtomically(directory / "metrics.jsonl", "{\"step\":5}\n"));
  ASSERT_OK(RunLog::Open(directory.path(), 0));
  EXPECT_EQ(*ReadFile(directory / "metrics.jsonl"), "");
}

TEST(RunLogTest, SamplesPerSecondLeavesOutSavingAndEvaluatingWhereverTheyStand) {
  TemporaryDirectory directory;
  double seconds = 0;  // since the log was opened
  RunLogOptions options;
  options.metrics_textfile = directory / "pepnet.prom";
  options.now = [&] {
    return std::chrono::steady_clock::time_point() +
           std::chrono::duration_cast<std::chrono::steady_clock::duration>(
               std::chrono::duration<double>(seconds));
  };
  ASSERT_OK_AND_ASSIGN(auto log, RunLog::Open(directory.path(), 0, options));
  StageTimes times;
  StepRecord record;
  const auto rate = [&](double until, int64_t rows) {
    seconds = until;
    record.rows += rows;
    ++record.step;
    EXPECT_OK(log.Step(record, times));
    const std::string text = *ReadFile(directory / "metrics.jsonl");
    const std::string last = text.substr(text.rfind('\n', text.size() - 2) + 1);
    const double logged = nlohmann::json::parse(last)["samples_per_second"].get<double>();
    EXPECT_THAT(*ReadFile(options.metrics_textfile),
                testing::HasSubstr(absl::StrFormat("pepnet_samples_per_second{run=\"%s\"} %.17g\n",
                                                   directory.path(), logged)));
    return logged;
  };
  times.Add(Stage::kCompute, 9);
  EXPECT_NEAR(rate(10, 1000), 100, 1e-6);
  // 10 s of steps, of which one begins a checkpoint; 30 s of evaluation, 9 s before the end.
  times.Add(Stage::kCompute, 1);
  times.Add(Stage::kCheckpoint, 2);
  times.Add(Stage::kEval, 30);
  times.Add(Stage::kCompute, 9);
  EXPECT_NEAR(rate(52, 1000), 100, 1e-6);
  EXPECT_NEAR(rate(62, 500), 50, 1e-6);  // what was left out before is not left out again
}

TEST(RunLogTest, RatesOfPartOptimizersStandBehindTheOthers) {
  TemporaryDirectory directory;
  RunLogOptions options;
  options.metrics_textfile = directory / "pepnet.prom";
  ASSERT_OK_AND_ASSIGN(auto log, RunLog::Open(directory.path(), 0, options));
  StepRecord record;
  record.lr_sparse = 0.5;
  record.lr_dense = 0.25;
  record.lr_parts = {{0, 0.125}, {2, 0.0625}};  // part 1 has no parameters
  ASSERT_OK(log.Step(record, StageTimes()));
  EXPECT_THAT(
      *ReadFile(directory / "metrics.jsonl"),
      testing::HasSubstr(
          R"("lr_sparse":0.5,"lr_dense":0.25,"lr_part_0":0.125,"lr_part_2":0.0625,"samples_per_second")"));
  const std::string text = *ReadFile(options.metrics_textfile);
  EXPECT_THAT(text, testing::HasSubstr("part=\"part_2\"} 0.0625\n"));
  EXPECT_THAT(text, testing::HasSubstr("part=\"dense\"} 0.25\n"));
}

TEST(RunLogTest, TablesThatGrowAreInAllReports) {
  TemporaryDirectory directory;
  RunLogOptions options;
  options.metrics_textfile = directory / "pepnet.prom";
  ASSERT_OK_AND_ASSIGN(auto log, RunLog::Open(directory.path(), 0, options));
  StepRecord record;
  ASSERT_OK(log.Step(record, StageTimes()));
  EXPECT_THAT(*ReadFile(options.metrics_textfile),
              testing::Not(testing::HasSubstr("pepnet_table_")));
  record.tables = {{.table = "user_emb",
                    .has_policy = true,
                    .rows = 7,
                    .candidates = 3,
                    .admitted = 9,
                    .refused = 40}};
  ASSERT_OK(log.Step(record, StageTimes()));
  EXPECT_THAT(*ReadFile(directory / "metrics.jsonl"),
              testing::HasSubstr(R"("tables":{"user_emb":{"rows":7,"candidates":3}})"));
  const std::string text = *ReadFile(options.metrics_textfile);
  EXPECT_THAT(text, testing::HasSubstr("# TYPE pepnet_table_admitted_total counter\n"));
  EXPECT_THAT(
      text, testing::ContainsRegex("pepnet_table_rows\\{run=\"[^\"]*\",table=\"user_emb\"\\} 7\n"));
  EXPECT_THAT(text, testing::ContainsRegex(
                        "pepnet_table_refused_total\\{run=\"[^\"]*\",table=\"user_emb\"\\} 40\n"));
}

TEST(RunLogTest, AStepBecomesOneLine) {
  TemporaryDirectory directory;
  ASSERT_OK_AND_ASSIGN(auto log, RunLog::Open(directory.path(), 0));
  StepRecord record;
  record.step = 3;
  record.loss_names = {"l2_loss_a", "l2_loss_b"};
  record.losses = {0.25, 0.5};
  ASSERT_OK(log.Step(record, StageTimes()));
  const std::string line = *ReadFile(directory / "metrics.jsonl");
  EXPECT_NE(line.find(R"("step":3)"), std::string::npos) << line;
  EXPECT_NE(line.find(R"("total_loss":0.75)"), std::string::npos) << line;
}

}  // namespace
}  // namespace pepnet

#include "worker/report/run_log.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "common/file/file.h"
#include "tests/support/cluster.h"

namespace pepnet {
namespace {

TEST(RunLogTest, EvaluationLineStartsWithTheStepAndTurnsNanIntoNull) {
  EXPECT_EQ(EvaluationJson({7, {{"auc_ctr", 0.5}, {"a", std::numeric_limits<double>::quiet_NaN()}}}),
            R"({"global_step":7,"a":null,"auc_ctr":0.5})");
}

TEST(RunLogTest, ResumingCutsTheFilesBackToTheRestoredStep) {
  TemporaryDirectory directory;
  ASSERT_TRUE(
      WriteFileAtomically(directory / "metrics.jsonl", "{\"step\":5}\n{\"step\":10}\n{\"step\":15}\n{\"st").ok());
  ASSERT_TRUE(
      WriteFileAtomically(directory / "train_eval_result.txt", "{\"global_step\":10}\n{\"global_step\":20}\n").ok());
  ASSERT_TRUE(RunLog::Open(directory.path(), 10).ok());
  EXPECT_EQ(*ReadFile(directory / "metrics.jsonl"), "{\"step\":5}\n{\"step\":10}\n");
  EXPECT_EQ(*ReadFile(directory / "train_eval_result.txt"), "{\"global_step\":10}\n");
}

TEST(RunLogTest, ARepeatedEvaluationOfAFinishedJobIsWrittenOnce) {
  TemporaryDirectory directory;
  ASSERT_TRUE(WriteFileAtomically(directory / "train_eval_result.txt", "{\"global_step\":10,\"auc\":0.5}\n").ok());
  auto log = RunLog::Open(directory.path(), 10);
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_EQ(log->last_evaluated_step(), 10);
  ASSERT_TRUE(log->Evaluation({10, {{"auc", 0.5}}}).ok());
  EXPECT_EQ(*ReadFile(directory / "train_eval_result.txt"), "{\"global_step\":10,\"auc\":0.5}\n");
  ASSERT_TRUE(log->Evaluation({10, {{"auc", 0.25}}}).ok());  // other data: the last word on step 10
  EXPECT_EQ(*ReadFile(directory / "train_eval_result.txt"), "{\"global_step\":10,\"auc\":0.25}\n");
}

TEST(RunLogTest, AFreshRunStartsWithEmptyFiles) {
  TemporaryDirectory directory;
  ASSERT_TRUE(WriteFileAtomically(directory / "metrics.jsonl", "{\"step\":5}\n").ok());
  ASSERT_TRUE(RunLog::Open(directory.path(), 0).ok());
  EXPECT_EQ(*ReadFile(directory / "metrics.jsonl"), "");
}

TEST(RunLogTest, SamplesPerSecondLeavesOutSavingAndEvaluatingWhereverTheyStand) {
  TemporaryDirectory directory;
  double seconds = 0;  // since the log was opened
  RunLogOptions options;
  options.metrics_textfile = directory / "pepnet.prom";
  options.now = [&] {
    return std::chrono::steady_clock::time_point() +
           std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(seconds));
  };
  auto log = RunLog::Open(directory.path(), 0, options);
  ASSERT_TRUE(log.ok()) << log.status();
  StageTimes times;
  StepRecord record;
  const auto rate = [&](double until, int64_t rows) {
    seconds = until;
    record.rows += rows;
    ++record.step;
    EXPECT_TRUE(log->Step(record, times).ok());
    const std::string text = *ReadFile(directory / "metrics.jsonl");
    const std::string last = text.substr(text.rfind('\n', text.size() - 2) + 1);
    const double logged = nlohmann::json::parse(last)["samples_per_second"].get<double>();
    EXPECT_NE(ReadFile(options.metrics_textfile)->find(absl::StrFormat("pepnet_samples_per_second %.17g\n", logged)),
              std::string::npos);
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

TEST(RunLogTest, AStepBecomesOneLine) {
  TemporaryDirectory directory;
  auto log = RunLog::Open(directory.path(), 0);
  ASSERT_TRUE(log.ok()) << log.status();
  StepRecord record;
  record.step = 3;
  record.loss_names = {"l2_loss_a", "l2_loss_b"};
  record.losses = {0.25, 0.5};
  ASSERT_TRUE(log->Step(record, StageTimes()).ok());
  const std::string line = *ReadFile(directory / "metrics.jsonl");
  EXPECT_NE(line.find(R"("step":3)"), std::string::npos) << line;
  EXPECT_NE(line.find(R"("total_loss":0.75)"), std::string::npos) << line;
}

}  // namespace
}  // namespace pepnet

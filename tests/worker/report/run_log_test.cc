#include "worker/report/run_log.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/file/file.h"
#include "tests/support/cluster.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

TEST(RunLogTest, EvaluationLineStartsWithTheStepAndTurnsNanIntoNull) {
  EXPECT_EQ(EvaluationJson(7, {{"auc_ctr", 0.5}, {"a", std::numeric_limits<double>::quiet_NaN()}}),
            R"({"global_step":7,"a":null,"auc_ctr":0.5})");
}

TEST(RunLogTest, ResumingCutsTheFilesBackToTheRestoredStep) {
  TemporaryDirectory directory;
  ASSERT_OK(WriteFileAtomically(directory / "metrics.jsonl", "{\"step\":5}\n{\"step\":10}\n{\"step\":15}\n{\"st"));
  ASSERT_OK(WriteFileAtomically(directory / "train_eval_result.txt", "{\"global_step\":10}\n{\"global_step\":20}\n"));
  ASSERT_OK(RunLog::Open(directory.path(), 10));
  EXPECT_EQ(*ReadFile(directory / "metrics.jsonl"), "{\"step\":5}\n{\"step\":10}\n");
  EXPECT_EQ(*ReadFile(directory / "train_eval_result.txt"), "{\"global_step\":10}\n");
}

TEST(RunLogTest, ARepeatedEvaluationOfAFinishedJobIsWrittenOnce) {
  TemporaryDirectory directory;
  ASSERT_OK(WriteFileAtomically(directory / "train_eval_result.txt", "{\"global_step\":10,\"auc\":0.5}\n"));
  ASSERT_OK_AND_ASSIGN(auto log, RunLog::Open(directory.path(), 10));
  EXPECT_EQ(log.last_evaluated_step(), 10);
  ASSERT_OK(log.Evaluation(10, {{"auc", 0.5}}));
  EXPECT_EQ(*ReadFile(directory / "train_eval_result.txt"), "{\"global_step\":10,\"auc\":0.5}\n");
  ASSERT_OK(log.Evaluation(10, {{"auc", 0.25}}));  // other data: the last word on step 10
  EXPECT_EQ(*ReadFile(directory / "train_eval_result.txt"), "{\"global_step\":10,\"auc\":0.25}\n");
}

TEST(RunLogTest, AFreshRunStartsWithEmptyFiles) {
  TemporaryDirectory directory;
  ASSERT_OK(WriteFileAtomically(directory / "metrics.jsonl", "{\"step\":5}\n"));
  ASSERT_OK(RunLog::Open(directory.path(), 0));
  EXPECT_EQ(*ReadFile(directory / "metrics.jsonl"), "");
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

#include "worker/train/train_report.h"

#include <gtest/gtest.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_split.h"
#include "common/file/file.h"
#include "tests/support/cluster.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"
#include "worker/train/trainer.h"

namespace pepnet {
namespace {

constexpr int kBatch = 4;

// 60 steps of kBatch rows in one epoch; evaluates after every 8 steps, logs every 12.
JobConfig EvaluatingJob(const std::string& directory) {
  RandomJobOptions options;
  options.rows = 60 * kBatch;
  options.batch_size = kBatch;
  options.num_epochs = 1;
  JobConfig config = MakeRandomJob(directory, options);
  config.train.save_checkpoints_steps = 8;
  config.train.log_step_count_steps = 12;
  return config;
}

std::vector<std::string> Lines(const std::string& path) {
  return absl::StrSplit(*ReadFile(path), '\n', absl::SkipEmpty());
}

// The seconds behind samples_per_second hold all that was done in the steps it counts, wherever an
// evaluation stood.
TEST(TrainReportTest, SamplesPerSecondCountsTheWorkOfAllItsSteps) {
  TemporaryDirectory directory;
  JobConfig config = EvaluatingJob(directory.path());
  config.train.num_epochs = 0;
  config.train.num_steps = 24;
  ASSERT_OK(Train(config, {1, 1, {}}, TestOptions()));
  nlohmann::json before;
  int intervals = 0;
  for (const std::string& line : Lines(config.model_dir + "/metrics.jsonl")) {
    const nlohmann::json now = nlohmann::json::parse(line);
    if (!before.is_null()) {
      const double rows = kBatch * (now["step"].get<double>() - before["step"].get<double>());
      double work = 0;
      for (const char* stage : {"read", "pull", "pool", "compute", "push", "allreduce", "update"}) {
        work += now["stage_seconds"][stage].get<double>() - before["stage_seconds"][stage].get<double>();
      }
      EXPECT_GE(rows / now["samples_per_second"].get<double>(), 0.999 * work) << line;
      ++intervals;
    }
    before = now;
  }
  EXPECT_EQ(intervals, 1);
}

TEST(TrainReportTest, AStoppedRunKeepsItsLastEvaluationWithTheStepItBelongsTo) {
  TemporaryDirectory directory;
  const JobConfig config = EvaluatingJob(directory.path());
  std::atomic<int> stop = 0;
  RunOptions options = TestOptions();
  options.stop_request = &stop;
  EvaluationResult evaluation;
  int64_t finished_steps = 0;
  const Status status = RunCluster(config, {1, 1, {}}, options, [&](const WorkerContext& context) -> Status {
    Trainer trainer(context);
    PEPNET_RETURN_IF_ERROR(trainer.Start());
    for (bool more = true; more;) {
      PEPNET_ASSIGN_OR_RETURN(more, trainer.Step());
      if (trainer.state().counters.finished_steps == 18) stop = 1;
    }
    EXPECT_TRUE(trainer.stopped());
    evaluation = trainer.evaluation();
    finished_steps = trainer.state().counters.finished_steps;
    return trainer.FinishSave();
  });
  ASSERT_OK(status);
  EXPECT_GT(finished_steps, 18);
  EXPECT_LT(finished_steps, 24);
  EXPECT_EQ(evaluation.step, 16);
  EXPECT_EQ(EvaluationJson(evaluation), Lines(config.model_dir + "/train_eval_result.txt").back());
}

}  // namespace
}  // namespace pepnet

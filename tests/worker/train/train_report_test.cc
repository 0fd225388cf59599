#include "worker/train/train_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
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
        work += now["stage_seconds"][stage].get<double>() -
                before["stage_seconds"][stage].get<double>();
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
  const Status status =
      RunCluster(config, {1, 1, {}}, options, [&](const WorkerContext& context) -> Status {
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

// A word list that lacks two thirds of the words, and a label that a feature tells.
TEST(TrainReportTest, TheWarningsOfARunAreThoseOfAnyNumberOfWorkers) {
  const auto warnings_of = [](int workers) {
    TemporaryDirectory directory;
    RandomJobOptions options;
    options.rows = 600;
    options.batch_size = 6 / workers;
    options.num_epochs = 1;
    options.word_rows = "vocab_list: \"w1\" vocab_list: \"w2\" vocab_list: \"w3\"";
    options.words = 9;
    options.train_extra = "log_step_count_steps: 1000000";
    JobConfig config = MakeRandomJob(directory.path(), options);
    for (Feature& feature : config.features) {
      if (feature.name == "iid") feature.column = "clk";
    }
    EXPECT_OK(Train(config, {workers, 2, {}}, TestOptions()));
    std::vector<std::string> lines = Lines(config.model_dir + "/warnings.jsonl");
    for (std::string& line : lines) {
      const nlohmann::json json = nlohmann::json::parse(line);
      EXPECT_EQ(json["step"], 100) << line;
      line = absl::StrCat(json["kind"].get<std::string>(), " ", json["subject"].get<std::string>(),
                          ": ", json["text"].get<std::string>());
    }
    return lines;
  };
  const std::vector<std::string> alone = warnings_of(1);
  ASSERT_EQ(alone.size(), 4u) << absl::StrJoin(alone, "\n");
  EXPECT_THAT(alone[0],
              testing::MatchesRegex(
                  "vocabulary word, eval rows: feature word \\(column word\\): its vocabulary "
                  "lacks [34].. of 600 tokens of the eval rows \\(.* %\\), 'w[04-8]' for .*"));
  // The eval files are the train files.
  EXPECT_THAT(alone[1],
              testing::StartsWith(
                  "overlap rows: 100.0 % of 38 training rows looked at stand among the eval "));
  EXPECT_THAT(alone[2],
              testing::StartsWith(
                  "leak iid clk: feature iid (column clk) tells label clk: all rows in which it "
                  "is 0 hold the same value, and no other of the 600 rows"));
  EXPECT_THAT(alone[3], testing::StartsWith("vocabulary word, training rows: "));
  EXPECT_EQ(warnings_of(3), alone);
}

// The first evaluations are of a model that has not learnt its averages: what they alone show is
// not said.
TEST(TrainReportTest, PredictionsAreOffOnlyIfTheNextEvaluationIsNoBetterOrNoneFollows) {
  TemporaryDirectory directory;
  const JobConfig config = MakeRandomJob(directory.path(), {});
  const Warning off{warning_kinds::kCalibration, "ctr", "off", 0.5},
      less{warning_kinds::kCalibration, "ctr", "off", 0.45};
  const Warning leak{warning_kinds::kLeak, "auc_ctr", "too good"};
  const std::string path = config.model_dir + "/warnings.jsonl";
  ASSERT_OK(
      RunCluster(config, {1, 1, {}}, TestOptions(), [&](const WorkerContext& context) -> Status {
        TrainSession session(&context);
        PEPNET_RETURN_IF_ERROR(session.Restore());
        TrainReport report(&context);
        PEPNET_RETURN_IF_ERROR(report.Open(session));
        PEPNET_RETURN_IF_ERROR(report.Evaluated({1, {}, {}, {}, {off, leak}}));
        EXPECT_EQ(Lines(path).size(), 1u);
        PEPNET_RETURN_IF_ERROR(report.Evaluated({2, {}, {}, {}, {}}));
        PEPNET_RETURN_IF_ERROR(report.Evaluated({3, {}, {}, {}, {off}}));
        EXPECT_EQ(Lines(path), std::vector<std::string>{WarningJson(1, leak)});
        PEPNET_RETURN_IF_ERROR(report.Evaluated({4, {}, {}, {}, {less}}));
        EXPECT_EQ(Lines(path), std::vector<std::string>{WarningJson(1, leak)})
            << "it is getting better";
        PEPNET_RETURN_IF_ERROR(report.Evaluated({5, {}, {}, {}, {less}}));
        EXPECT_EQ(Lines(path),
                  (std::vector<std::string>{WarningJson(1, leak), WarningJson(5, less)}));
        return absl::OkStatus();
      }));
}

}  // namespace
}  // namespace pepnet

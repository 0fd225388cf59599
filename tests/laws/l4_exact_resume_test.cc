// Law L4, exact resume: a run that stops and goes on ends in the bits of the run that did not.
// Mutants under which a test here must fail are named in common/base/mutant.h.
#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "tests/laws/law_support.h"
#include "tests/support/cluster.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"
#include "worker/train/trainer.h"

namespace pepnet {
namespace {

// Trains `steps` steps with two workers and two servers, and ends as if killed, when no save is
// under way.
Status TrainAndKill(const JobConfig& config, int64_t steps) {
  return RunCluster(config, {2, 2, {}}, TestOptions(), [&](const WorkerContext& context) -> Status {
    Trainer trainer(context);
    PEPNET_RETURN_IF_ERROR(trainer.Start());
    for (int64_t step = 0; step < steps; ++step) PEPNET_RETURN_IF_ERROR(trainer.Step().status());
    PEPNET_RETURN_IF_ERROR(trainer.FinishSave());  // so that there is a checkpoint to go on from
    return absl::CancelledError("as if killed");
  });
}

// The output of `job`, checkpoints every 5 steps, when it ends after `steps` and goes on, is what
// it writes undisturbed.
void ExpectTheSameBits(const RandomJobOptions& job, int steps) {
  TemporaryDirectory directory;
  const JobConfig undisturbed =
      OfAllValueKinds(MakeRandomJob(directory.path(), job, "undisturbed"));
  ASSERT_OK(Train(undisturbed, {2, 2, {}}, TestOptions()));

  JobConfig disturbed = OfAllValueKinds(MakeRandomJob(directory.path(), job, "disturbed"));
  disturbed.train.save_checkpoints_steps = 5;
  ASSERT_FALSE(TrainAndKill(disturbed, steps).ok());
  ASSERT_OK(Train(disturbed, {2, 2, {}}, Continue()));
  EXPECT_EQ(CheckpointDifference(Newest(undisturbed), Newest(disturbed)), "");
  // The end of the run is reported alike, too (a stop before the first checkpoint leaves nothing to
  // compare with).
  auto last_line = [](const JobConfig& config) {
    const std::string text = *ReadFile(config.model_dir + "/train_eval_result.txt");
    return text.substr(text.rfind('\n', text.size() - 2) + 1);
  };
  EXPECT_EQ(last_line(undisturbed), last_line(disturbed));
}

class L4Resume : public ::testing::TestWithParam<std::tuple<int, bool, int>> {};

TEST_P(L4Resume, ARunThatStopsAndContinuesEndsInTheSameBits) {
  const auto& [stop_after, shuffle, window] = GetParam();
  RandomJobOptions options;
  options.batch_size = 4;
  options.shuffle = shuffle;
  options.sparse_optimizer = "adagrad_optimizer { lr: 0.05 }";
  options.train_extra = absl::StrCat("gradient_accumulation_steps: ", window);
  ExpectTheSameBits(options, stop_after);
}

INSTANTIATE_TEST_SUITE_P(Stops, L4Resume,
                         ::testing::Values(std::tuple(3, true, 1), std::tuple(7, true, 1),
                                           std::tuple(13, false, 1), std::tuple(14, true, 1),
                                           std::tuple(21, true, 1), std::tuple(7, true, 3),
                                           std::tuple(12, false, 4)));

TEST(L4Resume, PartOptimizersAndAveragesGoOnAsIfNothingHadHappened) {
  RandomJobOptions options;
  options.batch_size = 4;
  options.dense_optimizer =
      "adam_optimizer { lr: 0.01 } ema { decay: 0.8 } "
      "part_optimizers { regex_pattern: '.*_task_tower.*' sgd_optimizer { lr: 0.1 momentum: 0.7 } "
      "} "
      "part_optimizers { regex_pattern: '.*bias' adagrad_optimizer { lr: 0.05 } "
      "exponential_decay_learning_rate { decay_size: 3 } }";
  for (const int window : {1, 3}) {
    options.train_extra = absl::StrCat("gradient_accumulation_steps: ", window);
    for (const int steps : {3, 7, 13}) ExpectTheSameBits(options, steps);
  }
}

// Running statistics move in every micro-batch, and nothing else knows them.
TEST(L4Resume, RunningStatisticsGoOnAsIfNothingHadHappened) {
  RandomJobOptions options;
  options.batch_size = 4;
  options.batch_norm = options.pareto_weights = true;
  options.dense_optimizer = "adamw_optimizer { lr: 0.01 weight_decay: 0.1 } ema { decay: 0.8 }";
  options.train_extra = "gradient_accumulation_steps: 2";
  for (const int steps : {7, 12}) ExpectTheSameBits(options, steps);
}

TEST(L4Resume, CandidatesAndRowsThatLeaveGoOnAsIfNothingHadHappened) {
  for (RandomJobOptions options : {LivingTableJob(), FilteredTableJob(), ScoredTableJob()}) {
    options.batch_size = 4;
    options.sparse_optimizer = "adagrad_optimizer { lr: 0.05 }";
    for (const int steps : {16, 44}) ExpectTheSameBits(options, steps);
  }
}

// Windows of train metrics, their slices, the rows that wait for one, and those of open windows.
TEST(L4Resume, TrainMetricsBySliceGoOnAsIfNothingHadHappened) {
  RandomJobOptions options;
  options.batch_size = 4;
  TemporaryDirectory directory;
  const auto job = [&](const std::string& name) {
    JobConfig config = MakeRandomJob(directory.path(), options, name);
    TrainMetric& metric = config.model.towers[0].train_metrics.emplace_back();
    metric.metric = config.model.towers[0].metrics[0];
    metric.decay_step = 6;
    for (const MetricKind kind : {MetricKind::kPcoc, MetricKind::kGroupedAuc}) {
      TrainMetric& other = config.model.towers[0].train_metrics.emplace_back();
      other.metric = {.kind = kind, .name = absl::StrCat(TypeOf(kind).name, "_ctr")};
      if (kind == MetricKind::kGroupedAuc) other.metric.grouping_feature = 5;
      other.decay_step = 6;
    }
    EXPECT_EQ(config.features[5].name, "dom") << "three groups, with both classes";
    config.eval.slice_by = {{config.features[0].name, /*feature=*/0, /*label=*/-1}};
    config.eval.slice_top = 9;
    config.train.log_step_count_steps = 2;
    return config;
  };
  const JobConfig undisturbed = job("undisturbed");
  ASSERT_OK(Train(undisturbed, {2, 2, {}}, TestOptions()));
  const std::string slices = *ReadFile(undisturbed.model_dir + "/train_slices.jsonl");
  EXPECT_NE(slices.find("\"slice\":\"rest\""), std::string::npos) << slices;
  for (const int steps : {5, 7, 11, 13}) {
    JobConfig disturbed = job(absl::StrCat("disturbed", steps));
    disturbed.train.save_checkpoints_steps = 5;
    ASSERT_FALSE(TrainAndKill(disturbed, steps).ok());
    ASSERT_OK(Train(disturbed, {2, 2, {}}, Continue()));
    EXPECT_EQ(*ReadFile(Newest(disturbed) + "/trainer.json"),
              *ReadFile(Newest(undisturbed) + "/trainer.json"))
        << steps;
    EXPECT_EQ(*ReadFile(disturbed.model_dir + "/train_slices.jsonl"), slices) << steps;
  }
}

// Labels that have nothing to do with the features: the loss on other rows soon rises, and patience
// runs out.
TEST(L4Resume, ARunThatStopsForWantOfABetterEvaluationStopsBehindTheSameStep) {
  RandomJobOptions options;
  options.rows = 96;
  options.batch_size = 4;
  options.num_epochs = 40;
  options.dropout = 0;
  options.train_extra =
      "keep_best { metric: 'binary_cross_entropy_ctr' } patience: 3 keep_checkpoint_max: 2";
  TemporaryDirectory directory, other;
  RandomJobOptions other_rows = options;
  other_rows.data_seed = 2;
  WriteRandomJob(other.path(), other_rows);
  const auto job = [&](const std::string& name) {
    JobConfig config = MakeRandomJob(directory.path(), options, name);
    config.eval_input_path = other / "train-0.csv";
    config.train.save_checkpoints_steps = 4;
    return config;
  };
  const JobConfig undisturbed = job("undisturbed");
  ASSERT_OK(Train(undisturbed, {2, 2, {}}, TestOptions()));
  const std::vector<int64_t> kept = *ListCheckpoints(undisturbed.model_dir);
  const int64_t last = kept.back();
  ASSERT_EQ(kept.size(), 3u);  // the best one and the two newest
  EXPECT_EQ(last, kept.front() + 3 * 4);
  ASSERT_LT(last, 40 * 96 / 8) << "the job never over-fitted";
  const std::string best = *ReadFile(undisturbed.model_dir + "/best_checkpoint.json");
  EXPECT_NE(best.find(CheckpointName(kept.front())), std::string::npos) << best;

  for (const int64_t steps : {int64_t{5}, last - 9, last - 5, last - 1}) {
    const JobConfig disturbed = job(absl::StrCat("disturbed", steps));
    ASSERT_FALSE(TrainAndKill(disturbed, steps).ok());
    ASSERT_OK(Train(disturbed, {2, 1, {}}, Continue()));
    EXPECT_EQ(*ListCheckpoints(disturbed.model_dir), kept) << steps;
    EXPECT_EQ(CheckpointDifference(Newest(undisturbed), Newest(disturbed)), "") << steps;
    EXPECT_EQ(*ReadFile(disturbed.model_dir + "/best_checkpoint.json"), best) << steps;
    EXPECT_EQ(*ReadFile(disturbed.model_dir + "/train_eval_result.txt"),
              *ReadFile(undisturbed.model_dir + "/train_eval_result.txt"))
        << steps;
  }
}

TEST(L4Resume, WithAnotherNumberOfServers) {
  RandomJobOptions options;
  options.batch_size = 4;
  TemporaryDirectory directory;
  const JobConfig undisturbed = MakeRandomJob(directory.path(), options, "undisturbed");
  ASSERT_OK(Train(undisturbed, {1, 1, {}}, TestOptions()));
  const JobConfig whole = MakeRandomJob(directory.path(), options, "resharded");
  JobConfig half = whole;
  half.train.num_epochs = 1;
  ASSERT_OK(Train(half, {1, 3, {}}, TestOptions()));
  ASSERT_OK(Train(whole, {1, 2, {}}, Continue()));
  EXPECT_EQ(CheckpointDifference(Newest(undisturbed), Newest(whole)), "");
}

TEST(L4Resume, AFinishedJobEvaluatesAgainAndChangesNothing) {
  RandomJobOptions options;
  TemporaryDirectory directory;
  const JobConfig config = MakeRandomJob(directory.path(), options);
  ASSERT_OK(Train(config, {1, 1, {}}, TestOptions()));
  const std::string before = Newest(config);
  const std::string dense = *ReadFile(before + "/dense.safetensors");
  ASSERT_OK(Train(config, {1, 2, {}}, Continue()));
  EXPECT_EQ(Newest(config), before);
  EXPECT_EQ(*ReadFile(before + "/dense.safetensors"), dense);
}

}  // namespace
}  // namespace pepnet

#include "worker/metrics/train_metrics.h"

#include <gtest/gtest.h>

#include <mutex>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/checkpoint/checkpoint.h"
#include "common/config/load.h"
#include "common/file/file.h"
#include "common/net/in_process.h"
#include "tests/support/cluster.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"
#include "worker/metrics/metric_counts.h"

namespace pepnet {
namespace {

JobConfig Config(double decay_rate, int64_t decay_step) {
  JobConfig config;
  config.model.towers.resize(2);
  TrainMetric auc;
  auc.metric = {MetricKind::kAuc, "auc_a", 3, 0.5, -1};
  auc.decay_rate = decay_rate;
  auc.decay_step = decay_step;
  TrainMetric error = auc;
  error.metric = {MetricKind::kMeanAbsoluteError, "mean_absolute_error_b", 0, 0.5, -1};
  config.model.towers[0].train_metrics = {auc};
  config.model.towers[1].train_metrics = {error};
  config.model.towers[0].label = config.model.towers[1].label = 0;
  config.data.labels = {"y"};
  return config;
}

Batch Rows(const std::vector<float>& labels) {
  Batch batch;
  batch.rows = static_cast<int64_t>(labels.size());
  batch.labels.resize(1);
  batch.labels[0].values = labels;
  return batch;
}

// The same on `workers` threads; worker w takes part w of each step.
void OnWorkers(int workers, const std::function<Status(Collective*)>& body) {
  std::vector<int> ranks;
  for (int w = 0; w < workers; ++w) ranks.push_back(w);
  const Status status = RunRanks(workers, {}, [&](int, Transport* transport) -> Status {
    return body(MakeCollective(transport, Channel::kDense, ranks, 30).get());
  });
  EXPECT_OK(status);
}

TEST(TrainMetricsTest, CountsDecayAtTheEndOfEachWindow) {
  const JobConfig config = Config(0.75, 2);
  OnWorkers(1, [&](Collective* collective) -> Status {
    TrainMetrics metrics(&config);
    auto step = [&](const std::vector<float>& labels, const std::vector<float>& scores) -> Status {
      metrics.Add(Rows(labels), {scores, scores});
      return metrics.EndStep(collective);
    };
    PEPNET_RETURN_IF_ERROR(step({1, 0}, {0.75f, 0.25f}));
    EXPECT_TRUE(metrics.Values().empty()) << "no window has ended";
    PEPNET_RETURN_IF_ERROR(step({0}, {0.75f}));
    // Thresholds 0, 0.5, 1. At 0.5: 1 of 1 positives, 1 of 2 negatives.
    const double first_auc = BinnedAuc({1, 1, 0}, {2, 1, 0}, 1, 2), first_error = (0.25 + 0.25 + 0.75) / 3;
    EXPECT_DOUBLE_EQ(metrics.Values().at("auc_a"), first_auc);
    EXPECT_DOUBLE_EQ(metrics.Values().at("mean_absolute_error_b"), first_error);
    PEPNET_RETURN_IF_ERROR(step({1, 1}, {0.25f, 0.75f}));
    EXPECT_DOUBLE_EQ(metrics.Values().at("auc_a"), first_auc) << "the value stays until the window ends";
    PEPNET_RETURN_IF_ERROR(step({}, {}));
    // 0.75 of the old counts and 0.25 of the new: positives 0.75 + 0.5, of them above 0.5: 0.75 + 0.25.
    EXPECT_DOUBLE_EQ(metrics.Values().at("auc_a"), BinnedAuc({1.25, 1, 0}, {1.5, 0.75, 0}, 1.25, 1.5));
    EXPECT_DOUBLE_EQ(metrics.Values().at("mean_absolute_error_b"), 0.75 * first_error + 0.25 * 0.5);
    return absl::OkStatus();
  });
}

TEST(TrainMetricsTest, AnyNumberOfWorkersAndAStopInsideAWindowGiveTheSameValues) {
  const JobConfig config = Config(0.5, 3);
  auto run = [&](int workers, bool interrupted) {
    std::map<std::string, double> values;
    std::map<std::string, std::vector<double>> state;
    std::mutex mutex;
    const std::vector<int> stops = interrupted ? std::vector<int>{0, 5, 9} : std::vector<int>{0, 9};
    for (size_t leg = 0; leg + 1 < stops.size(); ++leg) {
      OnWorkers(workers, [&, begin = stops[leg], end = stops[leg + 1]](Collective* collective) -> Status {
        TrainMetrics metrics(&config);
        if (begin > 0) {
          EXPECT_TRUE(metrics.Restore(state, collective->index() == 0).empty());
        }
        PEPNET_RETURN_IF_ERROR(collective->Barrier("state read"));
        for (int step = begin; step < end; ++step) {
          std::vector<float> labels, scores;
          for (int row = collective->index(); row < 12; row += workers) {
            labels.push_back(static_cast<float>((row * 7 + step) % 3 == 0));
            scores.push_back(static_cast<float>((row * 5 + step * 3) % 9) / 8);
          }
          metrics.Add(Rows(labels), {scores, scores});
          PEPNET_RETURN_IF_ERROR(metrics.EndStep(collective));
        }
        PEPNET_RETURN_IF_ERROR(metrics.Gather(collective));
        const std::lock_guard<std::mutex> lock(mutex);
        if (collective->index() == 0) state = metrics.State();
        if (collective->index() == 0) values = metrics.Values();
        return absl::OkStatus();
      });
    }
    return values;
  };
  const auto expected = run(1, false);
  ASSERT_EQ(expected.size(), 2u);
  EXPECT_GT(expected.at("auc_a"), 0);
  EXPECT_EQ(run(3, false), expected);
  EXPECT_EQ(run(3, true), expected);
}

TEST(TrainMetricsTest, AStateThatDoesNotFitIsNamedAndLeftOut) {
  const JobConfig config = Config(0.5, 3);
  TrainMetrics metrics(&config);
  EXPECT_EQ(metrics.Restore({{"auc_a", {1, 2, 3}}}, true),
            (std::vector<std::string>{"auc_a", "mean_absolute_error_b"}));
  EXPECT_TRUE(metrics.Values().empty());
}

// Whole jobs: with routing off for the tower, weights as without train metrics; a resumed run's counts are the undisturbed run's.
TEST(TrainMetricsTest, AJobThatStopsAndContinuesKeepsItsCounts) {
  RandomJobOptions options;
  options.batch_size = 4;
  TemporaryDirectory directory;
  const std::string text =
      absl::StrReplaceAll(WriteRandomJob(directory.path(), options),
                          {{"metrics { auc {} } losses",
                            "train_metrics { auc {} decay_rate: 0.5 decay_step: 3 } metrics { auc {} } losses"}});
  auto make = [&](const std::string& name) {
    ConfigOverrides overrides;
    overrides.model_dir = directory / name;
    auto config = ParseJobConfig(text, "job", overrides);
    EXPECT_OK(config);
    return *config;
  };
  const JobConfig undisturbed = make("undisturbed");
  JobConfig disturbed = make("disturbed");
  disturbed.train.save_checkpoints_steps = 5;
  ASSERT_OK(Train(undisturbed, {2, 2, {}}, TestOptions()));
  EXPECT_FALSE(RunCluster(disturbed, {2, 2, {}}, TestOptions(), [&](const WorkerContext& context) -> Status {
                 Trainer trainer(context);
                 PEPNET_RETURN_IF_ERROR(trainer.Start());
                 for (int step = 0; step < 8; ++step) PEPNET_RETURN_IF_ERROR(trainer.Step().status());
                 return absl::CancelledError("as if killed");
               }).ok());
  ASSERT_OK(Train(disturbed, {2, 2, {}}, TestOptions(/*continue_train=*/true)));
  const std::string a = *ResolveCheckpoint(undisturbed.model_dir), b = *ResolveCheckpoint(disturbed.model_dir);
  EXPECT_EQ(CheckpointDifference(a, b), "");
  const std::string trainer = *ReadFile(a + "/trainer.json");
  EXPECT_NE(trainer.find("\"auc_cvr\""), std::string::npos) << trainer;
  EXPECT_EQ(trainer, *ReadFile(b + "/trainer.json"));

  const std::string metrics = *ReadFile(undisturbed.model_dir + "/metrics.jsonl");
  EXPECT_NE(metrics.find("\"auc_cvr\":0."), std::string::npos) << metrics;
}

}  // namespace
}  // namespace pepnet

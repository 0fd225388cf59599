// Law L2 of what is measured: any number of workers finds the same bits, given the same weights.
// Mutants under which a test here must fail are named in common/base/mutant.h.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/laws/law_support.h"
#include "tests/support/cluster.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"
#include "worker/eval/inference.h"
#include "worker/explain/explain_report.h"
#include "worker/explain/feature_importance.h"
#include "worker/metrics/bootstrap.h"
#include "worker/metrics/train_metrics.h"
#include "worker/report/run_log.h"
#include "worker/report/slice_report.h"

namespace pepnet {
namespace {

// A job of 101 rows, trained, so that its predictions differ; the last global batch of any of these
// has another size than the others.
JobConfig TrainedJob(const std::string& directory) {
  RandomJobOptions options;
  options.batch_size = 12;
  const JobConfig config = MakeRandomJob(directory, options);
  EXPECT_OK(Train(config, {1, 1, {}}, TestOptions()));
  return config;
}

// The report of worker 0 of so many.
std::string TextOfFirst(int workers,
                        const std::function<StatusOr<std::string>(int rank, Collective*)>& work) {
  std::string text;
  std::vector<int> ranks(static_cast<size_t>(workers));
  std::iota(ranks.begin(), ranks.end(), 0);
  EXPECT_OK(RunRanks(workers, {}, [&](int rank, Transport* transport) -> Status {
    const auto collective = MakeCollective(transport, Channel::kDense, ranks, 30);
    PEPNET_ASSIGN_OR_RETURN(std::string said, work(rank, collective.get()));
    if (rank == 0) text = std::move(said);
    return absl::OkStatus();
  }));
  return text;
}

// One worker's rows of a step of 40: label y, a tab of seven, a user of five, and their scores.
Batch BatchOf(int step, int rank, int workers, std::vector<float>* scores) {
  Batch batch;
  batch.labels.resize(2);
  batch.ids.resize(1);
  batch.ids[0].offsets = {0};
  for (int row = rank; row < 40; row += workers) {
    const int tab = (row * row + step) % 7;  // more values than slices
    batch.labels[0].values.push_back(static_cast<float>((row * 7 + step) % 3 == 0));
    batch.labels[1].values.push_back(static_cast<float>(tab));
    batch.labels[1].integers.push_back(tab);
    batch.ids[0].ids.push_back((row + step) % 5);
    batch.ids[0].offsets.push_back(static_cast<int32_t>(batch.ids[0].ids.size()));
    scores->push_back(static_cast<float>((row * 5 + step * 3) % 17) / 17);
    ++batch.rows;
  }
  return batch;
}

TEST(L2Measures, ExplainFindsTheSameBitsForAnyNumberOfWorkers) {
  TemporaryDirectory directory;
  const JobConfig config = TrainedJob(directory.path());
  const auto explained = [&](int workers) {
    std::string text;
    EXPECT_OK(RunCluster(
        config, {workers, 2, {}}, TestOptions(), [&](const WorkerContext& context) -> Status {
          PEPNET_ASSIGN_OR_RETURN(
              InferenceModel inference,
              OpenForInference(context, config.model_dir, DenseValues::kWeights));
          PEPNET_ASSIGN_OR_RETURN(RowBlocks rows,
                                  ReadRowBlocks(context, config.eval_input_path, 95));
          PEPNET_ASSIGN_OR_RETURN(
              const Importance importance,
              ExplainFeatures(context, inference.model.get(), &rows, inference.finished_steps, 5));
          if (context.first()) text = ExplanationJson({}, importance, {});
          return absl::OkStatus();
        }));
    return text;
  };
  const std::string alone = explained(1);
  EXPECT_NE(alone.find("\"auc_drop\":0."), std::string::npos) << alone;
  for (int workers : {2, 3, 4}) EXPECT_EQ(explained(workers), alone) << workers;
}

// Of predictions that are made up, and so the same to the bit for any number of workers, as in the
// next test.
TEST(L2Measures, BootstrapIntervalsAreTheSameBitsForAnyNumberOfWorkers) {
  JobConfig config;
  config.data.labels = {"y"};
  Tower& tower = config.model.towers.emplace_back();
  tower.name = "y";
  tower.label = 0;
  tower.losses.emplace_back();
  const auto intervals = [&](int workers) {
    return TextOfFirst(workers, [&](int rank, Collective* collective) -> StatusOr<std::string> {
      BootstrapSet set(&config, /*rounds=*/40, /*seed=*/3);
      // Global batches, of which each worker has a slice.
      for (int64_t begin = 0; begin < 101; begin += 12) {
        Batch batch;
        batch.global_rows = std::min<int64_t>(12, 101 - begin);
        const int64_t share = (12 + workers - 1) / workers;
        batch.first_row = std::min(batch.global_rows, share * rank);
        batch.rows = std::min(batch.global_rows, share * (rank + 1)) - batch.first_row;
        LabelColumn& label = batch.labels.emplace_back();
        std::vector<float> scores;
        for (int64_t row = begin + batch.first_row; row < begin + batch.first_row + batch.rows;
             ++row) {
          label.values.push_back(static_cast<float>(row * 7 % 3 == 0));
          scores.push_back(static_cast<float>(row * 5 % 17) / 17);
        }
        set.Add(batch, {scores});
      }
      PEPNET_ASSIGN_OR_RETURN(const std::vector<TaskIntervals> found, set.Finish(collective, 2));
      return EvaluationJson({1, {}, {}, found});
    });
  };
  const std::string alone = intervals(1);
  EXPECT_NE(alone.find("\"low\":0."), std::string::npos) << alone;
  for (int workers : {2, 3}) EXPECT_EQ(intervals(workers), alone) << workers;
}

// Every figure of a slice, grouped AUCs too, as the file of slices has it.
TEST(L2Measures, SlicesOfAnEvaluationAreTheSameBitsForAnyNumberOfWorkers) {
  JobConfig config;
  config.data.labels = {"y", "tab"};
  config.features.resize(1);
  config.features[0].name = "user";
  Tower& tower = config.model.towers.emplace_back();
  tower.name = "click";
  tower.label = 0;
  tower.losses.emplace_back();
  tower.metrics = {{MetricKind::kGroupedAuc, "grouped_auc_click", 200, 0.5, 0}};
  config.eval.slice_by = {{"tab", -1, 1}};
  config.eval.slice_top = 3;
  const auto measured = [&](int workers) {
    return TextOfFirst(workers, [&](int rank, Collective* collective) -> StatusOr<std::string> {
      SliceSet set(&config);
      for (int step = 0; step < 7; ++step) {
        std::vector<float> scores;
        const Batch batch = BatchOf(step, rank, workers, &scores);
        PEPNET_RETURN_IF_ERROR(set.Add(batch, {scores}));
      }
      PEPNET_ASSIGN_OR_RETURN(const std::vector<Slice> slices, set.Finish(collective));
      return SliceJson(7, slices);
    });
  };
  const std::string alone = measured(1);
  EXPECT_EQ(std::count(alone.begin(), alone.end(), '\n'), 5) << alone;
  EXPECT_NE(alone.find("\"grouped_auc_by_impressions\":0."), std::string::npos) << alone;
  for (int workers : {2, 3, 5}) EXPECT_EQ(measured(workers), alone) << workers;
}

// Counts, exact sums and groups by the values of a column.
TEST(L2Measures, TrainMetricsBySliceAreTheSameBitsForAnyNumberOfWorkers) {
  JobConfig config;
  config.data.labels = {"y", "tab"};
  config.features.resize(1);
  Tower& tower = config.model.towers.emplace_back();
  tower.label = 0;
  for (const Metric& metric : std::vector<Metric>{
           {.kind = MetricKind::kAuc, .name = "auc_y", .thresholds = 20},
           {.kind = MetricKind::kNormalizedEntropy, .name = "normalized_entropy_y"},
           {.kind = MetricKind::kPcoc, .name = "pcoc_y"},
           {.kind = MetricKind::kEce, .name = "ece_y"},
           {.kind = MetricKind::kLogLoss, .name = "logloss_y"},
           {.kind = MetricKind::kGroupedAuc, .name = "grouped_auc_y", .grouping_feature = 0}}) {
    tower.train_metrics.push_back({metric, /*decay_rate=*/0.9, /*decay_step=*/3});
  }
  config.eval.slice_by = {{"tab", -1, 1}};
  config.eval.slice_top = 4;
  const auto measured = [&](int workers) {
    return TextOfFirst(workers, [&](int rank, Collective* collective) -> StatusOr<std::string> {
      TrainMetrics metrics(&config);
      for (int step = 0; step < 7; ++step) {
        std::vector<float> scores;
        const Batch batch = BatchOf(step, rank, workers, &scores);
        PEPNET_RETURN_IF_ERROR(metrics.Add(batch, {scores}));
        PEPNET_RETURN_IF_ERROR(metrics.EndStep(collective));
      }
      std::string text;
      for (const auto& [name, value] : metrics.Values()) {
        absl::StrAppendFormat(&text, "%s %a\n", name, value);
      }
      const auto add = [&text](const std::string& place, const TrainWindows& windows) {
        absl::StrAppendFormat(&text, "%s %s %d %a %d %a\n", windows.metric, place,
                              windows.window.rows, windows.window.value.value_or(-1),
                              windows.lifetime.rows, windows.lifetime.value.value_or(-1));
      };
      for (const TrainWindows& windows : metrics.Windows()) add("", windows);
      for (const TrainSlice& slice : metrics.Slices()) {
        add(absl::StrCat(slice.value, static_cast<int>(slice.kind)), slice.windows);
      }
      return text;
    });
  };
  const std::string alone = measured(1);
  // Seven numbers: decayed, by window, and of four tabs and the rest.
  EXPECT_EQ(std::count(alone.begin(), alone.end(), '\n'), 7 * 7) << alone;
  for (int workers : {2, 3, 5}) EXPECT_EQ(measured(workers), alone) << workers;
}

}  // namespace
}  // namespace pepnet

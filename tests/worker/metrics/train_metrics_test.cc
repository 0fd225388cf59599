#include "worker/metrics/train_metrics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "common/checkpoint/checkpoint.h"
#include "common/config/load.h"
#include "common/file/file.h"
#include "common/net/in_process.h"
#include "tests/support/cluster.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"
#include "worker/metrics/metric_counts.h"
#include "worker/metrics/slices.h"

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
      PEPNET_RETURN_IF_ERROR(metrics.Add(Rows(labels), {scores, scores}));
      return metrics.EndStep(collective);
    };
    PEPNET_RETURN_IF_ERROR(step({1, 0}, {0.75f, 0.25f}));
    EXPECT_TRUE(metrics.Values().empty()) << "no window has ended";
    PEPNET_RETURN_IF_ERROR(step({0}, {0.75f}));
    // Thresholds 0, 0.5, 1. At 0.5: 1 of 1 positives, 1 of 2 negatives.
    const double first_auc = BinnedAuc({1, 1, 0}, {2, 1, 0}, 1, 2),
                 first_error = (0.25 + 0.25 + 0.75) / 3;
    EXPECT_DOUBLE_EQ(metrics.Values().at("auc_a"), first_auc);
    EXPECT_DOUBLE_EQ(metrics.Values().at("mean_absolute_error_b"), first_error);
    PEPNET_RETURN_IF_ERROR(step({1, 1}, {0.25f, 0.75f}));
    EXPECT_DOUBLE_EQ(metrics.Values().at("auc_a"), first_auc)
        << "the value stays until the window ends";
    PEPNET_RETURN_IF_ERROR(step({}, {}));
    // 0.75 of the old counts and 0.25 of the new: positives 0.75 + 0.5, of them above 0.5: 0.75 +
    // 0.25.
    EXPECT_DOUBLE_EQ(metrics.Values().at("auc_a"),
                     BinnedAuc({1.25, 1, 0}, {1.5, 0.75, 0}, 1.25, 1.5));
    EXPECT_DOUBLE_EQ(metrics.Values().at("mean_absolute_error_b"), 0.75 * first_error + 0.25 * 0.5);
    return absl::OkStatus();
  });
}

// The steps from stops.front() to stops.back() on so many workers, as a run that is stopped and
// resumed at each number in between. `add` gives the metrics a worker's rows of a step; `see` is
// shown each worker's metrics at the end of each part, one worker at a time.
void RunWithStops(const JobConfig& config, int workers, const std::vector<int>& stops,
                  const std::function<Status(int step, int worker, TrainMetrics* metrics)>& add,
                  const std::function<void(int worker, const TrainMetrics& metrics)>& see) {
  std::map<std::string, std::vector<double>> state;
  std::mutex mutex;
  for (size_t part = 0; part + 1 < stops.size(); ++part) {
    OnWorkers(workers,
              [&, begin = stops[part], end = stops[part + 1]](Collective* collective) -> Status {
                TrainMetrics metrics(&config);
                if (begin > 0) {
                  EXPECT_TRUE(metrics.Restore(state, collective->index() == 0).empty());
                }
                PEPNET_RETURN_IF_ERROR(collective->Barrier("state read"));
                for (int step = begin; step < end; ++step) {
                  PEPNET_RETURN_IF_ERROR(add(step, collective->index(), &metrics));
                  PEPNET_RETURN_IF_ERROR(metrics.EndStep(collective));
                }
                {
                  const std::lock_guard<std::mutex> lock(mutex);
                  see(collective->index(), metrics);
                }
                PEPNET_RETURN_IF_ERROR(metrics.Gather(collective));
                if (collective->index() == 0) state = metrics.State();
                return absl::OkStatus();
              });
  }
}

TEST(TrainMetricsTest, AnyNumberOfWorkersAndAStopInsideAWindowGiveTheSameValues) {
  const JobConfig config = Config(0.5, 3);
  auto run = [&](int workers, bool interrupted) {
    std::map<std::string, double> values;
    RunWithStops(
        config, workers, interrupted ? std::vector<int>{0, 5, 9} : std::vector<int>{0, 9},
        [&](int step, int worker, TrainMetrics* metrics) {
          std::vector<float> labels, scores;
          for (int row = worker; row < 12; row += workers) {
            labels.push_back(static_cast<float>((row * 7 + step) % 3 == 0));
            scores.push_back(static_cast<float>((row * 5 + step * 3) % 9) / 8);
          }
          return metrics->Add(Rows(labels), {scores, scores});
        },
        [&](int worker, const TrainMetrics& metrics) {
          if (worker == 0) values = metrics.Values();
        });
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

// ---- the last window, the lifetime and slices ---------------------------------------------------

TEST(TrainMetricsTest, TheLastWindowAndTheLifetimeStandBesideTheDecayedValue) {
  const JobConfig config = Config(0.75, 2);
  OnWorkers(1, [&](Collective* collective) -> Status {
    TrainMetrics metrics(&config);
    auto window = [&](const std::vector<float>& labels,
                      const std::vector<float>& scores) -> Status {
      PEPNET_RETURN_IF_ERROR(metrics.Add(Rows(labels), {scores, scores}));
      PEPNET_RETURN_IF_ERROR(metrics.EndStep(collective));
      return metrics.EndStep(collective);  // without a row
    };
    // Thresholds 0, 0.5, 1: the positive above and the negative below 0.5, then one negative above
    // it.
    PEPNET_RETURN_IF_ERROR(window({1, 0}, {0.75f, 0.25f}));
    EXPECT_EQ(metrics.Windows()[0].metric, "auc_a");
    EXPECT_EQ(metrics.Windows()[0].window.value, 1);
    EXPECT_EQ(metrics.Windows()[0].lifetime.value, 1);
    PEPNET_RETURN_IF_ERROR(window({0}, {0.75f}));
    const TrainWindows auc = metrics.Windows()[0], error = metrics.Windows()[1];
    EXPECT_EQ(auc.window.value, std::nullopt);
    EXPECT_EQ(auc.window.why_none, "every label is 0");
    EXPECT_EQ(auc.window.rows, 1);
    EXPECT_EQ(auc.lifetime.rows, 3);
    EXPECT_DOUBLE_EQ(*auc.lifetime.value, 0.75)
        << "the positive beats one negative and ties the other";
    EXPECT_DOUBLE_EQ(*error.window.value, 0.75);
    EXPECT_DOUBLE_EQ(*error.lifetime.value, (0.25 + 0.25 + 0.75) / 3);
    PEPNET_RETURN_IF_ERROR(metrics.EndStep(collective));
    PEPNET_RETURN_IF_ERROR(metrics.EndStep(collective));
    EXPECT_EQ(metrics.Windows()[1].window.why_none, "no rows");
    EXPECT_EQ(metrics.Windows()[1].lifetime.rows, 3);
    return absl::OkStatus();
  });
}

// Rows of the column "tab", which is label 1; label 0 is what is predicted.
struct TabRow {
  int64_t tab;
  float label, score;
};

Batch TabRows(const std::vector<TabRow>& rows, std::vector<float>* scores) {
  Batch batch;
  batch.rows = static_cast<int64_t>(rows.size());
  batch.labels.resize(2);
  for (const TabRow& row : rows) {
    batch.labels[0].values.push_back(row.label);
    batch.labels[1].values.push_back(static_cast<float>(row.tab));
    batch.labels[1].integers.push_back(row.tab);
    scores->push_back(row.score);
  }
  return batch;
}

JobConfig Sliced(int top, int64_t decay_step) {
  JobConfig config = Config(0.5, decay_step);
  config.model.towers[0].name = "a";
  config.model.towers[1].name = "b";
  config.data.labels = {"y", "tab"};
  config.eval.slice_by = {{"tab", -1, 1}};
  config.eval.slice_top = top;
  return config;
}

// "tab=7 auc_a 2:- 5:0.75": rows and value of the last window and of the lifetime.
std::vector<std::string> Texts(const std::vector<TrainSlice>& slices) {
  const auto text = [](const WindowValue& window) {
    return absl::StrCat(window.rows, ":",
                        window.value.has_value() ? absl::StrCat(*window.value) : "-");
  };
  std::vector<std::string> texts;
  for (const TrainSlice& slice : slices) {
    texts.push_back(absl::StrCat(
        slice.column, "=", slice.kind == Slice::Kind::kRest ? "(rest)" : slice.value, " ",
        slice.windows.metric, " ", text(slice.windows.window), " ", text(slice.windows.lifetime)));
  }
  return texts;
}

TEST(TrainMetricsTest, ValuesGetSlicesAtTheEndOfTheirFirstWindowWhileThereIsRoom) {
  const JobConfig config = Sliced(/*top=*/2, /*decay_step=*/2);
  OnWorkers(1, [&](Collective* collective) -> Status {
    TrainMetrics metrics(&config);
    auto step = [&](const std::vector<TabRow>& rows) -> Status {
      std::vector<float> scores;
      const Batch batch = TabRows(rows, &scores);
      PEPNET_RETURN_IF_ERROR(metrics.Add(batch, {scores, scores}));
      return metrics.EndStep(collective);
    };
    PEPNET_RETURN_IF_ERROR(step({{7, 1, 0.75f}, {7, 0, 0.25f}}));
    EXPECT_TRUE(metrics.Slices().empty()) << "no window has ended";
    PEPNET_RETURN_IF_ERROR(step({{7, 0, 0.75f}}));
    EXPECT_EQ(Texts(metrics.Slices()),
              (std::vector<std::string>{
                  "tab=7 auc_a 3:0.75 3:0.75",
                  absl::StrCat("tab=7 mean_absolute_error_b 3:", 1.25 / 3, " 3:", 1.25 / 3)}));
    // 9 and 5 come in one window, 5 with more rows: it gets the last slice, with all of its rows.
    PEPNET_RETURN_IF_ERROR(step({{9, 1, 0.5f}, {5, 1, 0.75f}}));
    PEPNET_RETURN_IF_ERROR(step({{5, 0, 0.25f}}));
    std::vector<std::string> texts = Texts(metrics.Slices());
    texts.resize(3);
    EXPECT_EQ(texts, (std::vector<std::string>{"tab=7 auc_a 0:- 3:0.75", "tab=5 auc_a 2:1 2:1",
                                               "tab=(rest) auc_a 1:- 1:-"}));
    // 9 stays in the rest, however many rows it has.
    PEPNET_RETURN_IF_ERROR(step({{9, 0, 0.25f}, {9, 0, 0.25f}, {9, 0, 0.25f}}));
    PEPNET_RETURN_IF_ERROR(step({{7, 0, 0.25f}}));
    texts = Texts(metrics.Slices());
    texts.resize(3);
    EXPECT_EQ(texts, (std::vector<std::string>{absl::StrCat("tab=7 auc_a 1:- 4:", 2.5 / 3),
                                               "tab=5 auc_a 0:- 2:1", "tab=(rest) auc_a 3:- 4:1"}));
    return absl::OkStatus();
  });
}

// The numbers of each slice against those of a metric that sees the rows of that value alone; any
// number of workers, and stops inside windows, with rows that wait for a slice.
TEST(TrainMetricsTest, SlicesAreExactForAnyNumberOfWorkersAndStops) {
  constexpr int kSteps = 14;
  const JobConfig config = Sliced(/*top=*/3, /*decay_step=*/4);
  const auto rows_of_step = [](int step) {
    std::vector<TabRow> rows;
    for (int row = 0; row < 12; ++row) {
      // Tab 0 in all steps, 1 to 3 from later windows on, so that one of them has no slice.
      const int64_t tab = (row * 5 + step) % std::min(4, 1 + step / 3) - 1;
      rows.push_back({tab, static_cast<float>((row * 7 + step) % 3 == 0),
                      static_cast<float>((row * 5 + step * 3) % 9) / 8});
    }
    return rows;
  };
  auto run = [&](int workers, const std::vector<int>& stops) {
    std::vector<std::vector<std::string>> by_worker(workers);  // of the last part of the run
    RunWithStops(
        config, workers, stops,
        [&](int step, int worker, TrainMetrics* metrics) {
          std::vector<TabRow> mine;
          const std::vector<TabRow> all = rows_of_step(step);
          for (size_t row = worker; row < all.size(); row += workers) mine.push_back(all[row]);
          std::vector<float> scores;
          const Batch batch = TabRows(mine, &scores);
          return metrics->Add(batch, {scores, scores});
        },
        [&](int worker, const TrainMetrics& metrics) {
          by_worker[worker] = Texts(metrics.Slices());
        });
    for (const std::vector<std::string>& texts : by_worker) EXPECT_EQ(texts, by_worker[0]);
    return by_worker[0];
  };
  const std::vector<std::string> expected = run(1, {0, kSteps});
  ASSERT_EQ(expected.size(), 8u) << "three values and the rest, of two metrics";
  for (int workers : {2, 3, 5}) EXPECT_EQ(run(workers, {0, kSteps}), expected) << workers;
  EXPECT_EQ(run(3, {0, 1, 6, 7, 13, kSteps}), expected);

  // Only tab -1, the first, is seen from the start on; the rest is what has no slice.
  const JobConfig alone = Config(0.5, 4);
  for (const std::string& text : expected) {
    if (!text.starts_with("tab=-1 auc_a")) continue;
    OnWorkers(1, [&](Collective* collective) -> Status {
      TrainMetrics metrics(&alone);
      for (int step = 0; step < kSteps; ++step) {
        std::vector<float> labels, scores;
        for (const TabRow& row : rows_of_step(step)) {
          if (row.tab != -1) continue;
          labels.push_back(row.label);
          scores.push_back(row.score);
        }
        PEPNET_RETURN_IF_ERROR(metrics.Add(Rows(labels), {scores, scores}));
        PEPNET_RETURN_IF_ERROR(metrics.EndStep(collective));
      }
      const TrainWindows windows = metrics.Windows()[0];
      EXPECT_EQ(text, absl::StrCat("tab=-1 auc_a ", windows.window.rows, ":", *windows.window.value,
                                   " ", windows.lifetime.rows, ":", *windows.lifetime.value));
      return absl::OkStatus();
    });
    return;
  }
  ADD_FAILURE() << "tab -1 has no slice";
}

TEST(TrainMetricsTest, OfACheckpointWithoutThemTheLifetimeAndTheSlicesStartAfresh) {
  const JobConfig config = Sliced(2, 3);
  TrainMetrics metrics(&config);
  const auto state = metrics.State();
  std::map<std::string, std::vector<double>> earlier;  // as an earlier version wrote it
  for (const char* name : {"auc_a", "mean_absolute_error_b"}) earlier[name] = state.at(name);
  EXPECT_EQ(metrics.Restore(earlier, true),
            (std::vector<std::string>{"auc_a since the start", "auc_a by tab",
                                      "mean_absolute_error_b since the start",
                                      "mean_absolute_error_b by tab"}));
  const JobConfig more = Sliced(3, 3);
  TrainMetrics other(&more);
  EXPECT_EQ(other.Restore(state, true),
            (std::vector<std::string>{"auc_a by tab", "mean_absolute_error_b by tab"}))
      << "with another slice_top";
}

// ---- calibration, entropy and grouped AUCs ------------------------------------------------------

// One task with the measures that evaluations have by slice, as train metrics: label 0, tab in
// label 1, groups by feature 0.
JobConfig OfProbabilities(double decay_rate, int64_t decay_step) {
  JobConfig config;
  config.data.labels = {"y", "tab"};
  config.features.resize(1);
  config.features[0].name = "user";
  Tower& tower = config.model.towers.emplace_back();
  tower.name = "a";
  tower.label = 0;
  for (const MetricKind kind : {MetricKind::kLogLoss, MetricKind::kNormalizedEntropy,
                                MetricKind::kPcoc, MetricKind::kEce, MetricKind::kGroupedAuc}) {
    TrainMetric& metric = tower.train_metrics.emplace_back();
    metric.metric = {.kind = kind, .name = absl::StrCat(TypeOf(kind).name, "_a")};
    if (kind == MetricKind::kGroupedAuc) metric.metric.grouping_feature = 0;
    metric.decay_rate = decay_rate;
    metric.decay_step = decay_step;
  }
  return config;
}

struct UserRow {
  int64_t tab, user;  // user 0: no id
  float label, score;
};

Batch UserRows(const std::vector<UserRow>& rows, std::vector<float>* scores) {
  std::vector<TabRow> tab_rows;
  for (const UserRow& row : rows) tab_rows.push_back({row.tab, row.label, row.score});
  Batch batch = TabRows(tab_rows, scores);
  IdColumn& users = batch.ids.emplace_back();
  users.offsets = {0};
  for (const UserRow& row : rows) {
    if (row.user != 0) users.ids.push_back(row.user);
    users.offsets.push_back(static_cast<int32_t>(users.ids.size()));
  }
  return batch;
}

Status AddUserRows(const std::vector<UserRow>& rows, TrainMetrics* metrics) {
  std::vector<float> scores;
  const Batch batch = UserRows(rows, &scores);
  return metrics->Add(batch, {scores});
}

// By metric.
std::map<std::string, TrainWindows> ByName(const TrainMetrics& metrics) {
  std::map<std::string, TrainWindows> windows;
  for (const TrainWindows& one : metrics.Windows()) windows[one.metric] = one;
  return windows;
}

TEST(TrainMetricsTest, ProbabilitiesAreMeasuredByWindowAndOverTheLifetime) {
  const JobConfig config = OfProbabilities(/*decay_rate=*/0.75, /*decay_step=*/1);
  OnWorkers(1, [&](Collective* collective) -> Status {
    TrainMetrics metrics(&config);
    const auto window = [&](const std::vector<UserRow>& rows) -> Status {
      PEPNET_RETURN_IF_ERROR(AddUserRows(rows, &metrics));
      return metrics.EndStep(collective);
    };
    // User 7 has the positive above one negative and below the other, user 8 the positive on top,
    // user 9 one class.
    PEPNET_RETURN_IF_ERROR(window({{0, 7, 1, 0.5f},
                                   {0, 7, 0, 0.25f},
                                   {0, 7, 0, 0.75f},
                                   {0, 8, 1, 0.75f},
                                   {0, 8, 0, 0.5f},
                                   {0, 9, 1, 0.25f}}));
    const double loss = -(std::log(0.5) + std::log(0.75) + std::log(0.25) + std::log(0.75) +
                          std::log(0.5) + std::log(0.25)) /
                        6;
    // Three intervals of prediction, two rows each: predicted 0.5, 1 and 1.5, one positive in each.
    const double pcoc = 3.0 / 3, ece = (0.5 + 0 + 0.5) / 6;
    const std::map<std::string, double> first = {
        {"logloss_a", loss},
        {"normalized_entropy_a", loss / std::log(2.0)},
        {"pcoc_a", pcoc},
        {"ece_a", ece},
        {"grouped_auc_a", (0.5 + 1) / 2},
        {"grouped_auc_a_by_impressions", (3 * 0.5 + 2) / 5}};
    EXPECT_EQ(metrics.Values().size(), first.size());
    for (const auto& [name, value] : first) {
      EXPECT_DOUBLE_EQ(metrics.Values().at(name), value) << name;
      EXPECT_DOUBLE_EQ(*ByName(metrics).at(name).window.value, value) << name;
      EXPECT_DOUBLE_EQ(*ByName(metrics).at(name).lifetime.value, value) << name;
      EXPECT_EQ(ByName(metrics).at(name).window.rows, 6) << name;
    }
    // User 7 again: within this window the positive is below the negative. Over both windows user
    // 7 counts twice.
    PEPNET_RETURN_IF_ERROR(window({{0, 7, 1, 0.25f}, {0, 7, 0, 0.75f}}));
    const std::map<std::string, TrainWindows> second = ByName(metrics);
    EXPECT_EQ(second.at("grouped_auc_a").window.value, 0);
    EXPECT_DOUBLE_EQ(*second.at("grouped_auc_a").lifetime.value, 1.5 / 3);
    EXPECT_DOUBLE_EQ(*second.at("grouped_auc_a_by_impressions").lifetime.value, 3.5 / 7);
    EXPECT_EQ(second.at("grouped_auc_a").lifetime.rows, 8);
    EXPECT_DOUBLE_EQ(*second.at("pcoc_a").window.value, 1);
    EXPECT_DOUBLE_EQ(*second.at("pcoc_a").lifetime.value, 4.0 / 4);
    EXPECT_DOUBLE_EQ(*second.at("ece_a").window.value, (0.75 + 0.75) / 2);
    // Predicted 0.75, 1 and 2.25 in the three intervals, with 2, 1 and 1 positives.
    EXPECT_DOUBLE_EQ(*second.at("ece_a").lifetime.value, (1.25 + 0 + 1.25) / 8);
    EXPECT_DOUBLE_EQ(*second.at("logloss_a").window.value, -std::log(0.25));
    EXPECT_DOUBLE_EQ(*second.at("normalized_entropy_a").lifetime.value,
                     (6 * loss - 2 * std::log(0.25)) / 8 / std::log(2.0));
    EXPECT_DOUBLE_EQ(metrics.Values().at("ece_a"), 0.75 * ece + 0.25 * 0.75);
    EXPECT_DOUBLE_EQ(metrics.Values().at("grouped_auc_a"), 0.75 * 0.75);
    return absl::OkStatus();
  });
}

TEST(TrainMetricsTest, AWindowWithoutAValueSaysWhyAndLeavesTheDecayedOne) {
  const JobConfig config = OfProbabilities(0.5, 1);
  OnWorkers(1, [&](Collective* collective) -> Status {
    TrainMetrics metrics(&config);
    const auto window = [&](const std::vector<UserRow>& rows) -> Status {
      PEPNET_RETURN_IF_ERROR(AddUserRows(rows, &metrics));
      return metrics.EndStep(collective);
    };
    const auto reasons = [&] {
      std::string text;
      for (const auto& [name, windows] : ByName(metrics)) {
        absl::StrAppend(&text, name, ": ", windows.window.why_none, "\n");
      }
      return text;
    };
    PEPNET_RETURN_IF_ERROR(window({}));
    EXPECT_TRUE(metrics.Values().empty()) << "no window has had a value";
    EXPECT_EQ(reasons(),
              "ece_a: no rows\ngrouped_auc_a: no rows\ngrouped_auc_a_by_impressions: no rows\n"
              "logloss_a: no rows\nnormalized_entropy_a: no rows\npcoc_a: no rows\n");
    PEPNET_RETURN_IF_ERROR(window({{0, 7, 0, 0.25f}, {0, 7, 0, 0.75f}}));
    EXPECT_EQ(reasons(),
              "ece_a: \ngrouped_auc_a: every label is 0\n"
              "grouped_auc_a_by_impressions: every label is 0\nlogloss_a: \n"
              "normalized_entropy_a: every label is 0\npcoc_a: every label is 0\n");
    EXPECT_EQ(metrics.Values().size(), 2u);
    PEPNET_RETURN_IF_ERROR(window({{0, 7, 1, 0.25f}, {0, 8, 0, 0.75f}}));
    EXPECT_EQ(ByName(metrics).at("grouped_auc_a").window.why_none, "no group has both classes");
    EXPECT_EQ(metrics.Values().at("pcoc_a"), 1) << "of the first window that has one";
    PEPNET_RETURN_IF_ERROR(window({{0, 7, 1, 0.75f}, {0, 7, 0, 0.25f}, {0, 7, 0, 0.5f}}));
    EXPECT_EQ(metrics.Values().at("grouped_auc_a"), 1);
    EXPECT_EQ(metrics.Values().at("pcoc_a"), 0.5 + 0.5 * 1.5);
    const std::map<std::string, double> before = metrics.Values();
    PEPNET_RETURN_IF_ERROR(window({{0, 7, 1, 0.25f}}));
    EXPECT_EQ(ByName(metrics).at("normalized_entropy_a").window.why_none, "every label is 1");
    EXPECT_EQ(ByName(metrics).at("grouped_auc_a").window.why_none, "every label is 1");
    EXPECT_EQ(ByName(metrics).at("pcoc_a").window.value, 0.25);
    for (const char* name : {"grouped_auc_a", "normalized_entropy_a"}) {
      EXPECT_EQ(metrics.Values().at(name), before.at(name)) << name;
    }
    PEPNET_RETURN_IF_ERROR(window({{0, 7, 1, std::nanf("")}, {0, 7, 0, 0.5f}}));
    for (const auto& [name, windows] : ByName(metrics)) {
      EXPECT_EQ(windows.window.why_none, "a prediction is NaN") << name;
    }
    return absl::OkStatus();
  });
}

// Rows of a formula: ties, groups over several workers and slices, a tab of one class.
std::vector<UserRow> FormulaRows(int64_t begin, int64_t end) {
  std::vector<UserRow> rows;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t tab = (i * 3 + i / 10) % 6;
    const auto score = static_cast<float>((i * 37 + tab * 11) % 61 + 1) / 62;
    const bool positive = (i * i * 3 + i / 7 + tab) % 4 == 0 && tab != 4;
    rows.push_back({tab, (i * 7 + tab) % 11, positive ? 1.0f : 0.0f, score});
  }
  return rows;
}

// Evaluations are compared with scikit-learn by slices_test.cc.
TEST(TrainMetricsTest, AWindowAgreesWithTheEvaluationOfItsRows) {
  JobConfig config = OfProbabilities(0.5, 3);
  config.eval.slice_by = {{"tab", -1, 1}};
  OnWorkers(1, [&](Collective* collective) -> Status {
    TrainMetrics metrics(&config);
    for (const int64_t begin : {0, 200, 400}) {
      PEPNET_RETURN_IF_ERROR(AddUserRows(FormulaRows(begin, begin + 200), &metrics));
      PEPNET_RETURN_IF_ERROR(metrics.EndStep(collective));
    }
    const auto expect = [](const std::vector<UserRow>& rows, const std::string& metric,
                           const WindowValue& window) {
      std::vector<ScoredRow> scored;
      for (const UserRow& row : rows) scored.push_back({row.user, row.score, row.label});
      for (const SliceFigure& figure : FiguresOf(MeasureGroupedSlice(&scored))) {
        std::string name = absl::StrReplaceAll(metric, {{"_a_by", "_by"}});
        if (name.ends_with("_a")) name.resize(name.size() - 2);
        if (name != figure.name) continue;
        EXPECT_EQ(window.rows, static_cast<int64_t>(rows.size())) << metric;
        EXPECT_EQ(window.positives,
                  std::count_if(rows.begin(), rows.end(),
                                [](const UserRow& row) { return row.label == 1; }))
            << metric;
        EXPECT_EQ(window.why_none, figure.why_none) << metric;
        EXPECT_NEAR(window.value.value_or(-1), figure.value.value_or(-1), 1e-13) << metric;
        return 1;
      }
      return 0;
    };
    int compared = 0;
    for (const TrainWindows& windows : metrics.Windows()) {
      compared += expect(FormulaRows(0, 600), windows.metric, windows.window);
    }
    EXPECT_EQ(compared, 6);
    for (const TrainSlice& slice : metrics.Slices()) {
      std::vector<UserRow> rows;
      for (const UserRow& row : FormulaRows(0, 600)) {
        if (absl::StrCat(row.tab) == slice.value) rows.push_back(row);
      }
      compared += expect(rows, slice.windows.metric, slice.windows.window);
    }
    EXPECT_EQ(compared, 6 + 6 * 6);
    return absl::OkStatus();
  });
}

// Every bit, of values, windows and slices, on every worker; with stops inside windows.
TEST(TrainMetricsTest, ProbabilitiesAreMeasuredToTheBitForAnyNumberOfWorkersAndStops) {
  constexpr int kSteps = 14;
  JobConfig config = OfProbabilities(0.5, 4);
  config.eval.slice_by = {{"tab", -1, 1}};
  config.eval.slice_top = 3;
  const auto run = [&](int workers, const std::vector<int>& stops) {
    std::vector<std::string> by_worker(workers);
    RunWithStops(
        config, workers, stops,
        [&](int step, int worker, TrainMetrics* metrics) {
          std::vector<UserRow> mine;
          const std::vector<UserRow> all = FormulaRows(step * 40, step * 40 + 40);
          for (size_t row = worker; row < all.size(); row += workers) mine.push_back(all[row]);
          return AddUserRows(mine, metrics);
        },
        [&](int worker, const TrainMetrics& metrics) {
          std::string& text = by_worker[worker];
          text.clear();
          for (const auto& [name, value] : metrics.Values()) {
            absl::StrAppendFormat(&text, "%s %a\n", name, value);
          }
          const auto add = [&](const WindowValue& window) {
            absl::StrAppendFormat(&text, " %d %d %a %s", window.rows, window.positives.value_or(-1),
                                  window.value.value_or(-1), window.why_none);
          };
          for (const TrainWindows& windows : metrics.Windows()) {
            absl::StrAppend(&text, windows.metric);
            add(windows.window);
            add(windows.lifetime);
            absl::StrAppend(&text, "\n");
          }
          for (const TrainSlice& slice : metrics.Slices()) {
            absl::StrAppend(&text, slice.windows.metric, " ", slice.value);
            add(slice.windows.window);
            add(slice.windows.lifetime);
            absl::StrAppend(&text, "\n");
          }
        });
    for (const std::string& text : by_worker) EXPECT_EQ(text, by_worker[0]);
    return by_worker[0];
  };
  const std::string expected = run(1, {0, kSteps});
  EXPECT_EQ(std::count(expected.begin(), expected.end(), '\n'), 6 + 6 + 6 * 4) << expected;
  for (const int workers : {2, 3, 5}) EXPECT_EQ(run(workers, {0, kSteps}), expected) << workers;
  EXPECT_EQ(run(3, {0, 1, 6, 7, 13, kSteps}), expected);
}

TEST(TrainMetricsTest, RowsOfADamagedStateStartAfresh) {
  const JobConfig config = OfProbabilities(0.5, 4);
  const std::string name = "grouped_auc_a", rows = "grouped_auc_a/rows";
  TrainMetrics metrics(&config);
  ASSERT_OK(AddUserRows({{0, -7, 1, 0.25f}, {0, 8, 0, 0.75f}}, &metrics));
  const auto state = metrics.State();
  ASSERT_EQ(state.at(rows).size(), 8u);
  TrainMetrics same(&config);
  EXPECT_TRUE(same.Restore(state, true).empty());
  EXPECT_EQ(same.State(), state);
  for (const std::vector<double>& damaged : std::vector<std::vector<double>>{
           {1, 2, 3}, {-1, 0, 0, 1}, {0, 0.5, 0, 1}, {0, 0, 1e300, 1}}) {
    auto other = state;
    other[rows] = damaged;
    EXPECT_EQ(TrainMetrics(&config).Restore(other, true), (std::vector<std::string>{name}));
  }
  auto other = state;
  other.erase(rows);
  EXPECT_EQ(TrainMetrics(&config).Restore(other, true), (std::vector<std::string>{name}));
}

TEST(MetricCountsTest, AnExactSumDoesNotDependOnTheOrder) {
  std::vector<double> terms;
  for (int i = 1; i <= 1000; ++i) terms.push_back(i % 3 == 0 ? 1.0 / i : std::log(1.0 + i));
  terms.push_back(0x1p-60);
  double forward[kExactSumSize] = {}, backward[kExactSumSize] = {}, plain = 0;
  for (const double term : terms) AddExactly(term, forward), plain += term;
  for (size_t i = terms.size(); i-- > 0;) AddExactly(terms[i], backward);
  EXPECT_EQ(ExactSum(forward), ExactSum(backward));
  EXPECT_NEAR(ExactSum(forward), plain, 1e-11);
  double tiny[kExactSumSize] = {};
  for (int i = 0; i < 8; ++i) AddExactly(0x1p-60, tiny);
  EXPECT_EQ(ExactSum(tiny), 0x1p-57);
  AddExactly(std::nan(""), tiny);
  EXPECT_TRUE(std::isnan(ExactSum(tiny)));
}

TEST(MetricCountsTest, ErrorsHaveTheSameSumHoweverRowsAreSpread) {
  constexpr int64_t kRows = 1000, kWorkers = 3;
  Tower tower;
  tower.num_class = 1;
  for (const MetricKind kind : {MetricKind::kMeanAbsoluteError, MetricKind::kMeanSquaredError}) {
    Metric metric;
    metric.kind = kind;
    const MetricSums sums(&metric, 1);
    std::vector<double> together(sums.size()), spread(sums.size());
    double expected = 0;
    std::vector<float> labels(kRows), scores(kRows);
    for (int64_t i = 0; i < kRows; ++i) {
      labels[i] = 1.0f / static_cast<float>(i + 1);
      scores[i] = std::log(1.0f + static_cast<float>(i));
      const double error = static_cast<double>(scores[i]) - labels[i];
      expected += kind == MetricKind::kMeanSquaredError ? error * error : std::fabs(error);
    }
    LabelColumn label;
    label.values = labels;
    sums.Add(tower, label, {scores.data(), 1}, kRows, together.data());
    for (int64_t worker = kWorkers; worker-- > 0;) {
      for (int64_t i = worker; i < kRows; i += kWorkers) {
        label.values = {labels[i]};
        sums.Add(tower, label, {&scores[i], 1}, 1, spread.data());
      }
    }
    EXPECT_EQ(sums.Value(together.data()), sums.Value(spread.data()));
    EXPECT_NEAR(sums.Value(together.data()), expected / kRows, 1e-12);
    EXPECT_EQ(sums.Rows(spread.data()), kRows);
    EXPECT_EQ(sums.Positives(spread.data()), std::nullopt);
  }
}

TEST(SlicedSumsTest, ADamagedStateIsRefused) {
  const JobConfig config = Sliced(2, 3);
  const MetricSums sums(&config.model.towers[0].train_metrics[0].metric, 1);
  const auto restores = [&](const std::vector<double>& state) {
    return SlicedSums(sums, &config.model.towers[0], 2).Restore(state, true);
  };
  std::vector<double> state = SlicedSums(sums, &config.model.towers[0], 2).State();
  EXPECT_TRUE(restores(state));
  for (size_t length = 0; length < state.size(); ++length) {
    EXPECT_FALSE(restores(
        std::vector<double>(state.begin(), state.begin() + static_cast<std::ptrdiff_t>(length))));
  }
  for (const double damage : {-1.0, 0.5, 1e300, 4294967295.0}) {
    for (size_t i = 0; i < state.size(); ++i) {
      std::vector<double> damaged = state;
      damaged[i] = damage;
      EXPECT_FALSE(restores(damaged)) << i << " " << damage;
    }
  }
}

TEST(SlicedSumsTest, ZerosAreWrittenAsTheirNumber) {
  const std::vector<double> numbers = {0, 0, 0, 1.5, 0, 2, 0, 0};
  const std::vector<double> packed = {0, 3, 1.5, 0, 1, 2, 0, 2};
  EXPECT_EQ(WithoutZeros(numbers), packed);
  EXPECT_EQ(WithZeros(packed, 8), numbers);
  EXPECT_EQ(WithZeros(packed, 7), std::nullopt);
  EXPECT_EQ(WithZeros(std::vector<double>{0}, 8), std::nullopt);
  EXPECT_EQ(WithZeros(std::vector<double>{0, 0.5}, 8), std::nullopt);
}

// Whole jobs: with routing off for the tower, weights as without train metrics; a resumed run's
// counts are the undisturbed run's.
TEST(TrainMetricsTest, AJobThatStopsAndContinuesKeepsItsCounts) {
  RandomJobOptions options;
  options.batch_size = 4;
  TemporaryDirectory directory;
  const std::string text = absl::StrReplaceAll(
      WriteRandomJob(directory.path(), options),
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
  EXPECT_FALSE(
      RunCluster(disturbed, {2, 2, {}}, TestOptions(), [&](const WorkerContext& context) -> Status {
        Trainer trainer(context);
        PEPNET_RETURN_IF_ERROR(trainer.Start());
        for (int step = 0; step < 8; ++step) PEPNET_RETURN_IF_ERROR(trainer.Step().status());
        return absl::CancelledError("as if killed");
      }).ok());
  ASSERT_OK(Train(disturbed, {2, 2, {}}, TestOptions(/*continue_train=*/true)));
  const std::string a = *ResolveCheckpoint(undisturbed.model_dir),
                    b = *ResolveCheckpoint(disturbed.model_dir);
  EXPECT_EQ(CheckpointDifference(a, b), "");
  const std::string trainer = *ReadFile(a + "/trainer.json");
  EXPECT_NE(trainer.find("\"auc_cvr\""), std::string::npos) << trainer;
  EXPECT_EQ(trainer, *ReadFile(b + "/trainer.json"));

  const std::string metrics = *ReadFile(undisturbed.model_dir + "/metrics.jsonl");
  EXPECT_NE(metrics.find("\"auc_cvr\":0."), std::string::npos) << metrics;
}

}  // namespace
}  // namespace pepnet

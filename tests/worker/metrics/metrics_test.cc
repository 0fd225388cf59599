#include "worker/metrics/metrics.h"
#include "worker/metrics/metric_counts.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>
#include <random>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "common/job_config/evaluation_metrics.h"
#include "common/net/in_process.h"
#include "tests/support/golden.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using Values = std::map<std::string, double>;

// One tower "t" with the label column 0 and a grouping feature 0.
JobConfig OneTower(std::vector<Metric> metrics, int num_class = 1) {
  JobConfig config;
  config.data.labels = {"y"};
  config.features.resize(1);
  Tower tower;
  tower.name = "t";
  tower.label = 0;
  tower.num_class = num_class;
  tower.metrics = std::move(metrics);
  tower.losses = {Loss{.name = "binary_cross_entropy_t"}};
  config.model.towers = {tower};
  return config;
}

const Metric kAucMetric{.kind = MetricKind::kAuc, .name = "auc_t"};
const Metric kAccuracyMetric{.kind = MetricKind::kAccuracy, .name = "accuracy_t"};
const Metric kGroupedMetric{
    .kind = MetricKind::kGroupedAuc, .name = "grouped_auc_t", .grouping_feature = 0};
const Metric kAbsoluteMetric{.kind = MetricKind::kMeanAbsoluteError,
                             .name = "mean_absolute_error_t"};
const Metric kSquaredMetric{.kind = MetricKind::kMeanSquaredError, .name = "mean_squared_error_t"};

// Keys below 0 stand for a missing cell; a present key is followed by a second id, which must not
// matter.
Batch MakeBatch(std::vector<float> labels, const std::vector<int64_t>& keys = {}) {
  Batch batch;
  batch.rows = static_cast<int64_t>(labels.size());
  batch.labels.resize(1);
  batch.labels[0].values = std::move(labels);
  batch.ids.resize(1);
  batch.ids[0].offsets = {0};
  for (int64_t row = 0; row < batch.rows; ++row) {
    const int64_t key = keys.empty() ? 0 : keys[row];
    if (key >= 0) batch.ids[0].ids.insert(batch.ids[0].ids.end(), {key, 99});
    batch.ids[0].offsets.push_back(static_cast<int32_t>(batch.ids[0].ids.size()));
  }
  return batch;
}

Values FinishAlone(MetricSet* metrics) {
  auto values = metrics->Finish(nullptr);
  EXPECT_OK(values);
  return *values;
}

Values Evaluate(const JobConfig& config, const Batch& batch, std::vector<float> scores) {
  MetricSet metrics(&config);
  metrics.Add(batch, {std::move(scores)});
  return FinishAlone(&metrics);
}

// ---- thresholds ---------------------------------------------------------------------------------

// zlib.crc32(torch.linspace(0, 1, n).numpy().tobytes()) and a few of its values, torch 2.13.0 on a
// CPU with AVX2.
uint32_t ZlibCrc32(const std::vector<float>& values) {
  uint32_t crc = 0xffffffffu;
  const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
  for (size_t i = 0; i < values.size() * sizeof(float); ++i) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? 0xedb88320u : 0u);
  }
  return ~crc;
}

TEST(AucThresholdsTest, BitsAreThoseOfTorchLinspace) {
  EXPECT_EQ(ZlibCrc32(AucThresholds(50)), 0x5b56068eu);
  EXPECT_EQ(ZlibCrc32(AucThresholds(200)), 0x4c5ba2a0u);
  EXPECT_EQ(ZlibCrc32(AucThresholds(1000)), 0x682e32ffu);
  EXPECT_EQ(AucThresholds(1), (std::vector<float>{0}));
  EXPECT_EQ(AucThresholds(2), (std::vector<float>{0, 1}));
  EXPECT_EQ(AucThresholds(3), (std::vector<float>{0, 0.5f, 1}));
}

// ---- binned AUC ---------------------------------------------------------------------------------

TEST(BinnedAucTest, AnEmptyClassIsZero) {
  EXPECT_EQ(BinnedAuc({3, 1}, {0, 0}, 3, 0), 0);
  EXPECT_EQ(BinnedAuc({0, 0}, {3, 1}, 0, 3), 0);
}

TEST(BinnedAucTest, HasNoPointBeyondTheLastThreshold) {
  // Threshold 0: both rates 1. Threshold 1: TPR 1/2, FPR 1/4. Area between them only.
  EXPECT_DOUBLE_EQ(BinnedAuc({2, 1}, {4, 1}, 2, 4), (1 - 0.25) * (1 + 0.5) / 2);
}

// Rows x thresholds, as the definition reads.
double SlowAuc(int thresholds, const std::vector<float>& labels, const std::vector<float>& scores) {
  std::vector<double> true_positives, false_positives;
  double positives = 0, negatives = 0;
  for (float t : AucThresholds(thresholds)) {
    int64_t counts[2] = {0, 0};
    for (size_t i = 0; i < labels.size(); ++i) counts[labels[i] == 1.0f] += scores[i] >= t ? 1 : 0;
    true_positives.push_back(static_cast<double>(counts[1]));
    false_positives.push_back(static_cast<double>(counts[0]));
  }
  for (float label : labels) ++(label == 1.0f ? positives : negatives);
  return BinnedAuc(true_positives, false_positives, positives, negatives);
}

TEST(MetricSetTest, AucOfScoresOnAndBesideThresholdsFollowsTheDefinition) {
  constexpr int kSeed = 7;
  std::printf("seed %d\n", kSeed);
  std::mt19937 random(kSeed);
  for (int thresholds : {1, 2, 3, 7, 50, 200, 1000}) {
    std::vector<float> labels, scores;
    for (float t : AucThresholds(thresholds)) {
      for (float score : {t, std::nextafter(t, -1.0f), std::nextafter(t, 2.0f)}) {
        scores.push_back(score);  // the outermost lie below 0 and above 1
        labels.push_back(static_cast<float>(random() % 2));
      }
    }
    Metric metric = kAucMetric;
    metric.thresholds = thresholds;
    EXPECT_EQ(Evaluate(OneTower({metric}), MakeBatch(labels), scores)["auc_t"],
              SlowAuc(thresholds, labels, scores))
        << thresholds;
  }
}

TEST(MetricSetTest, AucReachesNoThresholdWithNanButKeepsTheRow) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_DOUBLE_EQ(
      Evaluate(OneTower({kAucMetric}), MakeBatch({1, 1, 0}), {nan, 0.9f, 0.1f})["auc_t"], 0.5);
}

TEST(MetricSetTest, OnlyLabelOneIsPositive) {
  const Values values =
      Evaluate(OneTower({kAucMetric, kGroupedMetric}), MakeBatch({1, 2, 0.5f}), {0.9f, 0.1f, 0.2f});
  EXPECT_DOUBLE_EQ(values.at("auc_t"), 1);
  EXPECT_DOUBLE_EQ(values.at("grouped_auc_t"), 1);
}

// ---- the others ---------------------------------------------------------------------------------

TEST(MetricSetTest, AccuracyComparesStrictlyInFloat32) {
  Metric metric = kAccuracyMetric;
  metric.threshold = 0.35;
  // 0.35f > 0.35 in double, but not in float32: the first row is predicted 0.
  EXPECT_DOUBLE_EQ(
      Evaluate(OneTower({metric}), MakeBatch({0, 1, 0}), {0.35f, 0.36f, 0.9f})["accuracy_t"],
      2.0 / 3);
}

TEST(MetricSetTest, AccuracyOfSeveralClassesTakesTheFirstLargest) {
  EXPECT_DOUBLE_EQ(Evaluate(OneTower({kAccuracyMetric}, 3), MakeBatch({2, 0, 1}),
                            {0.1f, 0.2f, 0.7f, 0.4f, 0.4f, 0.2f, 0.5f, 0.3f, 0.2f})["accuracy_t"],
                   2.0 / 3);
}

TEST(MetricSetTest, TwoClassesMayComeAsProbs1OrAsBothColumns) {
  const JobConfig config = OneTower({kAucMetric, kAccuracyMetric}, 2);
  const Batch batch = MakeBatch({1, 0, 1});
  const Values one = Evaluate(config, batch, {0.75f, 0.25f, 0.5f});
  const Values both = Evaluate(config, batch, {0.25f, 0.75f, 0.75f, 0.25f, 0.5f, 0.5f});
  EXPECT_EQ(one.at("auc_t"), both.at("auc_t"));
  EXPECT_DOUBLE_EQ(one.at("accuracy_t"), 2.0 / 3);
  EXPECT_EQ(one.at("accuracy_t"), both.at("accuracy_t"));
}

TEST(MetricSetTest, AccuracyMayTakeTheLabelAmongSeveral) {
  Metric metric = kAccuracyMetric;
  metric.top_k = 2;
  const std::vector<float> scores = {0.1f, 0.2f, 0.7f, 0.4f, 0.3f, 0.3f, 0.5f, 0.3f, 0.2f};
  // Of the second row's equal classes 1 and 2 the lower goes first.
  EXPECT_DOUBLE_EQ(Evaluate(OneTower({metric}, 3), MakeBatch({1, 1, 2}), scores)["accuracy_t"],
                   2.0 / 3);
  EXPECT_DOUBLE_EQ(Evaluate(OneTower({metric}, 3), MakeBatch({0, 2, 2}), scores)["accuracy_t"], 0);
  EXPECT_DOUBLE_EQ(Evaluate(OneTower({metric}, 2), MakeBatch({1, 0}), {0.1f, 0.9f})["accuracy_t"],
                   1);
}

TEST(MetricSetTest, NormalizedEntropyIsOverThatOfTheMeanLabel) {
  Metric metric{.kind = MetricKind::kNormalizedEntropy, .name = "ne_t"};
  // A model that says the mean label has 1.
  EXPECT_NEAR(
      Evaluate(OneTower({metric}), MakeBatch({1, 0, 0, 0}), {0.25f, 0.25f, 0.25f, 0.25f})["ne_t"],
      1, 1e-12);
  const double sum = -std::log(0.5) - 3 * std::log(0.75),
               base = -std::log(0.25) - 3 * std::log(0.75);
  EXPECT_NEAR(
      Evaluate(OneTower({metric}), MakeBatch({1, 0, 0, 0}), {0.5f, 0.25f, 0.25f, 0.25f})["ne_t"],
      sum / base, 1e-12);
  // Logarithms end at -100, the mean label at eta.
  EXPECT_NEAR(Evaluate(OneTower({metric}), MakeBatch({1, 0}), {0, 0})["ne_t"],
              100 / (2 * std::log(2.0)), 1e-9);
  metric.eta = 0.1;
  EXPECT_NEAR(Evaluate(OneTower({metric}), MakeBatch({0, 0}), {0.1f, 0.1f})["ne_t"], 1, 1e-6);
}

TEST(MetricSetTest, MulticlassAucIsTheMeanOfEachClassAgainstTheOthers) {
  Metric metric{.kind = MetricKind::kMulticlassAuc, .name = "m_t"};
  const std::vector<float> labels = {0, 1, 1, 2, 0};
  const std::vector<float> scores = {0.6f, 0.3f, 0.1f, 0.2f, 0.5f, 0.3f, 0.5f, 0.1f,
                                     0.4f, 0.1f, 0.3f, 0.6f, 0.4f, 0.5f, 0.1f};
  const double rows[] = {2, 2, 1};
  double macro = 0, weighted = 0;
  for (int c = 0; c < 3; ++c) {
    std::vector<float> is_class, of_class;
    for (size_t i = 0; i < labels.size(); ++i) {
      is_class.push_back(labels[i] == static_cast<float>(c) ? 1 : 0);
      of_class.push_back(scores[3 * i + c]);
    }
    const double auc = SlowAuc(200, is_class, of_class);
    macro += auc / 3;
    weighted += auc * rows[c] / 5;
  }
  ASSERT_GT(std::abs(macro - weighted), 0.01);
  EXPECT_NEAR(Evaluate(OneTower({metric}, 3), MakeBatch(labels), scores)["m_t"], macro, 1e-12);
  metric.average = ClassAverage::kWeighted;
  EXPECT_NEAR(Evaluate(OneTower({metric}, 3), MakeBatch(labels), scores)["m_t"], weighted, 1e-12);
  // Of two classes the probability of the other one may be left out.
  const Values one = Evaluate(OneTower({metric}, 2), MakeBatch({1, 0, 1}), {0.75f, 0.25f, 0.5f});
  const Values both = Evaluate(OneTower({metric}, 2), MakeBatch({1, 0, 1}),
                               {0.25f, 0.75f, 0.75f, 0.25f, 0.5f, 0.5f});
  EXPECT_EQ(one.at("m_t"), both.at("m_t"));
}

// ---- pairs of rows ------------------------------------------------------------------------------

// As the definition reads.
double SlowXauc(const std::vector<float>& labels, const std::vector<float>& scores) {
  double right = 0, pairs = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    for (size_t j = 0; j < i; ++j, ++pairs) {
      right += (labels[i] - labels[j]) * (scores[i] - scores[j]) > 0 ? 1 : 0;
    }
  }
  return right / pairs;
}

TEST(MetricSetTest, XaucCountsThePairsThatStandInTheOrderOfTheirLabels) {
  std::mt19937 random(8);
  const Metric metric{.kind = MetricKind::kXauc, .name = "xauc_t"};
  for (const size_t rows : {2, 3, 50, 331}) {
    std::vector<float> labels, scores;
    for (size_t i = 0; i < rows; ++i) {  // with ties among both
      labels.push_back(static_cast<float>(random() % 9) - 4);
      scores.push_back(static_cast<float>(random() % 17) / 4 - 2);
    }
    EXPECT_NEAR(Evaluate(OneTower({metric}), MakeBatch(labels), scores)["xauc_t"],
                SlowXauc(labels, scores), 1e-12);
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(Evaluate(OneTower({metric}), MakeBatch({1, 2}), {nan, 1})["xauc_t"]));
  EXPECT_TRUE(std::isnan(Evaluate(OneTower({metric}), MakeBatch({1}), {1})["xauc_t"])) << "no pair";
}

TEST(MetricSetTest, XaucInBatchesIsTheirMeanAndGroupsCountByRows) {
  Metric in_batch{.kind = MetricKind::kXauc, .name = "xauc_t"};
  in_batch.in_batch = true;
  const Metric grouped{
      .kind = MetricKind::kGroupedXauc, .name = "grouped_xauc_t", .grouping_feature = 0};
  const JobConfig config = OneTower({in_batch, grouped});
  MetricSet metrics(&config);
  metrics.Add(MakeBatch({1, 2, 3}, {5, 5, 7}), {{1, 2, 1.5f}});  // 2 of 3 pairs
  metrics.Add(MakeBatch({1}, {7}), {{9}});                       // no pair
  metrics.Add(MakeBatch({}), {{}});
  metrics.Add(MakeBatch({1, 2}, {7, 8}), {{3, 2}});  // none of 1
  const Values values = FinishAlone(&metrics);
  EXPECT_NEAR(values.at("xauc_t"), (2.0 / 3 + 0) / 2, 1e-12);
  // Group 5: (1, 1), (2, 2), right. Group 7: (3, 1.5), (1, 9), (1, 3): none right, of three rows.
  // Group 8 has one row.
  EXPECT_NEAR(values.at("grouped_xauc_t"), (2 * 1.0 + 3 * 0.0) / 5, 1e-12);
}

TEST(MetricSetTest, ErrorsAreMeansOverRows) {
  const Values values =
      Evaluate(OneTower({kAbsoluteMetric, kSquaredMetric}), MakeBatch({1, -2, 0}), {0.5f, 1, 0});
  EXPECT_DOUBLE_EQ(values.at("mean_absolute_error_t"), 3.5 / 3);
  EXPECT_DOUBLE_EQ(values.at("mean_squared_error_t"), 9.25 / 3);
}

TEST(MetricSetTest, GroupsAreKeyedByTheFirstIdAndMissingOnesByZero) {
  // Key 0 holds rows 0 (missing) and 1: AUC 1. Key 5: AUC 0.
  EXPECT_DOUBLE_EQ(Evaluate(OneTower({kGroupedMetric}), MakeBatch({1, 0, 1, 0}, {-1, 0, 5, 5}),
                            {0.9f, 0.8f, 0.1f, 0.2f})["grouped_auc_t"],
                   0.5);
}

TEST(MetricSetTest, ATowerWithATaskSpaceIsAlsoMeasuredThere) {
  JobConfig config = OneTower({kAucMetric, kAccuracyMetric, kGroupedMetric});
  config.data.labels = {"y", "clk"};
  config.model.towers[0].task_space_indicator = 1;
  EXPECT_EQ(EvaluationMetrics(config.model).size(), 5u) << "it learns from all rows";
  config.model.towers[0].out_task_space_weight = 0;
  Batch batch = MakeBatch({1, 0, 0, 1, 0});
  batch.labels.resize(2);
  batch.labels[1].values = {1, 1, 0, 2, 0};
  const Values values = Evaluate(config, batch, {0.6f, 0.7f, 0.1f, 0.9f, 0.2f});
  EXPECT_NEAR(values.at("auc_t"), 5.0 / 6, 0.01);
  EXPECT_NEAR(values.at("auc_t_in_task_space"), 0.5, 0.01) << "rows 0, 1 and 3";
  EXPECT_DOUBLE_EQ(values.at("accuracy_t_in_task_space"), 2.0 / 3);
  EXPECT_EQ(values.size(), 7u)
      << "two of three metrics are sums; grouped_auc has a mean by impressions; the loss";
  batch.labels[1].values = {0, 0, 0, 2, 0};
  EXPECT_TRUE(std::isnan(
      Evaluate(config, batch, {0.6f, 0.7f, 0.1f, 0.9f, 0.2f}).at("auc_t_in_task_space")));
  batch.labels[1].values = {0, 0, 0, 0, 0};
  EXPECT_TRUE(std::isnan(
      Evaluate(config, batch, {0.6f, 0.7f, 0.1f, 0.9f, 0.2f}).at("auc_t_in_task_space")));
  std::vector<std::string> names;
  for (const EvaluationMetric& metric : EvaluationMetrics(config.model)) {
    names.push_back(metric.name);
    EXPECT_TRUE(values.count(metric.name) > 0) << metric.name;
  }
  EXPECT_EQ(names.size(), 7u) << "those of the evaluation and the loss";
}

TEST(MetricSetTest, LossesAreWeightedByTheRowsOfTheirGlobalBatch) {
  const JobConfig config = OneTower({});
  MetricSet metrics(&config);
  metrics.AddLosses({"binary_cross_entropy_t"}, {0.5}, 10);
  metrics.AddLosses({"binary_cross_entropy_t"}, {2.0}, 2);
  EXPECT_DOUBLE_EQ(FinishAlone(&metrics)["binary_cross_entropy_t"], 9.0 / 12);
}

TEST(MetricSetTest, WithoutRowsRatesAreZeroAndMeansAreNan) {
  const JobConfig config =
      OneTower({kAucMetric, kAccuracyMetric, kGroupedMetric, kAbsoluteMetric, kSquaredMetric});
  Values values = Evaluate(config, MakeBatch({}), {});
  EXPECT_EQ(values["auc_t"], 0);
  EXPECT_EQ(values["accuracy_t"], 0);
  for (const char* name : {"grouped_auc_t", "mean_absolute_error_t", "mean_squared_error_t",
                           "binary_cross_entropy_t"}) {
    EXPECT_TRUE(std::isnan(values[name])) << name;
  }
}

// ---- several workers ----------------------------------------------------------------------------

// Three batches of which each worker holds one slice, of uneven sizes; the last batch leaves worker
// 1 of 3 without rows.
void AddSlices(int worker, int workers, MetricSet* metrics) {
  std::mt19937 random(11);
  const std::vector<std::vector<int>> slices = {{4, 5, 2}, {1, 7, 3}, {2, 0, 1}};
  for (const std::vector<int>& sizes : slices) {
    const int total = sizes[0] + sizes[1] + sizes[2];
    std::vector<float> labels, scores;
    std::vector<int64_t> keys;
    const int begin = workers == 1 || worker == 0 ? 0
                      : worker == 1               ? sizes[0]
                                                  : sizes[0] + sizes[1];
    const int end = workers == 1 ? total : begin + sizes[worker];
    double loss = 0;
    for (int row = 0; row < total; ++row) {
      const float label = static_cast<float>(random() % 2),
                  score = static_cast<float>(random() % 1000) / 1000;
      const int64_t key = static_cast<int64_t>(random() % 4) - 1;
      if (row < begin || row >= end) continue;
      labels.push_back(label);
      scores.push_back(score);
      keys.push_back(key);
      loss += score / total;
    }
    metrics->Add(MakeBatch(labels, keys), {scores});
    metrics->AddLosses({"binary_cross_entropy_t"}, {loss}, total);
  }
}

TEST(MetricSetTest, ThreeWorkersReportWhatOneReports) {
  Metric in_batch{.kind = MetricKind::kXauc, .name = "xauc_t"};
  in_batch.in_batch = true;
  const Metric grouped_xauc{
      .kind = MetricKind::kGroupedXauc, .name = "grouped_xauc_t", .grouping_feature = 0};
  const Metric entropy{.kind = MetricKind::kNormalizedEntropy, .name = "normalized_entropy_t"};
  const JobConfig config = OneTower({kAucMetric, kAccuracyMetric, kGroupedMetric, kAbsoluteMetric,
                                     kSquaredMetric, in_batch, grouped_xauc, entropy});
  MetricSet alone(&config);
  AddSlices(0, 1, &alone);
  const Values expected = FinishAlone(&alone);
  ASSERT_EQ(expected.size(), 10u);

  std::vector<Values> reported(3);
  const Status status =
      RunRanks(3, {.delay_seed = 3, .max_delay_us = 200}, [&](int rank, Transport* transport) {
        const auto collective = MakeCollective(transport, Channel::kDense, {0, 1, 2}, 30);
        MetricSet metrics(&config);
        AddSlices(rank, 3, &metrics);
        PEPNET_ASSIGN_OR_RETURN(reported[rank], metrics.Finish(collective.get()));
        return absl::OkStatus();
      });
  ASSERT_OK(status);
  EXPECT_EQ(reported[1], reported[0]);
  EXPECT_EQ(reported[2], reported[0]);
  for (const auto& [name, value] : expected) {
    const bool counted =
        name == "auc_t" || name == "accuracy_t" || name.rfind("grouped_auc_t", 0) == 0;
    EXPECT_NEAR(reported[0][name], value, counted ? 0 : 1e-14) << name;
  }
}

TEST(MetricSetTest, WorkersThatSawDifferentBatchesAreAnError) {
  const JobConfig config = OneTower({kAucMetric});
  const Status status = RunRanks(2, {}, [&](int rank, Transport* transport) {
    const auto collective = MakeCollective(transport, Channel::kDense, {0, 1}, 30);
    MetricSet metrics(&config);
    metrics.AddLosses({"binary_cross_entropy_t"}, {0.5}, 10 + rank);
    return metrics.Finish(collective.get()).status();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
}

// ---- goldens ------------------------------------------------------------------------------------

// Scores of each tower from forward.safetensors, the row's own domain selected.
std::vector<std::vector<float>> GoldenScores(const JobConfig& config,
                                             const SafetensorsReader& forward,
                                             const std::vector<float>& domains) {
  std::vector<std::vector<float>> scores;
  for (const Tower& tower : config.model.towers) {
    const std::string name = (tower.losses[0].kind == LossKind::kL2 ? "y_" : "probs_") + tower.name;
    if (config.model.domain_label < 0) {
      scores.push_back(GoldenFloats(forward, name));
      continue;
    }
    std::vector<float> selected(domains.size());
    for (int d = 0; d < config.model.domain_count; ++d) {
      const std::vector<float> values = GoldenFloats(forward, name + "_" + std::to_string(d));
      for (size_t row = 0; row < domains.size(); ++row) {
        if (static_cast<int>(domains[row]) == d) selected[row] = values[row];
      }
    }
    scores.push_back(std::move(selected));
  }
  return scores;
}

Batch RowsOf(const Batch& batch, int64_t begin, int64_t end) {
  Batch part;
  part.rows = end - begin;
  for (const LabelColumn& label : batch.labels) {
    part.labels.push_back({{label.values.begin() + begin, label.values.begin() + end}, {}});
  }
  for (const IdColumn& column : batch.ids) {
    IdColumn& ids = part.ids.emplace_back();
    if (column.offsets.empty()) continue;
    ids.ids.assign(column.ids.begin() + column.offsets[begin],
                   column.ids.begin() + column.offsets[end]);
    for (int64_t row = begin; row <= end; ++row) {
      ids.offsets.push_back(column.offsets[row] - column.offsets[begin]);
    }
  }
  return part;
}

class GoldenMetricsTest : public testing::TestWithParam<std::string> {};

TEST_P(GoldenMetricsTest, MetricsOfTheRecordedOutputs) {
  const JobConfig config = LoadGoldenConfig(GetParam());
  const auto columns = GoldenColumns(GetParam(), config);
  const auto forward = OpenGolden(GetParam(), "forward.safetensors");

  Batch batch;
  for (const std::string& label : config.data.labels) {
    LabelColumn column;
    for (const std::string& cell : columns.at(label)) column.values.push_back(std::stof(cell));
    batch.rows = static_cast<int64_t>(column.values.size());
    batch.labels.push_back(std::move(column));
  }
  batch.ids.resize(config.features.size());
  for (const Tower& tower : config.model.towers) {
    for (const Metric& metric : tower.metrics) {
      if (metric.grouping_feature < 0) continue;
      IdColumn keys;
      keys.offsets = {0};
      for (const std::string& cell : columns.at(config.features[metric.grouping_feature].column)) {
        if (!cell.empty()) keys.ids.push_back(std::stoll(cell));
        keys.offsets.push_back(static_cast<int32_t>(keys.ids.size()));
      }
      batch.ids[metric.grouping_feature] = std::move(keys);
    }
  }
  const std::vector<float> domains = config.model.domain_label >= 0
                                         ? batch.labels[config.model.domain_label].values
                                         : std::vector<float>();
  const std::vector<std::vector<float>> scores = GoldenScores(config, *forward, domains);
  MetricSet metrics(&config);
  const int64_t size = config.data.eval_batch_size > 0 ? config.data.eval_batch_size : batch.rows;
  for (int64_t begin = 0; begin < batch.rows; begin += size) {
    const int64_t end = std::min(begin + size, batch.rows);
    std::vector<std::vector<float>> part;
    for (const std::vector<float>& all : scores) {
      const int64_t width = static_cast<int64_t>(all.size()) / batch.rows;
      part.emplace_back(all.begin() + begin * width, all.begin() + end * width);
    }
    metrics.Add(RowsOf(batch, begin, end), part);
  }
  const Values values = FinishAlone(&metrics);

  std::ifstream file(GoldenPath(GetParam(), "metrics.json"));
  const nlohmann::json expected = nlohmann::json::parse(file)["float64"];
  int checked = 0;
  for (const Tower& tower : config.model.towers) {
    for (const Metric& metric : tower.metrics) {
      EXPECT_NEAR(values.at(metric.name), expected.at(metric.name).get<double>(), 1e-6)
          << metric.name;
      ++checked;
    }
  }
  EXPECT_GT(checked, 0);
}

INSTANTIATE_TEST_SUITE_P(Golden, GoldenMetricsTest, testing::ValuesIn(GoldenCases()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace pepnet

#include "worker/watch/evaluation_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/net/in_process.h"
#include "tests/support/cluster.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct Case {
  int rows = 2000;
  int positives = 200;
  float score = 0.1f;     // of every row
  float weight_of_0 = 1;  // of rows with label 0, those with label 1 have 1
  double auc = 0.7;
  LossKind loss = LossKind::kBinaryCrossEntropy;
  double label_smoothing = 0;
};

// The warnings about the rows of the case, spread over three workers.
std::vector<std::string> Said(const Case& given) {
  JobConfig config;
  config.data.labels = {"clk"};
  config.data.sample_weights = {"w"};
  Tower& tower = config.model.towers.emplace_back();
  tower.name = "ctr";
  tower.label = 0;
  tower.weighted = true;
  tower.sample_weight = 0;
  Loss& loss = tower.losses.emplace_back();
  loss.kind = given.loss;
  loss.label_smoothing = given.label_smoothing;
  tower.metrics.emplace_back().name = "auc_ctr";
  std::vector<std::string> texts;
  EXPECT_OK(RunRanks(3, {}, [&](int rank, Transport* transport) -> Status {
    const auto collective = MakeCollective(transport, Channel::kDense, {0, 1, 2}, 30);
    Batch batch;
    batch.labels.resize(1);
    batch.sample_weights.resize(1);
    for (int row = 0; row < given.rows; ++row) {
      if (row % 3 != rank) continue;
      const bool one = row < given.positives;
      batch.labels[0].values.push_back(one ? 1.0f : 0.0f);
      batch.sample_weights[0].push_back(one ? 1.0f : given.weight_of_0);
      ++batch.rows;
    }
    EvaluationWatch watch(&config);
    watch.Add(batch, {std::vector<float>(batch.rows, given.score)});
    watch.Add({}, {{}});
    PEPNET_ASSIGN_OR_RETURN(const std::vector<Warning> warnings,
                            watch.Warnings({{"auc_ctr", given.auc}}, collective.get()));
    if (rank == 0) {
      for (const Warning& warning : warnings) texts.push_back(warning.text);
    }
    return absl::OkStatus();
  }));
  return texts;
}

TEST(EvaluationWatchTest, PredictionsThatAreOffByAFactorAreNamed) {
  EXPECT_THAT(Said({}), IsEmpty());
  EXPECT_THAT(
      Said({.score = 0.25f}),
      ElementsAre(
          "task ctr predicts 2.50 times as many positives as there are (a mean of 0.25, observed "
          "0.1): "
          "their order may be right, but whoever bids or adds up with these probabilities is off "
          "by that "
          "factor; are the eval rows sampled as the training rows are, and is the training long "
          "enough?"));
  EXPECT_THAT(Said({.score = 0.05f}),
              ElementsAre(testing::StartsWith("task ctr predicts 0.50 times as many")));
  EXPECT_THAT(Said({.score = 0.14f}), IsEmpty()) << "less than a factor of 1.5";
  EXPECT_THAT(Said({.rows = 999, .score = 0.5f}), IsEmpty()) << "few rows";
  EXPECT_THAT(Said({.positives = 4, .score = 0.004f}), IsEmpty())
      << "4 positives where 8 are predicted is chance";
}

TEST(EvaluationWatchTest, PredictionsAreJudgedWithTheWeightsOfTheLoss) {
  // The optimum of the weighted loss: 200 / (200 + 1800 / 9) = 0.5.
  EXPECT_THAT(Said({.score = 0.5f, .weight_of_0 = 1.0f / 9}), IsEmpty());
  EXPECT_THAT(Said({.score = 0.1f, .weight_of_0 = 1.0f / 9}).size(), 1u);
}

TEST(EvaluationWatchTest, LossesWhoseOptimumIsElsewhereAreNotJudged) {
  EXPECT_THAT(Said({.score = 0.3f, .loss = LossKind::kBinaryFocal}), IsEmpty());
  EXPECT_THAT(Said({.score = 0.3f, .label_smoothing = 0.2}), IsEmpty());
}

TEST(EvaluationWatchTest, AnAucThatIsTooGoodIsNamed) {
  EXPECT_THAT(Said({.auc = 0.99999}),
              ElementsAre("auc_ctr is 0.999990 on 2000 rows, which no honest feature reaches: one "
                          "of them probably tells "
                          "the label, or the eval rows were trained on; find it with pepnet "
                          "explain, and leave it out"));
  EXPECT_THAT(Said({.auc = 0.998}), IsEmpty());
  EXPECT_THAT(Said({.positives = 49, .score = 0.0245f, .auc = 1}), IsEmpty()) << "few positives";
}

}  // namespace
}  // namespace pepnet

#include "worker/model/pepnet_model.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/net/collective.h"
#include "common/net/in_process.h"
#include "tests/support/golden.h"
#include "tests/support/status_matchers.h"
#include "tests/support/with_mutant.h"
#include "tests/worker/model/reference_model.h"
#include "tests/worker/model/tiny_model.h"
#include "worker/model/loss_weight.h"
#include "worker/model/output_rules.h"

namespace pepnet {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(PepnetModelTest, ALaterLossOfTheSameNameReplacesTheEarlier) {
  JobConfig config = TinyConfig();
  Loss smoothed = config.model.towers[0].losses[0];
  smoothed.label_smoothing = 0.3;
  config.model.towers[0].losses.push_back(smoothed);
  TinyModel twice(config, 30);
  config.model.towers[0].losses = {smoothed};
  TinyModel once(config, 30);
  const TinyData data = RandomData(config, 4, 30);
  const auto scales = RowScales(config, data.batch, LocalLossNormalizers(config, data.batch));
  LossReport two, one;
  ASSERT_OK(twice.model->Forward(twice.Input(data, &scales), &two));
  ASSERT_OK(once.model->Forward(once.Input(data, &scales), &one));
  EXPECT_EQ(two.names, one.names);
  EXPECT_EQ(two.values, one.values);
}

// ---- slices of a global batch -------------------------------------------------------------------

struct StepResult {
  std::vector<double> losses;
  std::vector<double> dense;                // the gradient arena
  std::vector<std::vector<double>> leaves;  // rows of all slices in order
};

// One step of the global batch cut at `cuts`, gradients added over the slices as the workers do.
StepResult TrainInSlices(const JobConfig& config, const TinyData& data,
                         const std::vector<int64_t>& cuts) {
  LossNormalizers global;
  std::vector<TinyData> slices;
  for (size_t i = 0; i + 1 < cuts.size(); ++i) {
    slices.push_back(Slice(config, data, cuts[i], cuts[i + 1]));
  }
  global.weight_sums.resize(config.model.towers.size());
  for (const TinyData& slice : slices) {
    const LossNormalizers local = LocalLossNormalizers(config, slice.batch);
    global.rows += local.rows;
    for (size_t t = 0; t < local.weight_sums.size(); ++t) {
      global.weight_sums[t] += local.weight_sums[t];
    }
  }
  StepResult result;
  result.leaves.resize(config.leaves.size());
  for (const TinyData& slice : slices) {
    TinyModel tiny(config, 7);
    const auto scales = RowScales(config, slice.batch, global);
    std::vector<AlignedBuffer<float>> leaf_gradients;
    const auto report = tiny.model->TrainStep(tiny.Input(slice, &scales, 9), 1.0, &leaf_gradients);
    EXPECT_OK(report);
    result.losses.resize(report->values.size());
    for (size_t i = 0; i < report->values.size(); ++i) result.losses[i] += report->values[i];
    result.dense.resize(tiny.parameters.gradients().size());
    for (size_t i = 0; i < result.dense.size(); ++i) {
      result.dense[i] += tiny.parameters.gradients()[i];
    }
    for (size_t f = 0; f < leaf_gradients.size(); ++f) {
      result.leaves[f].insert(result.leaves[f].end(), leaf_gradients[f].begin(),
                              leaf_gradients[f].end());
    }
  }
  return result;
}

// The same by one thread for each slice, with a collective among them.
StepResult TrainOnWorkers(const JobConfig& config, const TinyData& data,
                          const std::vector<int64_t>& cuts, DenseEngine engine) {
  const int workers = static_cast<int>(cuts.size()) - 1;
  LossNormalizers global;
  global.weight_sums.resize(config.model.towers.size());
  for (int w = 0; w < workers; ++w) {
    const LossNormalizers local =
        LocalLossNormalizers(config, Slice(config, data, cuts[w], cuts[w + 1]).batch);
    global.rows += local.rows;
    for (size_t t = 0; t < local.weight_sums.size(); ++t) {
      global.weight_sums[t] += local.weight_sums[t];
    }
  }
  std::vector<int> ranks(workers);
  std::iota(ranks.begin(), ranks.end(), 0);
  std::vector<StepResult> parts(workers);
  EXPECT_OK(RunRanks(workers, {}, [&](int rank, Transport* transport) -> Status {
    const auto collective = MakeCollective(transport, Channel::kDense, ranks, 30);
    const TinyData slice = Slice(config, data, cuts[rank], cuts[rank + 1]);
    TinyModel tiny(config,
                   {.engine = engine, .seed = 7, .threads = 1, .workers = collective.get()});
    const auto scales = RowScales(config, slice.batch, global);
    std::vector<AlignedBuffer<float>> leaf_gradients;
    PEPNET_ASSIGN_OR_RETURN(
        const LossReport report,
        tiny.model->TrainStep(tiny.Input(slice, &scales, 9), 1.0, &leaf_gradients));
    LossReport evaluation;
    PEPNET_RETURN_IF_ERROR(
        tiny.model->Forward(tiny.Input(slice, &scales, 9), &evaluation).status());
    StepResult& part = parts[rank];
    part.losses = report.values;
    part.losses.insert(part.losses.end(), evaluation.values.begin(), evaluation.values.end());
    part.dense.assign(tiny.parameters.gradients().begin(), tiny.parameters.gradients().end());
    for (const auto& gradient : leaf_gradients) {
      part.leaves.emplace_back(gradient.begin(), gradient.end());
    }
    return absl::OkStatus();
  }));
  StepResult result = parts[0];
  for (int w = 1; w < workers; ++w) {
    for (size_t i = 0; i < result.losses.size(); ++i) result.losses[i] += parts[w].losses[i];
    for (size_t i = 0; i < result.dense.size(); ++i) result.dense[i] += parts[w].dense[i];
    for (size_t f = 0; f < result.leaves.size(); ++f) {
      result.leaves[f].insert(result.leaves[f].end(), parts[w].leaves[f].begin(),
                              parts[w].leaves[f].end());
    }
  }
  return result;
}

std::string CompareSteps(const StepResult& a, const StepResult& b) {
  auto floats = [](const std::vector<double>& v) { return std::vector<float>(v.begin(), v.end()); };
  std::string difference = Difference("losses", floats(a.losses), b.losses, {1e-6, 1e-5});
  difference += Difference("dense gradients", floats(a.dense), b.dense, {1e-7, 1e-5});
  for (size_t f = 0; f < a.leaves.size(); ++f) {
    difference += Difference("gradients of feature " + std::to_string(f), floats(a.leaves[f]),
                             b.leaves[f], {1e-7, 1e-5});
  }
  return difference;
}

JobConfig SliceConfig() {
  JobConfig config = AllLossesConfig();
  config.model.ppnet_dropout_ratio = {0.3, 0.5};
  config.model.towers[0].mlp->dropout_ratio = {0.1, 0.4};
  return config;
}

TEST(PepnetModelTest, SlicesOfThreeFourAndNoRowsAddUpToTheBatchOfSeven) {
  const JobConfig config = SliceConfig();
  const TinyData data = RandomData(config, 7, 31);
  const StepResult whole = TrainInSlices(config, data, {0, 7});
  EXPECT_EQ(CompareSteps(TrainInSlices(config, data, {0, 3, 7, 7}), whole), "");
  EXPECT_EQ(CompareSteps(TrainInSlices(config, data, {0, 0, 1, 2, 7}), whole), "");
}

TEST(PepnetModelTest, VariationalDropoutOfSlicesAddsUp) {
  const JobConfig config = VariationalConfig();
  const TinyData data = RandomData(config, 7, 31);
  const StepResult whole = TrainInSlices(config, data, {0, 7});
  EXPECT_EQ(CompareSteps(TrainInSlices(config, data, {0, 3, 7, 7}), whole), "");
}

// The workers of one global batch as threads: rows of a session on several of them are compared all
// the same.
TEST(PepnetModelTest, SessionsReachOverTheSlicesOfAllWorkers) {
  const JobConfig config = SessionConfig();
  const TinyData data = RandomData(config, 11, 31);
  for (const DenseEngine engine : {DenseEngine::kFused, DenseEngine::kReference}) {
    const StepResult whole = TrainOnWorkers(config, data, {0, 11}, engine);
    EXPECT_EQ(CompareSteps(TrainOnWorkers(config, data, {0, 5, 11}, engine), whole), "");
    EXPECT_EQ(CompareSteps(TrainOnWorkers(config, data, {0, 4, 4, 11}, engine), whole), "");
    const StepResult apart = TrainInSlices(config, data, {0, 5, 11});
    EXPECT_NE(
        Difference("dense gradients", std::vector<float>(apart.dense.begin(), apart.dense.end()),
                   whole.dense, {}),
        "")
        << "no session is cut";
  }
}

// Batch norm in a tower and in an encoder, whose padded positions count, Dice in PPNet.
JobConfig NormalisingConfig() {
  JobConfig config = SequenceConfig();
  config.model.ppnet_activation = {ActivationKind::kDice, 0};
  Mlp& tower = *config.model.towers[0].mlp;
  tower.use_bn = true;
  tower.bias = false;
  for (Encoder& encoder : config.model.encoders) {
    encoder.attn_mlp.of_positions = encoder.attn_mlp.use_bn = true;
    encoder.attn_mlp.bias = false;
  }
  return config;
}

TEST(PepnetModelTest, BatchNormTakesTheStatisticsOfAllWorkers) {
  const JobConfig config = NormalisingConfig();
  const TinyData data = RandomData(config, 11, 31);
  const StepResult whole = TrainOnWorkers(config, data, {0, 11}, DenseEngine::kFused);
  EXPECT_EQ(CompareSteps(TrainOnWorkers(config, data, {0, 5, 11}, DenseEngine::kFused), whole), "");
  EXPECT_EQ(CompareSteps(TrainOnWorkers(config, data, {0, 4, 4, 11}, DenseEngine::kFused), whole),
            "");
  const StepResult apart = TrainInSlices(config, data, {0, 5, 11});
  EXPECT_NE(Difference("dense gradients",
                       std::vector<float>(apart.dense.begin(), apart.dense.end()), whole.dense, {}),
            "");
}

// The tower's first layer is linear in what evaluation shows as ppnet_output_ctr, here without
// dropout: its batch's moments are known.
TEST(PepnetModelTest, TrainingMovesTheRunningStatisticsByATenth) {
  JobConfig config = TinyConfig();
  config.model.ppnet_dropout_ratio.assign(config.model.ppnet_hidden_units.size(), 0);
  Mlp& mlp = *config.model.towers[0].mlp;
  mlp.use_bn = true;
  mlp.bias = false;
  const TinyData data = RandomData(config, 9, 31);
  for (const ComputeDevice::Kind device :
       {ComputeDevice::Kind::kHost, ComputeDevice::Kind::kHostCopy}) {
    TinyModel tiny(
        config,
        {.engine = DenseEngine::kReference, .seed = 7, .threads = 1, .device = {device, 0}});
    const auto scales = RowScales(config, data.batch, LocalLossNormalizers(config, data.batch));
    ASSERT_OK(tiny.model->Forward(tiny.Input(data, &scales), nullptr));
    std::vector<float> x;
    for (const ModelOutput& kept : tiny.model->intermediates()) {
      if (kept.name == "ppnet_output_ctr") x = kept.values;
    }
    const std::string layer = "model._task_tower.0.tower_mlp.mlp.0.perceptron.";
    const auto weight = tiny.parameters.value(tiny.parameters.Find(layer + "0.weight"));
    const auto mean = tiny.parameters.value(tiny.parameters.Find(layer + "1.running_mean"));
    const auto variance = tiny.parameters.value(tiny.parameters.Find(layer + "1.running_var"));
    std::vector<AlignedBuffer<float>> leaf_gradients;
    ASSERT_OK(tiny.model->TrainStep(tiny.Input(data, &scales), 1, &leaf_gradients));
    const size_t rows = 9, in = x.size() / rows;
    for (size_t c = 0; c < mean.size(); ++c) {
      std::vector<double> y(rows, 0.0);
      for (size_t row = 0; row < rows; ++row) {
        for (size_t i = 0; i < in; ++i) {
          y[row] += static_cast<double>(weight[c * in + i]) * x[row * in + i];
        }
      }
      const double average = std::accumulate(y.begin(), y.end(), 0.0) / rows;
      double squares = 0;
      for (const double value : y) squares += (value - average) * (value - average);
      EXPECT_NEAR(mean[c], 0.1 * average, 1e-6);
      EXPECT_NEAR(variance[c], 0.9 + 0.1 * squares / (rows - 1), 1e-6);
    }
  }
}

TEST(PepnetModelTest, ABatchOfOneRowHasNoStatistics) {
  const JobConfig config = NormalisingConfig();
  const TinyData data = RandomData(config, 1, 31);
  TinyModel tiny(config, 7);
  const auto scales = RowScales(config, data.batch, LocalLossNormalizers(config, data.batch));
  std::vector<AlignedBuffer<float>> leaf_gradients;
  EXPECT_THAT(tiny.model->TrainStep(tiny.Input(data, &scales), 1, &leaf_gradients),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::HasSubstr("at least 2 rows")));
  EXPECT_OK(tiny.model->Forward(tiny.Input(data, &scales), nullptr));
}

TEST(PepnetModelTest, ParetoWeightsAreThoseOfTheGlobalBatch) {
  JobConfig config = AllLossesConfig();
  config.model.pareto_weights = true;
  config.model.towers[1].pareto_min_weight = 0.3;
  const TinyData data = RandomData(config, 11, 31);
  const StepResult whole = TrainOnWorkers(config, data, {0, 11}, DenseEngine::kFused);
  EXPECT_EQ(CompareSteps(TrainOnWorkers(config, data, {0, 5, 11}, DenseEngine::kFused), whole), "");
  EXPECT_EQ(CompareSteps(TrainOnWorkers(config, data, {0, 4, 4, 11}, DenseEngine::kFused), whole),
            "");
}

TEST(PepnetModelTest, MutantsOfTheSliceRuleAreFound) {
  PEPNET_NEEDS_MUTANTS();
  const JobConfig config = SliceConfig();
  const TinyData data = RandomData(config, 7, 31);
  const StepResult whole = TrainInSlices(config, data, {0, 7});
  for (Mutant mutant : {Mutant::kLocalLossNormalizer, Mutant::kDropoutByLocalRow}) {
    const WithMutant faulty(mutant);
    EXPECT_NE(CompareSteps(TrainInSlices(config, data, {0, 3, 7}), whole), "");
  }
}

TEST(PepnetModelTest, NoRowsGiveZeroLossesZeroGradientsAndEmptyOutputs) {
  for (const JobConfig& config : {SliceConfig(), DomainConfig(), SessionConfig()}) {
    TinyModel tiny(config, 7);
    const TinyData data = RandomData(config, 0, 1);
    const auto scales = RowScales(config, data.batch, LocalLossNormalizers(config, data.batch));
    std::vector<AlignedBuffer<float>> leaf_gradients;
    ASSERT_OK_AND_ASSIGN(const auto report,
                         tiny.model->TrainStep(tiny.Input(data, &scales), 1, &leaf_gradients));
    EXPECT_EQ(report.names.size(), report.values.size());
    EXPECT_FALSE(report.names.empty());
    for (double loss : report.values) EXPECT_EQ(loss, 0);
    for (float g : tiny.parameters.gradients()) EXPECT_EQ(g, 0.0f);
    for (const auto& gradient : leaf_gradients) EXPECT_TRUE(gradient.empty());
    LossReport losses;
    ASSERT_OK_AND_ASSIGN(const auto outputs,
                         tiny.model->Forward(tiny.Input(data, &scales), &losses));
    EXPECT_EQ(outputs.size(), OutputList(config).size());
    for (const ModelOutput& output : outputs) EXPECT_TRUE(output.values.empty());
    EXPECT_EQ(losses.names, report.names);
  }
}

TEST(PepnetModelTest, DenseGradientsAddUpAndFeatureGradientsAreReplaced) {
  TinyModel tiny(TinyConfig(), 7);
  const TinyData data = RandomData(tiny.config, 6, 32);
  const auto scales =
      RowScales(tiny.config, data.batch, LocalLossNormalizers(tiny.config, data.batch));
  std::vector<AlignedBuffer<float>> first, second;
  ASSERT_OK(tiny.model->TrainStep(tiny.Input(data, &scales), 1, &first));
  const std::vector<double> once(tiny.parameters.gradients().begin(),
                                 tiny.parameters.gradients().end());
  ASSERT_OK(tiny.model->TrainStep(tiny.Input(data, &scales), 1, &first));
  ASSERT_OK(tiny.model->TrainStep(tiny.Input(data, &scales), 1, &second));
  // Sums run on from what is there, so they may round differently from three times the sum of one
  // step.
  double largest = 0;
  for (double g : once) largest = std::max(largest, std::abs(g));
  for (size_t i = 0; i < once.size(); ++i) {
    EXPECT_NEAR(tiny.parameters.gradients()[i], 3 * once[i], 1e-6 * largest);
  }
  for (size_t i = 0; i < first[0].size(); ++i) EXPECT_EQ(first[0][i], second[0][i]);
}

TEST(PepnetModelTest, WeightsAreReadInPlace) {
  TinyModel tiny(TinyConfig(), 7);
  const TinyData data = RandomData(tiny.config, 3, 33);
  const auto before = tiny.model->Forward(tiny.Input(data, nullptr), nullptr);
  tiny.parameters.value(tiny.parameters.Find("model._task_tower.0.linear.bias"))[0] += 1;
  const auto after = tiny.model->Forward(tiny.Input(data, nullptr), nullptr);
  ASSERT_EQ((*after)[0].name, "logits_ctr");
  for (int row = 0; row < 3; ++row) {
    EXPECT_NEAR((*after)[0].values[row], (*before)[0].values[row] + 1, 1e-6);
  }
}

// ---- outputs ------------------------------------------------------------------------------------

std::string Describe(const std::vector<ModelOutput>& outputs) {
  std::string text;
  for (const ModelOutput& output : outputs) {
    text += output.name + ":" + std::to_string(output.width) + " ";
  }
  return text;
}

TEST(PepnetModelTest, OutputsAreThoseOfTheLossesSortedByName) {
  EXPECT_EQ(Describe(OutputList(AllLossesConfig())),
            "logits_ctr:0 logits_focal:0 logits_soft:3 logits_two:2 logits_val:0 probs1_two:0 "
            "probs_ctr:0 probs_focal:0 "
            "probs_soft:3 probs_two:2 probs_val:0 y_val:0 ");
  EXPECT_EQ(Describe(OutputList(DomainConfig())),
            "logits_ctr_0:0 logits_ctr_1:0 logits_ctr_2:0 probs_ctr_0:0 probs_ctr_1:0 "
            "probs_ctr_2:0 y_val_ue_0:0 "
            "y_val_ue_1:0 "
            "y_val_ue_2:0 ");
}

TEST(PepnetModelTest, OutputValuesAreTheRawOutputAndItsSquash) {
  TinyModel tiny(AllLossesConfig(), 34);
  const TinyData data = RandomData(tiny.config, 4, 34);
  ASSERT_OK_AND_ASSIGN(const auto outputs, tiny.model->Forward(tiny.Input(data, nullptr), nullptr));
  const ReferenceValues reference =
      Evaluate(tiny.config, data.batch, std::vector<std::vector<float>>(5, std::vector<float>(4)),
               tiny.Point(data), {}, nullptr);
  std::map<std::string, std::vector<double>> expected;
  for (int row = 0; row < 4; ++row) {
    const double ctr = reference.towers[0][row][0], focal = reference.towers[1][row][0],
                 val = reference.towers[4][row][0];
    expected["logits_ctr"].push_back(ctr);
    expected["probs_ctr"].push_back(1 / (1 + std::exp(-ctr)));
    expected["logits_focal"].push_back(focal);
    expected["probs_focal"].push_back(1 / (1 + std::exp(-focal)));
    expected["logits_val"].push_back(val);
    expected["probs_val"].push_back(1 / (1 + std::exp(-val)));
    expected["y_val"].push_back(val);
    for (int t : {2, 3}) {
      const std::vector<double>& z = reference.towers[t][row];
      const std::string name = t == 2 ? "soft" : "two";
      double sum = 0;
      for (double v : z) sum += std::exp(v);
      for (double v : z) expected["logits_" + name].push_back(v);
      for (double v : z) expected["probs_" + name].push_back(std::exp(v) / sum);
      if (t == 3) expected["probs1_two"].push_back(std::exp(z[1]) / sum);
    }
  }
  ASSERT_EQ(outputs.size(), expected.size());
  for (const ModelOutput& output : outputs) {
    EXPECT_EQ(Difference(output.name, output.values, expected.at(output.name), {1e-6, 1e-5}), "");
  }
}

TEST(PepnetModelTest, MetricInputsAreOnePerTowerInTowerOrder) {
  const JobConfig config = AllLossesConfig();
  std::vector<ModelOutput> outputs = OutputList(config);
  for (ModelOutput& output : outputs) output.values.assign(2 * std::max(output.width, 1), 0.5f);
  Batch batch;
  batch.rows = 2;
  EXPECT_EQ(Describe(SelectMetricInputs(config, batch, outputs)),
            "probs_ctr:0 probs_focal:0 probs_soft:3 probs1_two:0 y_val:0 ");
}

TEST(PepnetModelTest, MetricInputsAreTheRowsOwnDomain) {
  const JobConfig config = DomainConfig();
  std::vector<ModelOutput> outputs = OutputList(config);
  float next = 0;
  for (ModelOutput& output : outputs) {
    // probs_ctr_0: 12.., y_val_ue_0: 24..
    for (int row = 0; row < 4; ++row) output.values.push_back(next++);
  }
  Batch batch;
  batch.rows = 4;
  batch.labels.resize(3);
  batch.labels[1].integers = {2, 0, 1, 0};
  batch.labels[1].values = {2, 0, 1, 0};
  const std::vector<ModelOutput> selected = SelectMetricInputs(config, batch, outputs);
  EXPECT_EQ(Describe(selected), "probs_ctr:0 y_val_ue:0 ");
  EXPECT_THAT(selected[0].values, ElementsAre(20, 13, 18, 15));
  EXPECT_THAT(selected[1].values, ElementsAre(32, 25, 30, 27));
}

TEST(PepnetModelTest, OwnDomainOutputsAreNamedWithoutTheDomain) {
  const JobConfig config = DomainConfig();
  std::vector<ModelOutput> outputs = OutputList(config);
  float next = 0;
  for (ModelOutput& output : outputs) {
    for (int row = 0; row < 3; ++row) output.values.push_back(next++);
  }
  Batch batch;
  batch.rows = 3;
  batch.labels.resize(3);
  batch.labels[1].integers = {1, 2, 0};
  batch.labels[1].values = {1, 2, 0};
  ASSERT_OK_AND_ASSIGN(const auto own, OwnDomainOutputs(config));
  std::vector<ModelOutput> selected;
  for (const OwnDomainOutput& output : own) {
    selected.push_back(SelectOwnDomain(config, batch, output, outputs));
  }
  EXPECT_EQ(Describe(selected), "logits_ctr:0 probs_ctr:0 y_val_ue:0 ");
  EXPECT_THAT(selected[0].values, ElementsAre(3, 7, 2));
  EXPECT_THAT(selected[1].values, ElementsAre(12, 16, 11));
  EXPECT_THAT(selected[2].values, ElementsAre(21, 25, 20));
  EXPECT_TRUE(OwnDomainOutputs(AllLossesConfig())->empty());  // one output per task already
}

TEST(PepnetModelTest, OwnDomainOutputsTakeNoNameOfAnotherTower) {
  JobConfig config = DomainConfig();
  Tower other = config.model.towers[0];
  other.name = "ctr_1";  // probs_ctr_1 of its own domain, and of domain 1 of ctr
  config.model.towers.push_back(other);
  EXPECT_THAT(OwnDomainOutputs(config),
              IsError(::testing::HasSubstr(
                  "the output logits_ctr_1 of each row's own domain would have the name")));
}

// ---- labels that do not fit ---------------------------------------------------------------------

Status TrainStatus(const JobConfig& config, const TinyData& data) {
  TinyModel tiny(config, 7);
  const std::vector<std::vector<float>> scales(config.model.towers.size(),
                                               std::vector<float>(data.batch.rows));
  std::vector<AlignedBuffer<float>> leaf_gradients;
  const Status status =
      tiny.model->TrainStep(tiny.Input(data, &scales), 1, &leaf_gradients).status();
  LossReport losses;
  EXPECT_EQ(tiny.model->Forward(tiny.Input(data, &scales), &losses).status(), status);
  EXPECT_OK(tiny.model->Forward(tiny.Input(data, nullptr), nullptr)) << "predict needs no labels";
  return status;
}

TEST(PepnetModelTest, LabelsThatDoNotFitAreInvalidArguments) {
  TinyData data = RandomData(AllLossesConfig(), 3, 35);
  data.batch.labels[1].integers = {0, 3, 1};
  Status status = TrainStatus(AllLossesConfig(), data);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(),
            "test rows: label column 'c' is 3 in row 1 of the batch (counted from 0), but "
            "loss_soft expects 0 to 2");

  data.batch.labels[1].integers.clear();
  status = TrainStatus(AllLossesConfig(), data);
  EXPECT_EQ(status.message(),
            "test rows: label column 'c' must hold integers, because loss_soft reads it");

  data = RandomData(DomainConfig(), 3, 35);
  data.batch.labels[1].integers = {0, 1, -1};
  status = TrainStatus(DomainConfig(), data);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status, IsError(HasSubstr("is -1 in row 2")));
  EXPECT_THAT(status, IsError(HasSubstr("domain_input_name expects 0 to 2")));

  data.batch.labels.clear();
  EXPECT_EQ(TrainStatus(DomainConfig(), data).message(),
            "test rows: label column 'y' has no value for every row");
}

}  // namespace
}  // namespace pepnet

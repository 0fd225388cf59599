// The fused engine against the reference engine, and both against float64: golden cases, random
// networks, routing on and off, several threads.
#include "worker/model/fused/fused_model.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <optional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/match.h"

#include "common/base/random.h"
#include "tests/support/golden.h"
#include "tests/support/status_matchers.h"
#include "tests/support/with_mutant.h"
#include "tests/worker/model/precise_model.h"
#include "tests/worker/model/tiny_model.h"
#include "worker/model/engine/make_model.h"
#include "worker/model/loss_weight.h"

namespace pepnet {
namespace {

using testing::HasSubstr;

// Everything that a step gives.
struct Step {
  LossReport losses;
  std::vector<float> dense;                // the gradient arena
  std::vector<std::vector<float>> leaves;  // gradients
  std::vector<ModelOutput> outputs;
  LossReport evaluation;
};

// ||a - b|| relative to ||b||; both zero: 0.
double RelativeDistance(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return INFINITY;
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    norm += static_cast<double>(b[i]) * b[i];
  }
  if (difference == 0) return 0;
  return norm == 0 ? INFINITY : std::sqrt(difference / norm);
}

constexpr double kRelative = 1e-5;

std::vector<float> Cut(const std::vector<float>& arena, const DenseParameters& parameters, int i) {
  const auto begin = arena.begin() + static_cast<int64_t>(parameters.offset(i));
  return {begin, begin + parameters.specs()[i].elements()};
}

void ExpectSameStep(const Step& step, const Step& reference, const JobConfig& config,
                    const DenseParameters& parameters) {
  ASSERT_EQ(step.losses.names, reference.losses.names);
  ASSERT_EQ(step.evaluation.names, reference.evaluation.names);
  for (size_t i = 0; i < step.losses.values.size(); ++i) {
    const double tolerance = 1e-6 + kRelative * std::abs(reference.losses.values[i]);
    EXPECT_NEAR(step.losses.values[i], reference.losses.values[i], tolerance)
        << step.losses.names[i];
    if (i >= step.evaluation.values.size()) continue;  // penalties are of training
    EXPECT_NEAR(step.evaluation.values[i], reference.evaluation.values[i], tolerance)
        << step.losses.names[i];
  }
  ASSERT_EQ(step.losses.scores.size(), reference.losses.scores.size());
  for (size_t t = 0; t < step.losses.scores.size(); ++t) {
    EXPECT_LE(RelativeDistance(step.losses.scores[t], reference.losses.scores[t]), kRelative)
        << config.model.towers[t].name;
  }
  ASSERT_EQ(step.outputs.size(), reference.outputs.size());
  for (size_t i = 0; i < step.outputs.size(); ++i) {
    EXPECT_EQ(step.outputs[i].name, reference.outputs[i].name);
    EXPECT_EQ(step.outputs[i].width, reference.outputs[i].width);
    EXPECT_LE(RelativeDistance(step.outputs[i].values, reference.outputs[i].values), kRelative)
        << step.outputs[i].name;
  }
  // A parameter whose gradient is nearly nothing beside the others' may round away; its distance
  // counts against the whole gradient's norm.
  double norm = 0;
  for (float g : reference.dense) norm += static_cast<double>(g) * g;
  norm = std::sqrt(norm);
  for (int i = 0; i < static_cast<int>(parameters.specs().size()); ++i) {
    const std::vector<float> a = Cut(step.dense, parameters, i),
                             b = Cut(reference.dense, parameters, i);
    double own = 0;
    for (float g : b) own += static_cast<double>(g) * g;
    own = std::sqrt(own);
    const double distance = RelativeDistance(a, b);
    if (own == 0) {
      EXPECT_EQ(distance, 0) << parameters.specs()[i].name << " is unused";
    } else {
      EXPECT_LE(distance * own, kRelative * own + 1e-7 * norm) << parameters.specs()[i].name;
    }
  }
  ASSERT_EQ(step.leaves.size(), reference.leaves.size());
  for (size_t f = 0; f < step.leaves.size(); ++f) {
    EXPECT_LE(RelativeDistance(step.leaves[f], reference.leaves[f]), kRelative)
        << config.features[config.leaves[f].feature].name;
  }
}

constexpr double kGradientScale = 0.5;

Step TakeStep(PepnetModel* model, DenseParameters* parameters, const ModelInput& input) {
  Step step;
  parameters->ZeroGradients();
  std::vector<AlignedBuffer<float>> gradients;
  const auto report = model->TrainStep(input, kGradientScale, &gradients);
  EXPECT_OK(report);
  if (report.ok()) step.losses = *report;
  step.dense.assign(parameters->gradients().begin(), parameters->gradients().end());
  for (const auto& gradient : gradients) step.leaves.emplace_back(gradient.begin(), gradient.end());
  auto outputs = model->Forward(input, &step.evaluation);
  EXPECT_OK(outputs);
  if (outputs.ok()) step.outputs = *std::move(outputs);
  return step;
}

// Both engines against float64: every loss, output and gradient within 1e-6 of it, relative to the
// tensor's norm, plus what rounding explains: how far the float64 result moves when every weight
// and value moves by up to 1e-6, some units in the last place of a float32. That is next to nothing
// but for differences of nearly equal numbers, and for a ReLU that stands at zero up to rounding.
class PreciseBounds {
 public:
  PreciseBounds(const JobConfig& config, DenseParameters* parameters, const ModelInput& input,
                uint64_t seed)
      : exact_(Tensors(TakePreciseStep(config, parameters, input, seed, kGradientScale))),
        moved_(exact_.size(), 0.0) {
    for (uint64_t n = 1; n <= kDisturbed; ++n) {
      const auto other =
          Tensors(TakePreciseStep(config, parameters, input, seed, kGradientScale, kNoise, n));
      for (size_t t = 0; t < exact_.size(); ++t) {
        moved_[t] = std::max(moved_[t], Distance(other[t], exact_[t]));
      }
    }
  }

  void Expect(const Step& step, const JobConfig& config, const DenseParameters& parameters) const {
    size_t t = 0;
    // A parameter that shifts all scores of a softmax alike has no gradient but what rounding
    // leaves of the others'.
    double dense = 0;
    for (size_t i = 1; i <= parameters.specs().size(); ++i) {
      dense = std::max(dense, Distance(exact_[i], std::vector<double>(exact_[i].size())));
    }
    auto expect = [&](const auto& values, const std::string& name, double floor = 0) {
      const std::vector<double>& exact = exact_[t];
      const std::vector<double> actual(values.begin(), values.end());
      ASSERT_EQ(actual.size(), exact.size()) << name;
      const std::vector<double> zero(exact.size());
      EXPECT_LE(Distance(actual, exact), kPrecise * Distance(exact, zero) + moved_[t] + floor)
          << name;
      ++t;
    };
    expect(step.losses.values, "losses");
    for (int i = 0; i < static_cast<int>(parameters.specs().size()); ++i) {
      const std::string& name = parameters.specs()[i].name;
      const bool shifts = absl::StrContains(name, "encoders") && absl::EndsWith(name, "bias");
      expect(Cut(step.dense, parameters, i), name, shifts ? kPrecise * dense : 0);
    }
    for (size_t f = 0; f < step.leaves.size(); ++f) {
      expect(step.leaves[f], config.features[config.leaves[f].feature].name);
    }
    for (const ModelOutput& output : step.outputs) expect(output.values, output.name);
    EXPECT_EQ(t, exact_.size());
  }

 private:
  static constexpr double kPrecise = 1e-6, kNoise = 1e-6;
  static constexpr uint64_t kDisturbed = 8;

  static std::vector<std::vector<double>> Tensors(PreciseStep step) {
    std::vector<std::vector<double>> tensors = {std::move(step.losses)};
    for (auto* list : {&step.dense, &step.leaves, &step.outputs}) {
      tensors.insert(tensors.end(), list->begin(), list->end());
    }
    return tensors;
  }
  static double Distance(const std::vector<double>& a, const std::vector<double>& b) {
    double square = 0;
    for (size_t i = 0; i < a.size(); ++i) square += (a[i] - b[i]) * (a[i] - b[i]);
    return std::sqrt(square);
  }

  // Losses, parameters' gradients, features' gradients, outputs.
  const std::vector<std::vector<double>> exact_;
  std::vector<double> moved_;  // by tensor
};

// The reference engine against the fused one with routing, without, with blocks of few rows and
// with three threads.
void CompareEngines(const JobConfig& config, DenseParameters* parameters, const ModelInput& input,
                    uint64_t seed) {
  const auto reference = MakeModel(&config, parameters,
                                   {.engine = DenseEngine::kReference, .seed = seed, .threads = 1})
                             .value();
  const Step expected = TakeStep(reference.get(), parameters, input);
  const bool has_rows = input.batch->rows > 0;  // without, there is nothing to differentiate
  std::optional<PreciseBounds> bounds;
  if (has_rows) {
    SCOPED_TRACE("reference");
    bounds.emplace(config, parameters, input, seed);
    bounds->Expect(expected, config, *parameters);
  }
  struct Variant {
    const char* name;
    int threads;
    FusedOptions options;
  };
  for (const Variant& variant :
       {Variant{"routed", 1, {}}, Variant{"unrouted", 1, {false, 512}},
        Variant{"small blocks", 1, {true, 3}}, Variant{"three threads", 3, {true, 4}},
        Variant{"three unrouted threads", 3, {false, 2}}}) {
    SCOPED_TRACE(variant.name);
    const auto fused = MakeFusedModel(&config, parameters, seed, variant.threads, variant.options);
    const Step step = TakeStep(fused.get(), parameters, input);
    ExpectSameStep(step, expected, config, *parameters);
    if (has_rows) bounds->Expect(step, config, *parameters);
    // Used buffers must not show in the next step.
    const Step once = TakeStep(fused.get(), parameters, input),
               again = TakeStep(fused.get(), parameters, input);
    EXPECT_EQ(once.dense, again.dense) << "a repeated step has other bits";
    EXPECT_EQ(once.leaves, again.leaves) << "a repeated step has other bits";
  }
}

class Dice {
 public:
  explicit Dice(uint64_t seed) : key_(RandomKey(seed, RandomPurpose::kTest, 7)) {}
  int64_t Below(int64_t limit) {
    return static_cast<int64_t>(Philox4x32(key_, 0, next_++)[0] % limit);
  }
  bool Coin() { return Below(2) == 1; }

 private:
  const uint64_t key_;
  uint64_t next_ = 0;
};

Activation RandomActivation(Dice* dice) {
  constexpr ActivationKind kKinds[] = {
      ActivationKind::kIdentity,  ActivationKind::kRelu, ActivationKind::kSigmoid,
      ActivationKind::kTanh,      ActivationKind::kSilu, ActivationKind::kLeakyRelu,
      ActivationKind::kGelu,      ActivationKind::kElu,  ActivationKind::kPrelu,
      ActivationKind::kGeluTanh,  ActivationKind::kMish, ActivationKind::kSoftplus,
      ActivationKind::kSelu,      ActivationKind::kCelu, ActivationKind::kSoftsign,
      ActivationKind::kLogSigmoid};
  return {kKinds[dice->Below(std::size(kKinds))], 0.1 + 0.1 * static_cast<double>(dice->Below(5))};
}

std::vector<int> RandomWidths(Dice* dice, int64_t least) {
  std::vector<int> widths;
  for (int64_t i = least + dice->Below(3); i > 0; --i) {
    widths.push_back(static_cast<int>(1 + dice->Below(40)));
  }
  return widths;
}

std::vector<double> RandomRatios(Dice* dice, size_t count) {
  std::vector<double> ratios;
  for (size_t i = 0; i < count; ++i) {
    ratios.push_back(dice->Coin() ? 0 : 0.1 * static_cast<double>(dice->Below(7)));
  }
  return ratios;
}

JobConfig RandomConfig(Dice* dice) {
  const int64_t kind = dice->Below(5);
  JobConfig config = kind < 2 ? DomainConfig() : kind < 4 ? AllLossesConfig() : SessionConfig();
  Model& model = config.model;
  if (dice->Below(4) == 0) model.domain.reset();
  if (dice->Below(4) == 0) model.uia.reset();
  if (dice->Below(4) == 0) {
    model.main.variational = VariationalDropout{"model.variational", "penalty", 0.3, 2000};
  }
  model.epnet_hidden_unit = static_cast<int>(1 + dice->Below(20));
  model.epnet_gamma = 0.5 + static_cast<double>(dice->Below(4));
  model.ppnet_gamma = 0.5 + static_cast<double>(dice->Below(4));
  model.ppnet_hidden_units = RandomWidths(dice, 1);
  model.ppnet_dropout_ratio = RandomRatios(dice, model.ppnet_hidden_units.size());
  model.ppnet_activation = RandomActivation(dice);
  for (Tower& tower : model.towers) {
    if (dice->Below(4) == 0) tower.train_metrics.emplace_back();  // wants the scores of all rows
    if (dice->Below(4) == 0) {
      tower.mlp.reset();
      continue;
    }
    tower.mlp->hidden_units = RandomWidths(dice, 1);
    tower.mlp->dropout_ratio = RandomRatios(dice, tower.mlp->hidden_units.size());
    tower.mlp->activation = RandomActivation(dice);
    tower.mlp->bias = dice->Coin();
    // Of two elements or fewer LayerNorm leaves rounding errors alone to compare.
    const auto& widths = tower.mlp->hidden_units;
    tower.mlp->use_ln = dice->Below(3) == 0 && *std::min_element(widths.begin(), widths.end()) > 4;
  }
  return config;
}

TEST(FusedEngineTest, RandomNetworksGiveTheReferencesNumbers) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Dice dice(seed);
    const JobConfig config = RandomConfig(&dice);
    TinyModel tiny(config, seed);
    for (size_t i = 0; i < tiny.parameters.specs().size(); ++i) {
      // LayerNorm's ones and zeros would hide a swap of its two parameters.
      if (tiny.parameters.specs()[i].init != ParameterSpec::Init::kFanIn) {
        for (float& v : tiny.parameters.value(static_cast<int>(i))) v += 0.1f;
      }
    }
    constexpr int64_t kRows[] = {0, 1, 2, 7, 16, 33};
    const TinyData data = RandomData(tiny.config, kRows[dice.Below(6)], seed);
    auto scales = RowScales(tiny.config, data.batch, LocalLossNormalizers(tiny.config, data.batch));
    for (std::vector<float>& scale : scales) {
      const int64_t kept = dice.Below(4);  // 0: no row at all; 3: every row
      for (float& s : scale) s = dice.Below(3) < kept ? s : 0.0f;
    }
    CompareEngines(tiny.config, &tiny.parameters, tiny.Input(data, &scales, 5), seed);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(FusedEngineTest, EncodersGiveTheReferencesNumbers) {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    JobConfig config = SequenceConfig();
    if (seed > 6) {
      config.model.main.variational = VariationalDropout{"model.variational", "penalty", 0.1, 2000};
    }
    TinyModel tiny(config, seed);
    for (size_t i = 0; i < tiny.parameters.specs().size(); ++i) {
      if (tiny.parameters.specs()[i].init == ParameterSpec::Init::kFanIn) continue;
      for (float& v : tiny.parameters.value(static_cast<int>(i))) v += 0.1f;
    }
    constexpr int64_t kRows[] = {0, 1, 7, 33};
    const TinyData data = RandomData(tiny.config, kRows[seed % 4], seed);
    const auto scales =
        RowScales(tiny.config, data.batch, LocalLossNormalizers(tiny.config, data.batch));
    CompareEngines(tiny.config, &tiny.parameters, tiny.Input(data, &scales, 5), seed);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(FusedEngineTest, DenseEmbeddingsGiveTheReferencesNumbers) {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    JobConfig config = EmbeddingConfig();
    DenseEmbedding& autodis = config.model.embeddings[2];
    autodis.channels = seed % 3 == 0 ? 1 : seed % 3 == 1 ? 17 : 4;
    // The first is nearly a choice of one channel.
    autodis.temperature = seed % 2 == 0 ? 0.01 : 1.5;
    TinyModel tiny(config, seed);
    constexpr int64_t kRows[] = {0, 1, 7, 33};
    const TinyData data = RandomData(tiny.config, kRows[seed % 4], seed);
    const auto scales =
        RowScales(tiny.config, data.batch, LocalLossNormalizers(tiny.config, data.batch));
    CompareEngines(tiny.config, &tiny.parameters, tiny.Input(data, &scales, 5), seed);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(FusedEngineTest, TheGateMutantIsTheReferencesMutant) {
  PEPNET_NEEDS_MUTANTS();
  TinyModel tiny(AllLossesConfig(), 3);
  const TinyData data = RandomData(tiny.config, 9, 3);
  auto scales = RowScales(tiny.config, data.batch, LocalLossNormalizers(tiny.config, data.batch));
  scales[1][4] = 0;
  const WithMutant mutant(Mutant::kGateSeesGradient);
  CompareEngines(tiny.config, &tiny.parameters, tiny.Input(data, &scales), 3);
}

// A task that no row counts for, and an absent domain: exactly zero, whatever the buffers held
// before.
TEST(FusedEngineTest, WhatNoRowUsesGetsExactlyNoGradient) {
  TinyModel tiny(DomainConfig(), 4);
  TinyData data = RandomData(tiny.config, 20, 4);
  for (int64_t row = 0; row < 20; ++row) data.batch.labels[1].integers[row] = row % 2 == 0 ? 0 : 2;
  auto scales = RowScales(tiny.config, data.batch, LocalLossNormalizers(tiny.config, data.batch));
  std::fill(scales[0].begin(), scales[0].end(), 0.0f);
  const auto fused = MakeFusedModel(&tiny.config, &tiny.parameters, 4, 2, {});
  const Step step = TakeStep(fused.get(), &tiny.parameters, tiny.Input(data, &scales));
  EXPECT_EQ(step.losses.values[0], 0);
  for (int i = 0; i < static_cast<int>(tiny.parameters.specs().size()); ++i) {
    const std::string& name = tiny.parameters.specs()[i].name;
    const bool unused =
        name.starts_with("model._task_tower.0.") || name.starts_with("model._task_tower.1.") ||
        name.starts_with("model._task_tower.2.") || name.starts_with("model._task_tower.4.") ||
        name.starts_with("model.ppnet.linears.0.") || name.starts_with("model.ppnet.gate_nus.1.");
    if (!unused) continue;
    for (float g : Cut(step.dense, tiny.parameters, i)) EXPECT_EQ(g, 0.0f) << name;
  }
}

TEST(FusedEngineTest, MixedPrecisionIsLeftToTheReference) {
  const JobConfig config = TinyConfig();
  ModelOptions options{.seed = 5, .threads = 1};
  EXPECT_EQ(WhyFusedEngineDoesNotRun(config.model, options), "");
  TinyModel fused(config, options);
  options.bf16 = true;
  EXPECT_NE(WhyFusedEngineDoesNotRun(config.model, options), "");
  TinyModel fallen_back(config, options);
  const TinyData data = RandomData(config, 6, 5);
  const auto scales = RowScales(config, data.batch, LocalLossNormalizers(config, data.batch));
  const auto a = fallen_back.model->Forward(fallen_back.Input(data, &scales), nullptr);
  const auto b = fused.model->Forward(fused.Input(data, &scales), nullptr);
  EXPECT_GT(RelativeDistance((*a)[0].values, (*b)[0].values), 1e-4) << "BF16 was not used";
}

TEST(FusedEngineTest, RowsThatDependOnOneAnotherAreLeftToTheReference) {
  const ModelOptions options{.seed = 5, .threads = 1};
  JobConfig config = TinyConfig();
  config.model.ppnet_activation = {ActivationKind::kDice, 0};
  EXPECT_THAT(WhyFusedEngineDoesNotRun(config.model, options), HasSubstr("Dice"));
  config.model.uia.reset();
  EXPECT_EQ(WhyFusedEngineDoesNotRun(config.model, options), "");
  config.model.towers[0].mlp->use_bn = true;
  EXPECT_THAT(WhyFusedEngineDoesNotRun(config.model, options), HasSubstr("batch norm"));
  config = TinyConfig();
  config.model.pareto_weights = true;
  EXPECT_THAT(WhyFusedEngineDoesNotRun(config.model, options), HasSubstr("use_pareto_loss_weight"));
  config = TinyConfig();
  config.model.towers[0].mlp->activation = {ActivationKind::kPrelu, 0.25, 0, 5};
  EXPECT_THAT(WhyFusedEngineDoesNotRun(config.model, options), HasSubstr("one weight"));
  config.model.towers[0].mlp->activation = {ActivationKind::kSoftmax, -1};
  EXPECT_THAT(WhyFusedEngineDoesNotRun(config.model, options), HasSubstr("nn.Softmax is none"));
}

std::vector<std::string> FusedCases() {
  std::vector<std::string> cases;
  for (const std::string& name : PooledGoldenCases()) {
    if (WhyFusedEngineDoesNotRun(LoadGoldenConfig(name).model, {}).empty()) cases.push_back(name);
  }
  return cases;
}

class FusedGoldenTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Cases, FusedGoldenTest, testing::ValuesIn(FusedCases()),
                         [](const auto& info) { return info.param; });

// The case's network and labels on random features; pepnet_model_golden_test.cc holds both engines
// against its numbers.
TEST_P(FusedGoldenTest, ItsNetworkGivesTheReferencesNumbers) {
  const JobConfig config = LoadGoldenConfig(GetParam());
  DenseParameters parameters(DenseParameterList(config));
  parameters.Initialize(6);
  const auto columns = GoldenColumns(GetParam(), config);
  Batch batch;
  batch.rows = batch.global_rows = 45;
  batch.first_row = 12;
  batch.origin = "golden rows";
  for (const std::string& label : config.data.labels) {
    const std::vector<std::string>& cells = columns.at(label);
    ASSERT_FALSE(cells.empty());
    LabelColumn& column = batch.labels.emplace_back();
    for (int64_t row = 0; row < batch.rows; ++row) {
      const std::string& cell = cells[row % cells.size()];
      column.values.push_back(std::strtof(cell.c_str(), nullptr));
      column.integers.push_back(std::strtoll(cell.c_str(), nullptr, 10));
    }
  }
  batch.ids = GoldenSessions(config, columns, batch.rows);
  for (size_t w = 0; w < config.data.sample_weights.size(); ++w) {
    batch.sample_weights.emplace_back(batch.rows, 1.5f);
  }
  const auto scales = RowScales(config, batch, LocalLossNormalizers(config, batch));
  std::vector<AlignedBuffer<float>> features(config.leaves.size());
  ModelInput input;
  input.batch = &batch;
  input.step = 3;
  input.row_scales = &scales;
  for (size_t f = 0; f < features.size(); ++f) {
    features[f].Resize(static_cast<size_t>(batch.rows * config.leaves[f].dim));
    for (size_t i = 0; i < features[f].size(); ++i) {
      features[f][i] =
          2 * UnitFloat(Philox4x32(RandomKey(8, RandomPurpose::kTest, f), 0, i)[0]) - 1;
    }
    input.leaves.push_back(features[f].data());
  }
  CompareEngines(config, &parameters, input, 6);
}

}  // namespace
}  // namespace pepnet

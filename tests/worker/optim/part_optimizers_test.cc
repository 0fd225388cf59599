// A dense parameter belongs to one optimizer, and each optimizer steps its own.
#include "worker/optim/part_optimizers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

namespace pepnet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ParameterSpec Spec(const std::string& name, int64_t elements, bool trained = true) {
  ParameterSpec spec;
  spec.name = name;
  spec.shape = {elements};
  spec.trained = trained;
  return spec;
}

DenseOptimizer Sgd(double momentum) {
  DenseOptimizer optimizer;
  optimizer.kind = DenseOptimizerKind::kSgd;
  optimizer.momentum = momentum;
  return optimizer;
}

DenseOptimizer OfKind(DenseOptimizerKind kind) {
  DenseOptimizer optimizer;
  optimizer.kind = kind;
  return optimizer;
}

// a.weight of sgd without state, a.bias and c of adagrad, b of the main adam; a statistic between
// them.
JobConfig Config() {
  JobConfig config;
  config.train.dense_optimizer = OfKind(DenseOptimizerKind::kAdam);
  config.train.part_optimizers = {{"a\\.weight", Sgd(0)},
                                  {"nothing", Sgd(0.9)},
                                  {"a.*|c", OfKind(DenseOptimizerKind::kAdagrad)},
                                  {"c", Sgd(0.9)}};
  return config;
}
std::vector<ParameterSpec> Specs() {
  return {Spec("a.weight", 3), Spec("a.bias", 17), Spec("a.running_mean", 5, false), Spec("b", 2),
          Spec("c", 1)};
}

TEST(PartOptimizersTest, TheFirstPatternThatMatchesTheWholeNameTakesAParameter) {
  EXPECT_THAT(OptimizersOf(Config(), Specs()), ElementsAre(0, 2, kNoOptimizer, kMainOptimizer, 2));
  JobConfig plain;
  EXPECT_THAT(
      OptimizersOf(plain, Specs()),
      ElementsAre(kMainOptimizer, kMainOptimizer, kNoOptimizer, kMainOptimizer, kMainOptimizer));
}

// The reference keeps the features of one kind in one parameter, whose name has no feature in it.
TEST(PartOptimizersTest, DenseEmbeddingsAreMatchedByTheNamesThatTheReferenceGivesThem) {
  JobConfig config;
  Feature price;
  price.name = "price.x";
  config.features = {price};
  config.leaves = {{0, -1, 1}};
  DenseEmbedding autodis;
  autodis.leaf = 0;
  autodis.meta = "dense_embs.autodis#4.meta_emb_price.x.weight";
  autodis.projection = "dense_embs.autodis#4.proj_w_price.x.weight";
  autodis.mixing = "dense_embs.autodis#4.proj_m_price.x.weight";
  config.model.embeddings = {autodis};
  config.train.part_optimizers = {
      {".*\\.proj_w", Sgd(0)}, {".*_price.*", Sgd(0)}, {".*meta_emb", Sgd(0)}};
  EXPECT_THAT(OptimizersOf(config, {Spec(autodis.meta, 1), Spec(autodis.projection, 1),
                                    Spec(autodis.mixing, 1), Spec("other_price.x.weight", 1)}),
              ElementsAre(2, 0, kMainOptimizer, 1));
}

// Every parameter against its own formula, for two steps; the statistic and the padding keep their
// bits.
TEST(PartOptimizersTest, EachParameterTakesTheStepOfItsOptimizerWithItsRate) {
  const JobConfig config = Config();
  DenseParameters parameters(Specs());
  const auto w0 = [](int i, size_t e) {
    return 0.25f * static_cast<float>(i + 1) - 0.125f * static_cast<float>(e);
  };
  for (int i = 0; i < 5; ++i) {
    for (size_t e = 0; e < parameters.value(i).size(); ++e) {
      parameters.value(i)[e] = w0(i, e);
      parameters.gradient(i)[e] = i == 2 ? 0.0f : 0.5f + 0.25f * static_cast<float>(e);
    }
  }
  DenseOptimizers optimizers(config, parameters);
  EXPECT_THAT(optimizers.parts(), ElementsAre(0, 2));
  const double main = 0.1, sgd = 0.2, adagrad = 0.3;
  for (int step = 0; step < 2; ++step) {
    optimizers.Step(parameters.values(), parameters.gradients(), main,
                    std::vector<double>{sgd, 9, adagrad, 9});
  }
  EXPECT_EQ(optimizers.steps(), 2);
  for (int i = 0; i < 5; ++i) {
    for (size_t e = 0; e < parameters.value(i).size(); ++e) {
      const double g = 0.5 + 0.25 * static_cast<double>(e);
      double w = static_cast<double>(w0(i, e));
      if (i == 0) w -= 2 * sgd * g;
      // G / sqrt(g^2), g / sqrt(2 g^2).
      if (i == 1 || i == 4) w -= adagrad * (1 + 1 / std::sqrt(2.0));
      if (i == 3) w -= 2 * main;  // adam with an equal gradient
      EXPECT_NEAR(parameters.value(i)[e], w, 1e-6) << i << ", " << e;
    }
  }
  size_t elements = 0;
  double sum = 0;
  for (const ParameterSpec& spec : parameters.specs()) {
    elements += static_cast<size_t>(spec.elements());
  }
  size_t zeros = 0;
  for (const float value : parameters.values()) {
    zeros += value == 0 ? 1 : 0, sum += std::fabs(value);
  }
  EXPECT_GE(zeros, parameters.arena_floats() - elements);
  EXPECT_GT(sum, 0);
}

TEST(PartOptimizersTest, SlotsAreThoseOfTheOwnOptimizerInTheOrderOfCheckpoints) {
  DenseParameters parameters(Specs());
  DenseOptimizers optimizers(Config(), parameters);
  std::vector<std::string> names;
  for (const DenseOptimizers::Slot& slot : optimizers.Slots()) {
    names.push_back(parameters.specs()[slot.parameter].name + "/" + slot.name);
    EXPECT_EQ(slot.values.size(),
              static_cast<size_t>(parameters.specs()[slot.parameter].elements()));
  }
  EXPECT_THAT(names, ElementsAre("b/exp_avg", "b/exp_avg_sq", "a.bias/sum", "c/sum"));
  // They are what a step reads and writes.
  for (size_t i = 0; i < parameters.gradients().size(); ++i) parameters.gradients()[i] = 0;
  parameters.gradient(1)[16] = 3;
  parameters.gradient(4)[0] = 2;
  optimizers.Step(parameters.values(), parameters.gradients(), 0, std::vector<double>(4, 0.0));
  for (const DenseOptimizers::Slot& slot : optimizers.Slots()) {
    if (slot.name != "sum") continue;
    EXPECT_EQ(slot.values.back(), slot.parameter == 1 ? 9 : 4);
    EXPECT_EQ(slot.values.size() > 1 ? slot.values[15] : 0, 0);
  }
}

// One optimizer of everything is what there was before parts: slot by slot, then parameter by
// parameter.
TEST(PartOptimizersTest, WithoutPartsTheBitsAndTheOrderAreThoseOfOneOptimizer) {
  JobConfig config;
  const std::vector<ParameterSpec> specs = {Spec("x", 13), Spec("y", 16), Spec("z", 1)};
  DenseParameters one(specs), all(specs);
  DenseOptimizers optimizers(config, one);
  DenseOptimizerState state(config.train.dense_optimizer, all.arena_floats());
  for (int step = 0; step < 3; ++step) {
    for (int i = 0; i < 3; ++i) {
      for (size_t e = 0; e < one.value(i).size(); ++e) {
        one.gradient(i)[e] = all.gradient(i)[e] =
            std::sin(static_cast<float>(step * 100 + 30 * i) + static_cast<float>(e));
      }
    }
    optimizers.Step(one.values(), one.gradients(), 0.01, {});
    state.Step(all.values(), all.gradients(), 0.01);
  }
  EXPECT_EQ(std::vector<float>(one.values().begin(), one.values().end()),
            std::vector<float>(all.values().begin(), all.values().end()));
  std::vector<std::pair<std::string, int>> order;
  for (const DenseOptimizers::Slot& slot : optimizers.Slots()) {
    order.emplace_back(slot.name, slot.parameter);
  }
  EXPECT_EQ(order, (std::vector<std::pair<std::string, int>>{{"exp_avg", 0},
                                                             {"exp_avg", 1},
                                                             {"exp_avg", 2},
                                                             {"exp_avg_sq", 0},
                                                             {"exp_avg_sq", 1},
                                                             {"exp_avg_sq", 2}}));
}

TEST(PartOptimizersTest, PartsWithoutParametersAreTold) {
  EXPECT_THAT(IdlePartOptimizers(JobConfig()), IsEmpty());
  JobConfig config;
  config.model.main = {"all", {}, {}, 4};
  Tower tower;
  tower.name = "ctr";
  config.model.towers = {tower};
  config.train.part_optimizers = {{"model\\._task_tower\\.0\\.linear\\.weight", Sgd(0)},
                                  {".*weight", Sgd(0)}};
  EXPECT_THAT(
      IdlePartOptimizers(config),
      ElementsAre(HasSubstr(
          "part_optimizers[1] is ignored: regex_pattern \".*weight\" matches the whole name")));
}

}  // namespace
}  // namespace pepnet

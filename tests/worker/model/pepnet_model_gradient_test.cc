// Losses, dense gradients and feature gradients of a training step against the reference in double.
#include <cmath>
#include <functional>

#include <gtest/gtest.h>

#include "tests/support/golden.h"
#include "tests/support/status_matchers.h"
#include "tests/worker/model/reference_model.h"
#include "tests/worker/model/tiny_model.h"
#include "worker/model/fused/fused_model.h"
#include "worker/model/loss_weight.h"
#include "worker/model/pepnet_model.h"

namespace pepnet {
namespace {

// float32 against a difference quotient in double (error about 1e-9).
constexpr Tolerance kTinyTolerance{1e-6, 1e-4};

void CheckLosses(const LossReport& report, const ReferenceValues& reference) {
  ASSERT_EQ(report.values.size(), reference.losses.size());
  for (size_t i = 0; i < report.values.size(); ++i) {
    EXPECT_NEAR(report.values[i], reference.losses[i], 1e-6 + 1e-5 * std::abs(reference.losses[i]))
        << report.names[i];
  }
}

// (f(x + h) - f(x - h)) / 2h for every element of `x`, which f reads.
std::vector<double> DifferenceQuotients(std::vector<double>* x, const std::function<double()>& f) {
  constexpr double h = 1e-5;
  std::vector<double> gradient;
  for (double& element : *x) {
    const double middle = element;
    element = middle + h;
    const double above = f();
    element = middle - h;
    const double below = f();
    element = middle;
    gradient.push_back((above - below) / (2 * h));
  }
  return gradient;
}

// Trains one step and compares losses, every dense gradient and every feature gradient with the
// reference in double.
void CheckEngineAgainstReference(const JobConfig& config, bool dropout, uint64_t seed,
                                 DenseEngine engine) {
  SCOPED_TRACE("seed " + std::to_string(seed) +
               (engine == DenseEngine::kFused ? ", fused" : ", reference") + " engine");
  TinyModel tiny(config, seed, engine);
  for (size_t i = 0; i < tiny.parameters.specs().size(); ++i) {
    // LayerNorm's ones and zeros would hide a swap of its two parameters.
    if (tiny.parameters.specs()[i].init != ParameterSpec::Init::kFanIn) {
      for (float& v : tiny.parameters.value(i)) v += 0.1f;
    }
  }
  const TinyData data = RandomData(tiny.config, 5, seed);
  const auto scales =
      RowScales(tiny.config, data.batch, LocalLossNormalizers(tiny.config, data.batch));
  const double gradient_scale = 0.5;
  std::vector<AlignedBuffer<float>> leaf_gradients;
  ASSERT_OK_AND_ASSIGN(const auto report, tiny.model->TrainStep(tiny.Input(data, &scales, 3),
                                                                gradient_scale, &leaf_gradients));

  ReferencePoint point = tiny.Point(data);
  const ReferenceDropout mask{dropout, seed, 3};
  const ReferenceValues base = Evaluate(tiny.config, data.batch, scales, point, mask, nullptr);
  CheckLosses(report, base);
  auto loss = [&] {
    return gradient_scale * Evaluate(tiny.config, data.batch, scales, point, mask, &base).total;
  };
  for (size_t i = 0; i < tiny.parameters.specs().size(); ++i) {
    const std::string& name = tiny.parameters.specs()[i].name;
    const std::vector<double> expected = DifferenceQuotients(&point.parameters[name], loss);
    EXPECT_EQ(Difference(name, tiny.parameters.gradient(i), expected, kTinyTolerance), "");
  }
  ASSERT_EQ(leaf_gradients.size(), tiny.config.leaves.size());
  for (size_t f = 0; f < leaf_gradients.size(); ++f) {
    const Leaf& leaf = tiny.config.leaves[f];
    if (leaf.table < 0) {
      EXPECT_TRUE(leaf_gradients[f].empty());
      continue;
    }
    const std::vector<double> expected = DifferenceQuotients(&point.leaves[f], loss);
    EXPECT_EQ(Difference(tiny.config.features[leaf.feature].name, leaf_gradients[f].span(),
                         expected, kTinyTolerance),
              "");
  }
}

void CheckAgainstReference(const JobConfig& config, bool dropout, uint64_t seed) {
  if (WhyFusedEngineDoesNotRun(config.model, {}).empty()) {
    CheckEngineAgainstReference(config, dropout, seed, DenseEngine::kFused);
  }
  CheckEngineAgainstReference(config, dropout, seed, DenseEngine::kReference);
}

struct ActivationCase {
  std::string name;
  Activation activation;
};

class ActivationTest : public testing::TestWithParam<ActivationCase> {};
INSTANTIATE_TEST_SUITE_P(
    All, ActivationTest,
    testing::Values(ActivationCase{"Identity", {ActivationKind::kIdentity, 0}},
                    ActivationCase{"Relu", {ActivationKind::kRelu, 0}},
                    ActivationCase{"Sigmoid", {ActivationKind::kSigmoid, 0}},
                    ActivationCase{"Tanh", {ActivationKind::kTanh, 0}},
                    ActivationCase{"LeakyRelu", {ActivationKind::kLeakyRelu, 0.2}},
                    ActivationCase{"Silu", {ActivationKind::kSilu, 0}},
                    ActivationCase{"Gelu", {ActivationKind::kGelu, 0}},
                    ActivationCase{"Elu", {ActivationKind::kElu, 0.7}},
                    ActivationCase{"Prelu", {ActivationKind::kPrelu, 0.25}},
                    ActivationCase{"GeluTanh", {ActivationKind::kGeluTanh}},
                    ActivationCase{"Mish", {ActivationKind::kMish}},
                    ActivationCase{"Softplus", {ActivationKind::kSoftplus, 1.7, 2}},
                    ActivationCase{"Hardswish", {ActivationKind::kHardswish}},
                    ActivationCase{"Hardsigmoid", {ActivationKind::kHardsigmoid}},
                    ActivationCase{"Selu", {ActivationKind::kSelu}},
                    ActivationCase{"Celu", {ActivationKind::kCelu, 0.6}},
                    ActivationCase{"Relu6", {ActivationKind::kRelu6}},
                    ActivationCase{"Hardtanh", {ActivationKind::kHardtanh, -0.5, 0.8}},
                    ActivationCase{"Softsign", {ActivationKind::kSoftsign}},
                    ActivationCase{"Softshrink", {ActivationKind::kSoftshrink, 0.1}},
                    ActivationCase{"Tanhshrink", {ActivationKind::kTanhshrink}},
                    ActivationCase{"LogSigmoid", {ActivationKind::kLogSigmoid}},
                    ActivationCase{"Rrelu", {ActivationKind::kRrelu, 0.1, 0.6}},
                    ActivationCase{"Softmax", {ActivationKind::kSoftmax, -1}},
                    ActivationCase{"Softmin", {ActivationKind::kSoftmin, -1}},
                    ActivationCase{"LogSoftmax", {ActivationKind::kLogSoftmax, -1}}),
    [](const auto& info) { return info.param.name; });

TEST_P(ActivationTest, ValueAndGradientFollowTheClosedForm) {
  JobConfig config = TinyConfig();
  config.model.ppnet_activation = GetParam().activation;
  config.model.towers[0].mlp->activation = GetParam().activation;
  CheckAgainstReference(config, false, 21);
}

TEST(ModelGradientTest, LayerNormWithoutBiasFollowsTheClosedForm) {
  JobConfig config = TinyConfig();
  config.model.towers[0].mlp->use_ln = true;
  config.model.towers[0].mlp->bias = false;
  CheckAgainstReference(config, false, 22);
}

TEST(ModelGradientTest, NetworkWithoutDomainOrUiaOrMlp) {
  JobConfig config = TinyConfig();
  config.model.towers[0].mlp.reset();
  CheckAgainstReference(config, false, 23);
  config.model.domain.reset();
  CheckAgainstReference(config, false, 24);
  config.model.uia.reset();
  CheckAgainstReference(config, false, 25);
  config = TinyConfig();
  config.model.uia.reset();
  CheckAgainstReference(config, false, 26);
}

TEST(ModelGradientTest, DenseEmbeddingsFollowTheClosedForm) {
  for (uint64_t seed = 31; seed <= 33; ++seed) {
    CheckAgainstReference(EmbeddingConfig(), false, seed);
  }
}

TEST(ModelGradientTest, EveryLossFollowsItsClosedForm) {
  CheckAgainstReference(AllLossesConfig(), false, 27);
}

TEST(ModelGradientTest, SessionsFollowTheClosedForm) {
  for (uint64_t seed = 41; seed <= 44; ++seed) {
    JobConfig config = SessionConfig();
    // The second way forward has the first one's masks.
    config.model.towers[1].mlp->dropout_ratio = {0.3, 0};
    CheckAgainstReference(config, true, seed);
  }
}

TEST(ModelGradientTest, VariationalDropoutFollowsTheClosedForm) {
  for (uint64_t seed = 51; seed <= 54; ++seed) {
    CheckAgainstReference(VariationalConfig(), true, seed);
  }
}

TEST(ModelGradientTest, DropoutIsTheMaskOfTheGlobalRow) {
  JobConfig config = AllLossesConfig();
  config.model.ppnet_dropout_ratio = {0.3, 0.5};
  config.model.towers[0].mlp->dropout_ratio = {0, 0.4};
  config.model.towers[3].mlp->dropout_ratio = {0.2, 0};
  CheckAgainstReference(config, true, 28);
}

TEST(ModelGradientTest, EachRowTrainsTheTowerOfItsOwnDomain) {
  CheckAgainstReference(DomainConfig(), false, 29);
  // An absent domain's towers get exact zeros.
  TinyModel tiny(DomainConfig(), 29);
  TinyData data = RandomData(tiny.config, 4, 29);
  data.batch.labels[1].integers = {0, 2, 0, 2};
  const auto scales =
      RowScales(tiny.config, data.batch, LocalLossNormalizers(tiny.config, data.batch));
  std::vector<AlignedBuffer<float>> leaf_gradients;
  ASSERT_OK(tiny.model->TrainStep(tiny.Input(data, &scales), 1, &leaf_gradients));
  for (float g :
       tiny.parameters.gradient(tiny.parameters.Find("model._task_tower.4.linear.weight")))
    EXPECT_EQ(g, 0.0f);
  EXPECT_NE(tiny.parameters.gradient(tiny.parameters.Find("model._task_tower.5.linear.weight"))[0],
            0.0f);
}

}  // namespace
}  // namespace pepnet

#include "worker/optim/dense_optimizer.h"

#include <cmath>
#include <cstring>
#include <limits>

#include <gtest/gtest.h>

#include "tests/worker/optim/dense_optimizer_expected.h"

namespace pepnet {
namespace {

constexpr int kElements = 13, kArena = 32, kSteps = 5;  // odd number of elements, then padding
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Inputs as stated in tests/support/dense_optimizer_expected.py; padding is zero.
AlignedBuffer<float> InitialValues() {
  AlignedBuffer<float> values;
  values.ResizeZeroed(kArena);
  for (int i = 0; i < kElements; ++i) values[i] = static_cast<float>(7 * i % 11 - 5) / 8;
  return values;
}

AlignedBuffer<float> Gradients(int step) {
  AlignedBuffer<float> gradients;
  gradients.ResizeZeroed(kArena);
  for (int i = 0; i < kElements; ++i) {
    gradients[i] =
        static_cast<float>((5 * i + 3 * step) % 13 - 6) / static_cast<float>(16 << (i % 3));
  }
  return gradients;
}

void RunSteps(const DenseOptimizerCase& test, int begin, int end, DenseOptimizerState* state,
              AlignedBuffer<float>* values) {
  for (int step = begin; step < end; ++step) {
    const AlignedBuffer<float> gradients = Gradients(step);
    state->Step(values->span(), gradients.span(), test.lr * (1 - step / 8.0));
  }
}

void ExpectClose(std::span<const float> actual, const std::vector<float>& expected,
                 const std::string& what) {
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(actual[i], expected[i], 1e-8f + 1e-6f * std::fabs(expected[i]))
        << what << "[" << i << "]";
  }
}

bool SameBits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

class DenseOptimizerTest : public testing::TestWithParam<DenseOptimizerCase> {};

TEST_P(DenseOptimizerTest, FiveStepsGiveTheValuesAndStateOfTorch) {
  const DenseOptimizerCase& test = GetParam();
  DenseOptimizerState state(test.config, kArena);
  AlignedBuffer<float> values = InitialValues();
  RunSteps(test, 0, kSteps, &state, &values);
  EXPECT_EQ(state.steps(), kSteps);
  ExpectClose(values.span(), test.values, "value");
  ASSERT_EQ(state.slots().size(), test.slots.size());
  for (size_t s = 0; s < test.slots.size(); ++s) {
    EXPECT_EQ(state.slots()[s].first, test.slots[s].first);
    ExpectClose(state.slots()[s].second.span(), test.slots[s].second, test.slots[s].first);
  }
}

TEST_P(DenseOptimizerTest, PaddingStaysZeroEvenWithoutEpsilon) {
  DenseOptimizerCase test = GetParam();
  test.config.eps = 0;
  DenseOptimizerState state(test.config, kArena);
  AlignedBuffer<float> values = InitialValues();
  RunSteps(test, 0, kSteps, &state, &values);
  for (int i = kElements; i < kArena; ++i) EXPECT_EQ(values[i], 0.0f) << i;
}

TEST_P(DenseOptimizerTest, RestoredStateContinuesBitwise) {
  const DenseOptimizerCase& test = GetParam();
  for (int stop : {0, 1, 3}) {
    DenseOptimizerState whole(test.config, kArena), first(test.config, kArena),
        second(test.config, kArena);
    AlignedBuffer<float> expected = InitialValues(), values = InitialValues();
    RunSteps(test, 0, kSteps, &whole, &expected);
    RunSteps(test, 0, stop, &first, &values);
    second.set_steps(first.steps());
    for (size_t s = 0; s < first.slots().size(); ++s) {
      std::memcpy(second.slots()[s].second.data(), first.slots()[s].second.data(),
                  first.slots()[s].second.bytes());
    }
    RunSteps(test, stop, kSteps, &second, &values);
    EXPECT_TRUE(SameBits(values.span(), expected.span())) << "stopped after " << stop;
  }
}

TEST_P(DenseOptimizerTest, BitsDoNotDependOnHowTheArenaIsCut) {
  const DenseOptimizerCase& test = GetParam();
  DenseOptimizerState whole(test.config, kElements), head(test.config, 7),
      tail(test.config, kElements - 7);
  AlignedBuffer<float> expected = InitialValues(), values = InitialValues();
  for (int step = 0; step < kSteps; ++step) {
    const AlignedBuffer<float> gradients = Gradients(step);
    whole.Step(expected.span().first(kElements), gradients.span().first(kElements), test.lr);
    head.Step(values.span().first(7), gradients.span().first(7), test.lr);
    tail.Step(values.span().subspan(7, kElements - 7), gradients.span().subspan(7, kElements - 7),
              test.lr);
  }
  EXPECT_TRUE(SameBits(values.span(), expected.span()));
}

INSTANTIATE_TEST_SUITE_P(Torch, DenseOptimizerTest, testing::ValuesIn(kDenseOptimizerCases),
                         [](const auto& info) { return info.param.name; });

TEST(DenseOptimizerStateTest, AnEmptyArenaCanStep) {
  DenseOptimizerState state({}, 0);
  state.Step({}, {}, 0.1);
  EXPECT_EQ(state.steps(), 1);
}

TEST(DenseOptimizerStateTest, ZeroGradientsStillMoveAdam) {
  DenseOptimizerState state({.kind = DenseOptimizerKind::kAdam}, 1);
  std::vector<float> value = {1.0f}, gradient = {0.5f}, zero = {0.0f};
  state.Step(value, gradient, 0.1);
  EXPECT_NEAR(value[0], 0.9f, 1e-6);
  state.Step(value, zero, 0.1);
  EXPECT_LT(value[0], 0.9f - 0.01f);
}

// ---- clipping -----------------------------------------------------------------------------------

TrainConfig Clipping(ClippingType type, double max_gradient, double norm_type = 2) {
  TrainConfig config;
  config.clipping = type;
  config.clip_max_gradient = max_gradient;
  config.clip_norm_type = norm_type;
  return config;
}

TEST(ClipGradientsTest, NoneChangesNothing) {
  std::vector<float> gradients = {3, -4};
  EXPECT_EQ(ClipGradients(Clipping(ClippingType::kNone, 0.1), gradients), 0);
  EXPECT_EQ(gradients, (std::vector<float>{3, -4}));
}

TEST(ClipGradientsTest, ValueClampsEachElementAndKeepsNan) {
  std::vector<float> gradients = {3, -4, 0.25f, -0.5f, kInfinity, kNan};
  EXPECT_EQ(ClipGradients(Clipping(ClippingType::kValue, 0.5), gradients), 0);
  EXPECT_EQ(std::vector<float>(gradients.begin(), gradients.end() - 1),
            (std::vector<float>{0.5f, -0.5f, 0.25f, -0.5f, 0.5f}));
  EXPECT_TRUE(std::isnan(gradients.back()));
}

TEST(ClipGradientsTest, NormScalesToTheMaximumForEachNormType) {
  struct Case {
    double type, norm;
  };
  for (const Case& c : {Case{2, 5}, Case{1, 7}, Case{std::numeric_limits<double>::infinity(), 4},
                        Case{3, std::cbrt(91.0)}}) {
    std::vector<float> gradients(20, 0.0f);
    gradients[3] = 3;
    gradients[17] = -4;
    EXPECT_NEAR(ClipGradients(Clipping(ClippingType::kNorm, 0.5, c.type), gradients), c.norm,
                1e-12);
    const double scale = 0.5 / (c.norm + 1e-6);
    EXPECT_NEAR(gradients[3], 3 * scale, 1e-7) << c.type;
    EXPECT_NEAR(gradients[17], -4 * scale, 1e-7) << c.type;
  }
}

TEST(ClipGradientsTest, ANormBelowTheMaximumKeepsTheBits) {
  std::vector<float> gradients = {0.3f, -0.4f};
  EXPECT_NEAR(ClipGradients(Clipping(ClippingType::kNorm, 1), gradients), 0.5, 1e-7);
  EXPECT_EQ(gradients, (std::vector<float>{0.3f, -0.4f}));
}

TEST(ClipGradientsTest, TheNormOfManyElementsIsExactEnough) {
  for (size_t size :
       {size_t{0}, size_t{1}, size_t{4095}, size_t{4096}, size_t{4097}, size_t{100003}}) {
    std::vector<float> gradients(size, 0.1f);
    const double element = static_cast<double>(0.1f);
    EXPECT_NEAR(ClipGradients(Clipping(ClippingType::kNorm, 1e9), gradients),
                element * std::sqrt(static_cast<double>(size)), 1e-10);
    EXPECT_NEAR(ClipGradients(Clipping(ClippingType::kNorm, 1e9, 1), gradients),
                element * static_cast<double>(size), 1e-8);
  }
}

TEST(ClipGradientsTest, NanIsNotHidden) {
  for (double type : {1.0, 2.0, static_cast<double>(kInfinity)}) {
    std::vector<float> gradients = {1, kNan, 2};
    EXPECT_TRUE(std::isnan(ClipGradients(Clipping(ClippingType::kNorm, 0.5, type), gradients)))
        << type;
    EXPECT_TRUE(std::isnan(gradients[0])) << type;
  }
}

}  // namespace
}  // namespace pepnet

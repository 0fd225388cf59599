#include "worker/optim/averages.h"

#include <gtest/gtest.h>

#include <vector>

namespace pepnet {
namespace {

DenseParameters Parameters() {
  ParameterSpec weight, statistic, bias;
  weight.name = "weight";
  weight.shape = {3};
  statistic.name = "running_mean";
  statistic.shape = {2};
  statistic.trained = false;
  bias.name = "bias";
  bias.shape = {1};
  return DenseParameters({weight, statistic, bias});
}

std::vector<float> Copy(std::span<const float> values) { return {values.begin(), values.end()}; }

// w is 1, 2, 4, 8 behind the steps: avg = 1; 0.75 + 0.25 * 2 = 1.25; 0.75 * 1.25 + 0.25 * 4; ...
TEST(DenseAveragesTest, TheFirstStepCopiesAndLaterOnesDecay) {
  DenseParameters parameters = Parameters();
  DenseAverages averages(0.75, parameters);
  parameters.value(1)[0] = 5;
  double expected = 0;
  for (int step = 0; step < 4; ++step) {
    parameters.value(0)[2] = static_cast<float>(1 << step);
    parameters.value(2)[0] = -static_cast<float>(1 << step);
    averages.Update(parameters.values(), step == 0);
    expected = step == 0 ? 1 : 0.75 * expected + 0.25 * (1 << step);
    EXPECT_NEAR(averages.value(0)[2], expected, 1e-6);
    EXPECT_NEAR(averages.value(2)[0], -expected, 1e-6);
    EXPECT_EQ(averages.value(0)[0], 0);
  }
  EXPECT_TRUE(averages.Has(0) && averages.Has(2));
  EXPECT_FALSE(averages.Has(1)) << "statistics are read as they are";
}

TEST(DenseAveragesTest, AParameterThatDoesNotMoveKeepsItsBits) {
  DenseParameters parameters = Parameters();
  parameters.value(0)[0] = 0.1f;
  DenseAverages averages(0.999, parameters);
  EXPECT_EQ(averages.value(0)[0], 0.1f) << "before the first step it is the parameter";
  for (int step = 0; step < 100; ++step) averages.Update(parameters.values(), step == 0);
  EXPECT_EQ(averages.value(0)[0], 0.1f);
}

TEST(DenseAveragesTest, WhileTheyAreInPlaceTheParametersAreKept) {
  DenseParameters parameters = Parameters();
  DenseAverages averages(0.5, parameters);
  parameters.value(0)[1] = 7;
  parameters.value(1)[1] = 3;
  parameters.value(2)[0] = 9;
  const std::vector<float> before = Copy(parameters.values());
  {
    const AveragesInPlace in_place(&averages, &parameters);
    EXPECT_EQ(parameters.value(0)[1], 0);
    EXPECT_EQ(parameters.value(2)[0], 0);
    EXPECT_EQ(parameters.value(1)[1], 3) << "a statistic has no average";
    EXPECT_EQ(averages.value(0)[1], 7);
  }
  EXPECT_EQ(Copy(parameters.values()), before);
  EXPECT_EQ(averages.value(0)[1], 0);
}

TEST(DenseAveragesTest, WithoutADecayThereAreNone) {
  DenseParameters parameters = Parameters();
  parameters.value(0)[1] = 7;
  const std::vector<float> before = Copy(parameters.values());
  DenseAverages averages(std::nullopt, parameters);
  averages.Update(parameters.values(), true);
  const AveragesInPlace in_place(&averages, &parameters);
  EXPECT_EQ(Copy(parameters.values()), before);
  EXPECT_FALSE(averages.kept() || averages.Has(0));
}

}  // namespace
}  // namespace pepnet

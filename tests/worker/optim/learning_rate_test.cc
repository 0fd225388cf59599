#include "worker/optim/learning_rate.h"
#include "tests/support/paths.h"

#include <cmath>
#include <fstream>
#include <numbers>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace pepnet {
namespace {

std::vector<double> Rates(const Schedule& schedule, double base, int steps) {
  std::vector<double> rates;
  for (int s = 0; s < steps; ++s) rates.push_back(LearningRate(schedule, base, s));
  return rates;
}

void ExpectRates(const std::vector<double>& actual, const std::vector<double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t s = 0; s < actual.size(); ++s) {
    EXPECT_NEAR(actual[s], expected[s], 1e-15) << "s = " << s;
  }
}

TEST(LearningRateTest, ConstantStaysAtTheBaseRate) {
  ExpectRates(Rates({}, 0.25, 3), {0.25, 0.25, 0.25});
}

TEST(LearningRateTest, ABaseRateOfZeroStaysZeroUnderEverySchedule) {
  for (ScheduleKind kind : {ScheduleKind::kConstant, ScheduleKind::kExponentialDecay,
                            ScheduleKind::kManualStep, ScheduleKind::kLinearDecay,
                            ScheduleKind::kCosineAnnealing, ScheduleKind::kCosineWarmRestarts}) {
    const Schedule schedule{.kind = kind,
                            .decay_size = 2,
                            .warmup_learning_rate = 0.5,
                            .warmup_size = 3,
                            .min_learning_rate = 0.1,
                            .schedule_sizes = {1},
                            .learning_rates = {0.7},
                            .warmup = true,
                            .num_training_steps = 9,
                            .t_max = 4,
                            .t_0 = 4};
    ExpectRates(Rates(schedule, 0, 8), std::vector<double>(8, 0.0));
  }
}

TEST(LearningRateTest, WarmupStartsAtItsOwnRateAndReachesTheBaseAtItsSize) {
  const Schedule schedule{.kind = ScheduleKind::kExponentialDecay,
                          .decay_size = 2,
                          .decay_factor = 0.5,
                          .warmup_learning_rate = 0.1,
                          .warmup_size = 4};
  // s = 4 is position 0 of the decay.
  ExpectRates(Rates(schedule, 0.5, 9), {0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.25, 0.25, 0.125});
}

TEST(LearningRateTest, ExponentialDecayIsSmoothWithoutStaircaseAndStopsAtTheMinimum) {
  const Schedule schedule{.kind = ScheduleKind::kExponentialDecay,
                          .decay_size = 2,
                          .decay_factor = 0.25,
                          .staircase = false,
                          .min_learning_rate = 0.1};
  ExpectRates(Rates(schedule, 0.8, 5), {0.8, 0.4, 0.2, 0.1, 0.1});
}

TEST(LearningRateTest, ManualStepSwitchesOneStepAfterTheSize) {
  const Schedule schedule{
      .kind = ScheduleKind::kManualStep, .schedule_sizes = {2, 4}, .learning_rates = {0.3, 0.1}};
  ExpectRates(Rates(schedule, 0.5, 7), {0.5, 0.5, 0.5, 0.3, 0.3, 0.1, 0.1});
}

TEST(LearningRateTest, ManualStepWarmupIsALineFromTheBaseToTheFirstRate) {
  const Schedule schedule{.kind = ScheduleKind::kManualStep,
                          .schedule_sizes = {2, 4},
                          .learning_rates = {0.3, 0.1},
                          .warmup = true};
  ExpectRates(Rates(schedule, 0.5, 6), {0.5, 0.4, 0.3, 0.3, 0.3, 0.1});
}

TEST(LearningRateTest, LinearDecayCountsTheWarmupAndStaysAtTheMinimum) {
  const Schedule schedule{.kind = ScheduleKind::kLinearDecay,
                          .warmup_learning_rate = 0.1,
                          .warmup_size = 2,
                          .min_learning_rate = 0.1,
                          .num_training_steps = 6};
  ExpectRates(Rates(schedule, 0.5, 9), {0.1, 0.3, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1});
  const Schedule whole{.kind = ScheduleKind::kLinearDecay, .num_training_steps = 4};
  ExpectRates(Rates(whole, 0.8, 6), {0.8, 0.6, 0.4, 0.2, 0.0, 0.0});
}

TEST(LearningRateTest, CosineAnnealingStaysAtTheMinimumAfterItsLength) {
  const Schedule schedule{.kind = ScheduleKind::kCosineAnnealing,
                          .warmup_learning_rate = 0.2,
                          .warmup_size = 1,
                          .min_learning_rate = 0.1,
                          .t_max = 4};
  const double q = 0.2 * std::cos(std::numbers::pi / 4);
  ExpectRates(Rates(schedule, 0.5, 8), {0.2, 0.5, 0.3 + q, 0.3, 0.3 - q, 0.1, 0.1, 0.1});
}

TEST(LearningRateTest, WarmRestartsBeginAgainAfterGrowingCycles) {
  const Schedule schedule{
      .kind = ScheduleKind::kCosineWarmRestarts, .min_learning_rate = 0.1, .t_0 = 2, .t_mult = 2};
  const double q = 0.2 * std::cos(std::numbers::pi / 4);
  ExpectRates(Rates(schedule, 0.5, 9),
              {0.5, 0.3, 0.5, 0.3 + q, 0.3, 0.3 - q, 0.5, LearningRate(schedule, 0.5, 7),
               0.3 + 0.2 * std::cos(std::numbers::pi / 4)});
}

TEST(LearningRateTest, WarmRestartsBeginBehindTheWarmup) {
  const Schedule schedule{.kind = ScheduleKind::kCosineWarmRestarts,
                          .warmup_learning_rate = 0.1,
                          .warmup_size = 2,
                          .t_0 = 2};
  ExpectRates(Rates(schedule, 0.5, 6), {0.1, 0.3, 0.5, 0.25, 0.5, 0.25});
}

TEST(LearningRateTest, WarmRestartsOfEqualCyclesWorkFarOut) {
  const Schedule schedule{.kind = ScheduleKind::kCosineWarmRestarts, .t_0 = 4};
  EXPECT_DOUBLE_EQ(LearningRate(schedule, 0.5, int64_t{4'000'000'000'000}), 0.5);
  EXPECT_NEAR(LearningRate(schedule, 0.5, int64_t{4'000'000'000'002}), 0.25, 1e-15);
}

TEST(LearningRateTest, ByEpochCountsFinishedEpochs) {
  TrainConfig config;
  config.sparse_optimizer.lr = config.dense_optimizer.lr = 0.8;
  config.sparse_optimizer.schedule = {.kind = ScheduleKind::kExponentialDecay,
                                      .decay_size = 1,
                                      .decay_factor = 0.5,
                                      .by_epoch = true};
  config.dense_optimizer.schedule = config.sparse_optimizer.schedule;
  EXPECT_DOUBLE_EQ(SparseLearningRate(config, 100, 1, 1), 0.4);
  EXPECT_DOUBLE_EQ(DenseLearningRate(config.dense_optimizer, 100, 2), 0.2);
  // With accumulation a pass that ends inside a window changes the sparse rate only in the next
  // window.
  config.gradient_accumulation_steps = 2;
  EXPECT_DOUBLE_EQ(SparseLearningRate(config, 101, 2, 1), 0.4);
  EXPECT_DOUBLE_EQ(DenseLearningRate(config.dense_optimizer, 101, 2), 0.2);
}

TEST(LearningRateTest, GoldenRatesOfEveryStepOfOptim) {
  std::ifstream file(SourceDir() + "/tests/golden/optim/loss.json");
  ASSERT_TRUE(file.good());
  const nlohmann::json steps = nlohmann::json::parse(file)["float64"]["steps"];
  TrainConfig config;
  config.sparse_optimizer.lr = 0.03;
  config.dense_optimizer.lr = 0.004;
  config.dense_optimizer.schedule = {.kind = ScheduleKind::kCosineWarmRestarts,
                                     .warmup_learning_rate = 0.002,
                                     .warmup_size = 1,
                                     .min_learning_rate = 0.001,
                                     .t_0 = 2,
                                     .t_mult = 2};
  PartOptimizer own, inherited;
  own.optimizer.lr = 0.05;
  own.optimizer.schedule = {
      .kind = ScheduleKind::kExponentialDecay, .decay_size = 2, .decay_factor = 0.5};
  inherited.optimizer.lr = 0.02;
  inherited.optimizer.schedule = config.dense_optimizer.schedule;
  config.part_optimizers = {own, inherited};
  ASSERT_EQ(steps.size(), 6u);
  for (int64_t step = 0; step < 6; ++step) {
    const LearningRates rates = RatesOfStep(config, step, 0, 0);
    EXPECT_NEAR(rates.sparse, steps[step]["lr_sparse_used"].get<double>(), 1e-15) << step;
    EXPECT_NEAR(rates.dense, steps[step]["lr_dense"].get<double>(), 1e-15) << step;
    ASSERT_EQ(rates.parts.size(), 2u);
    EXPECT_NEAR(rates.parts[0], steps[step]["lr_part_0"].get<double>(), 1e-15) << step;
    EXPECT_NEAR(rates.parts[1], steps[step]["lr_part_1"].get<double>(), 1e-15) << step;
  }
}

TEST(LearningRateTest, GoldenRatesOfEveryMicroBatchOfMixed) {
  std::ifstream file(SourceDir() + "/tests/golden/mixed/loss.json");
  ASSERT_TRUE(file.good());
  const nlohmann::json steps = nlohmann::json::parse(file)["float64"]["steps"];
  TrainConfig config;
  config.gradient_accumulation_steps = 2;
  config.sparse_optimizer.lr = config.dense_optimizer.lr = 0.03;
  config.sparse_optimizer.schedule = {.kind = ScheduleKind::kExponentialDecay,
                                      .decay_size = 4,
                                      .decay_factor = 0.6,
                                      .staircase = false};
  config.dense_optimizer.schedule = {.kind = ScheduleKind::kExponentialDecay,
                                     .decay_size = 3,
                                     .decay_factor = 0.5,
                                     .staircase = false};
  ASSERT_EQ(steps.size(), 10u);
  for (int64_t step = 0; step < 10; ++step) {
    EXPECT_NEAR(SparseLearningRate(config, step, step / 7, (step - step % 2) / 7),
                steps[step]["lr_sparse_used"].get<double>(), 1e-15)
        << step;
    EXPECT_NEAR(DenseLearningRate(config.dense_optimizer, step, step / 7),
                steps[step]["lr_dense"].get<double>(), 1e-15)
        << step;
  }
}

}  // namespace
}  // namespace pepnet

// Pareto weights against the conditions that define them (spec 2.3).
#include "worker/model/torch/pareto.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "common/base/random.h"

namespace pepnet {
namespace {

double Uniform(uint64_t key, uint64_t number) {
  return UnitFloat(Philox4x32(RandomKey(key, RandomPurpose::kTest, 0), 0, number)[0]);
}

// G G^T of `count` random gradients of 5 elements.
std::vector<double> RandomGram(uint64_t key, size_t count) {
  std::vector<double> gradients(5 * count), gram(count * count);
  for (size_t i = 0; i < gradients.size(); ++i) gradients[i] = 2 * Uniform(key, i) - 1;
  for (size_t k = 0; k < count; ++k) {
    for (size_t j = 0; j < count; ++j) {
      gram[k * count + j] =
          std::inner_product(&gradients[5 * k], &gradients[5 * k] + 5, &gradients[5 * j], 0.0);
    }
  }
  return gram;
}

// With two losses and no least weight the answer is the point of the line between the gradients
// that is nearest to 0: the first one's weight is (g2 - g1) g2 / |g1 - g2|^2, cut to [0, 1].
TEST(ParetoWeightsTest, TwoLossesMeetAtTheShortestSum) {
  for (uint64_t key = 1; key <= 20; ++key) {
    const std::vector<double> a = RandomGram(key, 2);
    const double first = std::clamp((a[3] - a[1]) / (a[0] - 2 * a[1] + a[3]), 0.0, 1.0);
    const std::vector<double> weights = ParetoWeights(a, {0, 0});
    EXPECT_NEAR(weights[0], first, 1e-9);
    EXPECT_NEAR(weights[1], 1 - first, 1e-9);
  }
}

// The multiplier is one number for all losses whose weight is not cut.
TEST(ParetoWeightsTest, WeightsHaveTheirSumAndTheirLeastAndSolveTheSystem) {
  int inside = 0;
  for (uint64_t key = 1; key <= 60; ++key) {
    const size_t count = 2 + key % 3;
    const std::vector<double> a = RandomGram(key, count);
    std::vector<double> least(count);
    for (size_t k = 0; k < count; ++k) least[k] = 0.2 * Uniform(key, 100 + k);
    const std::vector<double> weights = ParetoWeights(a, least);
    EXPECT_NEAR(std::accumulate(weights.begin(), weights.end(), 0.0), 1, 1e-9);
    bool cut = false;
    for (size_t k = 0; k < count; ++k) {
      EXPECT_GE(weights[k], least[k] - 1e-12);
      cut = cut || weights[k] < least[k] + 1e-9;
    }
    if (cut) continue;
    ++inside;
    std::vector<double> multipliers;
    for (size_t k = 0; k < count; ++k) {
      multipliers.push_back(std::inner_product(weights.begin(), weights.end(), &a[k * count], 0.0));
      EXPECT_NEAR(multipliers[k], multipliers[0], 1e-9);
    }
  }
  EXPECT_GT(inside, 10);
}

TEST(ParetoWeightsTest, GradientsThatAreEqualOrZeroShareTheirWeight) {
  for (const double square : {0.0, 1.0}) {
    const std::vector<double> weights = ParetoWeights(std::vector<double>(9, square), {0, 0, 0});
    for (const double weight : weights) EXPECT_NEAR(weight, 1.0 / 3, 1e-9);
  }
  EXPECT_NEAR(ParetoWeights({4.0}, {0.3})[0], 1, 1e-12);
}

}  // namespace
}  // namespace pepnet

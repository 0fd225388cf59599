#include "worker/model/variational_dropout.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "worker/model/dropout_mask.h"

namespace pepnet {
namespace {

TEST(VariationalDropoutTest, WithoutNoiseTheShareItselfIsDropped) {
  EXPECT_EQ(EvaluationFactor(0).factor, 0.5);
  EXPECT_NEAR(EvaluationFactor(std::log(3.0)).factor, 0.25, 1e-12);
  EXPECT_EQ(EvaluationFactor(0).derivative, -0.25);
}

TEST(VariationalDropoutTest, TheNoiseIsTheConcreteDistributions) {
  // p = 1/2 and u = 1/2: both odds are 1. u = 2/3 has the odds 2, whose tenth power is 1024.
  EXPECT_NEAR(TrainingFactor(0, 0.5).factor, 0.5, 1e-12);
  EXPECT_NEAR(TrainingFactor(0, 2.0 / 3).factor, 1.0 / 1025, 1e-6);
  EXPECT_NEAR(TrainingFactor(std::log(2.0), 0.5).factor, 1.0 / 1025, 1e-6);
  // The ends of u are finite.
  EXPECT_EQ(TrainingFactor(0, 0).factor, 1);
  EXPECT_NEAR(TrainingFactor(0, 1).factor, 0, 1e-12);
}

TEST(VariationalDropoutTest, DerivativesAreDifferenceQuotients) {
  constexpr double h = 1e-6;
  for (const double w : {-3.0, -0.4, 0.0, 0.7, 2.5}) {
    EXPECT_NEAR(EvaluationFactor(w).derivative,
                (EvaluationFactor(w + h).factor - EvaluationFactor(w - h).factor) / (2 * h), 1e-8);
    for (const double u : {0.03, 0.4, 0.5, 0.61, 0.97}) {
      const double quotient =
          (TrainingFactor(w + h, u).factor - TrainingFactor(w - h, u).factor) / (2 * h);
      EXPECT_NEAR(TrainingFactor(w, u).derivative, quotient, 1e-7) << "w " << w << ", u " << u;
    }
  }
}

TEST(VariationalDropoutTest, TheMeanOverTheNoiseFollowsTheShare) {
  constexpr int64_t kRows = 4000;
  for (const double w : {-2.0, 0.0, 1.5}) {
    double sum = 0;
    for (int64_t row = 0; row < kRows; ++row) {
      float u = 0;
      FillUniforms(DropoutKey(3, 1, 2), row, 1, &u);
      sum += TrainingFactor(w, static_cast<double>(u)).factor;
    }
    EXPECT_NEAR(sum / kRows, EvaluationFactor(w).factor, 0.02) << w;
  }
}

TEST(VariationalDropoutTest, SharesOfThePenaltyAddUp) {
  EXPECT_EQ(PenaltyShare(0, 0), 0);
  EXPECT_EQ(PenaltyShare(8, 8), 1.0 / 8);
  EXPECT_NEAR(PenaltyShare(3, 8) + PenaltyShare(5, 8), 1.0 / 8, 1e-15);
}

TEST(FillUniformsTest, UniformsAreThoseOfTheMasks) {
  std::vector<float> u(70), mask(70);
  FillUniforms(DropoutKey(11, 2, 7), 12, 70, u.data());
  for (const double ratio : {0.2, 0.5, 0.9}) {
    FillDropoutMask(DropoutKey(11, 2, 7), ratio, 12, 1, 70, mask.data());
    for (int e = 0; e < 70; ++e) EXPECT_EQ(mask[e] > 0, static_cast<double>(u[e]) >= ratio) << e;
  }
}

}  // namespace
}  // namespace pepnet

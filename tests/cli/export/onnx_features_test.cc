#include "cli/export/onnx/features.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "tests/support/status_matchers.h"
#include "worker/data/encode/feature_encoder.h"

namespace pepnet {
namespace {

Feature Bucketed(const std::vector<double>& boundaries, const Normalizer& normalizer) {
  Feature feature;
  feature.boundaries = boundaries;
  feature.normalizer = normalizer;
  return feature;
}

// Around every threshold and at random: counting reached thresholds is counting boundaries <=
// normalized x.
TEST(RawThresholdsTest, CountWhatTheNormalizedValueReaches) {
  constexpr int kSeed = 3;
  std::printf("seed %d\n", kSeed);
  std::mt19937_64 random(kSeed);
  const std::vector<Normalizer> normalizers = {{NormalizerKind::kNone, 0, 0},
                                               {NormalizerKind::kLog10, 1e-10, -10},
                                               {NormalizerKind::kZscore, 0.1, 0.7},
                                               {NormalizerKind::kMinmax, -3.3, 11.1}};
  for (const Normalizer& normalizer : normalizers) {
    const Feature feature = Bucketed({-2, -0.3, 0, 0.1, 1, 2, 3}, normalizer);
    ASSERT_OK_AND_ASSIGN(const auto thresholds, RawThresholds(feature));
    std::vector<double> values = {0, 1, 10, 100, 1000, 1e-300, 1e300, 0.1, 0.3};
    for (const double t : thresholds) {
      for (const double x : {t, std::nextafter(t, -INFINITY), std::nextafter(t, INFINITY)}) {
        values.push_back(x);
      }
    }
    for (int i = 0; i < 1000; ++i) {
      values.push_back(std::uniform_real_distribution<double>(-5, 1200)(random));
    }
    for (const double x : values) {
      if (!std::isfinite(x) || (normalizer.kind == NormalizerKind::kLog10 && !(x > normalizer.a))) {
        continue;
      }
      const double g = Normalize(normalizer, x);
      const auto expected =
          std::upper_bound(feature.boundaries.begin(), feature.boundaries.end(), g) -
          feature.boundaries.begin();
      const auto reached =
          std::count_if(thresholds.begin(), thresholds.end(), [&](double t) { return x >= t; });
      EXPECT_EQ(reached, expected) << "x " << x << ", normalized " << g;
    }
  }
}

TEST(RawThresholdsTest, ABoundaryThatNothingReachesIsInfinity) {
  ASSERT_OK_AND_ASSIGN(const auto thresholds,
                       RawThresholds(Bucketed({400}, {NormalizerKind::kLog10, 0, 0})));
  EXPECT_EQ(thresholds[0], std::numeric_limits<double>::infinity());
}

TEST(RawThresholdsTest, ADecreasingNormalizerIsRefused) {
  EXPECT_FALSE(RawThresholds(Bucketed({1}, {NormalizerKind::kZscore, 0, -1})).ok());
  EXPECT_FALSE(RawThresholds(Bucketed({1}, {NormalizerKind::kMinmax, 2, 1})).ok());
  EXPECT_FALSE(RawThresholds(Bucketed({1}, {NormalizerKind::kLog10, -1, 0})).ok());
}

TEST(OnnxInputsTest, FeaturesOfOneKindShareAColumnAndOthersGoByTheirName) {
  JobConfig config;
  auto add = [&](const std::string& name, const std::string& column, Bucketizer bucketizer,
                 int64_t rows) {
    Feature& feature = config.features.emplace_back();
    feature.name = name;
    feature.column = column;
    feature.bucketizer = bucketizer;
    feature.rows = rows;
    feature.is_read = name != "unused";
  };
  add("a", "shared", Bucketizer::kIdentity, 10);
  add("b", "shared", Bucketizer::kIdentity, 20);
  add("c", "mixed", Bucketizer::kHash, 10);
  add("d", "mixed", Bucketizer::kHash, 11);
  add("unused", "e", Bucketizer::kIdentity, 1);
  add("f", "f_column", Bucketizer::kVocabulary, 3);
  std::string text;
  for (const OnnxInput& input : OnnxInputs(config)) {
    text += config.features[input.feature].name + ":" + input.name + " ";
  }
  EXPECT_EQ(text, "a:shared b:shared c:c d:d f:f_column ");
}

}  // namespace
}  // namespace pepnet

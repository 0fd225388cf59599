#include "worker/model/gradient_buckets.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/worker/model/tiny_model.h"

namespace pepnet {
namespace {

DenseParameters Parameters() { return DenseParameters(DenseParameterList(TinyConfig())); }

TEST(GradientBucketsTest, EveryFloatIsInOneBucketAndTheLastComeFirst) {
  const DenseParameters parameters = Parameters();
  for (const size_t bytes : {size_t{1}, size_t{200}, size_t{1000}, size_t{1} << 30}) {
    size_t end = parameters.arena_floats();
    int last = static_cast<int>(parameters.specs().size());
    for (const GradientBucket& bucket : CutIntoBuckets(parameters, bytes)) {
      EXPECT_EQ(bucket.end, end);
      end = bucket.begin;
      for (const int i : bucket.parameters) {
        EXPECT_EQ(i, --last);
        EXPECT_GE(parameters.offset(i), bucket.begin);
        EXPECT_LE(parameters.offset(i) + parameters.specs()[i].elements(), bucket.end);
      }
    }
    EXPECT_EQ(end, 0u);
    EXPECT_EQ(last, 0);
  }
}

TEST(GradientBucketsTest, ABucketIsClosedAsSoonAsItIsLargeEnough) {
  const DenseParameters parameters = Parameters();
  EXPECT_EQ(CutIntoBuckets(parameters, 1).size(), parameters.specs().size());
  EXPECT_EQ(CutIntoBuckets(parameters, size_t{1} << 30).size(), 1u);
  const std::vector<GradientBucket> buckets = CutIntoBuckets(parameters, 256);
  ASSERT_GT(buckets.size(), 2u);
  for (size_t b = 0; b < buckets.size(); ++b) {
    const size_t bytes = 4 * (buckets[b].end - buckets[b].begin);
    const size_t first = 4 * (buckets[b].end - parameters.offset(buckets[b].parameters.back()));
    EXPECT_EQ(bytes, first);
    if (b + 1 < buckets.size()) {
      EXPECT_GE(bytes, 256u);
    }
    if (buckets[b].parameters.size() > 1) {  // without its last parameter it was too small
      EXPECT_LT(4 * (buckets[b].end - parameters.offset(buckets[b].parameters.end()[-2])), 256u);
    }
  }
}

}  // namespace
}  // namespace pepnet

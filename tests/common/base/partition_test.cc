#include "common/base/partition.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace pepnet {
namespace {

// Frozen: checkpoints are laid out by it.
TEST(PartitionTest, GoldenBuckets) {
  const uint64_t table = HashName("user_id_emb");
  std::string buckets;
  for (int64_t id : {int64_t{0}, int64_t{1}, int64_t{2}, int64_t{1000003}, int64_t{-1}}) {
    absl::StrAppend(&buckets, BucketOf(RowHash(table, id)), " ");
  }
  EXPECT_EQ(buckets, "114 488 414 814 630 ");
}

TEST(PartitionTest, EveryBucketHasExactlyOneServer) {
  for (int servers : {1, 2, 3, 5, 7, 64, 1000, 1023, 1024}) {
    ASSERT_EQ(FirstBucket(0, servers), 0);
    ASSERT_EQ(FirstBucket(servers, servers), kBucketCount);
    for (int s = 0; s < servers; ++s) {
      ASSERT_LT(FirstBucket(s, servers), FirstBucket(s + 1, servers));
      for (int b = FirstBucket(s, servers); b < FirstBucket(s + 1, servers); ++b) {
        ASSERT_EQ(ServerOfBucket(b, servers), s)
            << "bucket " << b << " of " << servers << " servers";
      }
    }
  }
}

}  // namespace
}  // namespace pepnet

// The assignment of rows to servers. Frozen: checkpoints are laid out by it (design section 6).
//
//   bucket(table, id) = top 10 bits of Mix64(id ^ HashName(table)); the in-server index uses the
//   low bits. server s of S owns the buckets [s*1024/S, (s+1)*1024/S).
#pragma once

#include <cstdint>
#include <string_view>

#include "common/base/hash.h"

namespace pepnet {

inline constexpr int kBucketCount = 1024;

constexpr uint64_t RowHash(uint64_t table_hash, int64_t id) {
  return Mix64(static_cast<uint64_t>(id) ^ table_hash);
}
constexpr int BucketOf(uint64_t row_hash) { return static_cast<int>(row_hash >> 54); }
constexpr int FirstBucket(int server, int server_count) {
  return static_cast<int>(int64_t{server} * kBucketCount / server_count);
}
// The server whose range holds `bucket`.
constexpr int ServerOfBucket(int bucket, int server_count) {
  return static_cast<int>((int64_t{bucket + 1} * server_count - 1) / kBucketCount);
}

static_assert(ServerOfBucket(0, 3) == 0 && ServerOfBucket(1023, 3) == 2 &&
              ServerOfBucket(FirstBucket(2, 3), 3) == 2 &&
              ServerOfBucket(FirstBucket(2, 3) - 1, 3) == 1);

}  // namespace pepnet

#include "ps/bucket_order.h"

#include <algorithm>
#include <utility>

#include "common/net/partition.h"

namespace pepnet {

BucketOrder::BucketOrder(const RowStore::View& rows, uint64_t table_hash)
    : rows_(rows), begin_(kBucketCount + 1, 0), slots_(static_cast<size_t>(rows.size())) {
  const auto bucket_of = [&](int64_t slot) { return BucketOf(RowHash(table_hash, rows.info(slot).id)); };
  for (int64_t slot = 0; slot < rows.size(); ++slot) ++begin_[bucket_of(slot) + 1];
  for (int bucket = 0; bucket < kBucketCount; ++bucket) begin_[bucket + 1] += begin_[bucket];
  std::vector<int64_t> next(begin_.begin(), begin_.end() - 1);
  for (int64_t slot = 0; slot < rows.size(); ++slot) {
    slots_[static_cast<size_t>(next[bucket_of(slot)]++)] = static_cast<uint32_t>(slot);
  }
}

std::span<const uint32_t> BucketOrder::Slots(int64_t first, int64_t end) {
  for (; sorted_buckets_ < kBucketCount && begin_[sorted_buckets_] < end; ++sorted_buckets_)
    SortBucket(sorted_buckets_);
  return std::span(slots_).subspan(static_cast<size_t>(first), static_cast<size_t>(end - first));
}

int BucketOrder::BucketAt(int64_t end) const {
  // The last bucket that begins at `end` or before it, behind the empty ones.
  return static_cast<int>(std::upper_bound(begin_.begin(), begin_.end(), end) - begin_.begin()) - 1;
}

void BucketOrder::SortBucket(int bucket) {
  std::vector<std::pair<int64_t, uint32_t>> ids;
  for (int64_t i = begin_[bucket]; i < begin_[bucket + 1]; ++i) {
    ids.emplace_back(rows_.info(slots_[static_cast<size_t>(i)]).id, slots_[static_cast<size_t>(i)]);
  }
  std::sort(ids.begin(), ids.end());
  for (size_t i = 0; i < ids.size(); ++i) slots_[static_cast<size_t>(begin_[bucket]) + i] = ids[i].second;
}

}  // namespace pepnet

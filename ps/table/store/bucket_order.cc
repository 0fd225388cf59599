#include "ps/table/store/bucket_order.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "common/base/partition.h"
#include "common/base/processor.h"

namespace pepnet {
namespace {

constexpr size_t kPrefetchRows = 16;  // rows asked for ahead of their use
constexpr size_t kRadixRows = 64;     // fewer are sorted by comparing them

}  // namespace

BucketOrder::BucketOrder(const RowStore::View& rows, uint64_t table_hash)
    : rows_(rows), begin_(kBucketCount + 1, 0) {
  static_assert(kBucketCount < 1 << 16);
  constexpr uint16_t kNone = kBucketCount;
  // A counting sort by bucket: the first pass counts, the second distributes the slots. The buckets
  // are kept in between, in 2 bytes a row, because hashing again would read all ids again.
  std::vector<uint16_t> bucket_of(static_cast<size_t>(rows.size()), kNone);
  for (int64_t slot = 0; slot < rows.size(); ++slot) {
    const int64_t id = rows.info(slot).id;
    if (id == RowInfo::kNoId) continue;
    const int bucket = BucketOf(RowHash(table_hash, id));
    bucket_of[static_cast<size_t>(slot)] = static_cast<uint16_t>(bucket);
    ++begin_[bucket + 1];
  }
  for (int bucket = 0; bucket < kBucketCount; ++bucket) begin_[bucket + 1] += begin_[bucket];
  std::vector<int64_t> next(begin_.begin(), begin_.end() - 1);
  slots_.resize(static_cast<size_t>(begin_[kBucketCount]));
  for (size_t slot = 0; slot < bucket_of.size(); ++slot) {
    if (bucket_of[slot] != kNone) {
      slots_[static_cast<size_t>(next[bucket_of[slot]]++)] = static_cast<uint32_t>(slot);
    }
  }
}

std::span<const uint32_t> BucketOrder::Slots(int64_t first, int64_t end) {
  for (; sorted_buckets_ < kBucketCount && begin_[sorted_buckets_] < end; ++sorted_buckets_) {
    SortBucket(sorted_buckets_);
  }
  return std::span(slots_).subspan(static_cast<size_t>(first), static_cast<size_t>(end - first));
}

int BucketOrder::BucketAt(int64_t end) const {
  // The last bucket that begins at `end` or before it, behind the empty ones.
  return static_cast<int>(std::upper_bound(begin_.begin(), begin_.end(), end) - begin_.begin()) - 1;
}

void BucketOrder::SortBucket(int bucket) {
  uint32_t* const slots = slots_.data() + begin_[bucket];
  const size_t count = static_cast<size_t>(begin_[bucket + 1] - begin_[bucket]);
  entries_.resize(count);
  scratch_.resize(count);
  int64_t different = 0;  // bits in which ids differ
  for (size_t i = 0; i < count; ++i) {
    if (i + kPrefetchRows < count) PrefetchRead(&rows_.info(slots[i + kPrefetchRows]));
    entries_[i] = {rows_.info(slots[i]).id, slots[i]};
    different |= entries_[i].id ^ entries_[0].id;
  }
  if (count < kRadixRows) {
    std::sort(entries_.begin(), entries_.end(),
              [](const Entry& a, const Entry& b) { return a.id < b.id; });
  } else {
    // By one byte after the other, the lowest first, each pass keeping the order of the one before.
    // With the sign bit turned over, negative ids come first.
    const auto byte = [](const Entry& entry, int shift) {
      return (static_cast<uint64_t>(entry.id) ^ uint64_t{1} << 63) >> shift & 0xff;
    };
    for (int shift = 0; shift < 64; shift += 8) {
      if ((different >> shift & 0xff) == 0) continue;
      std::array<uint32_t, 257> begin{};
      for (const Entry& entry : entries_) ++begin[byte(entry, shift) + 1];
      std::partial_sum(begin.begin(), begin.end(), begin.begin());
      for (const Entry& entry : entries_) scratch_[begin[byte(entry, shift)]++] = entry;
      entries_.swap(scratch_);
    }
  }
  for (size_t i = 0; i < count; ++i) slots[i] = entries_[i].slot;
}

}  // namespace pepnet

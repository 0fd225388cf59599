// BucketOrder: the slots of the rows of a view by (bucket, id), the order of checkpoints.
//
// Cost:    4 bytes per row, 6 in the constructor; the rows are counted and sorted by bucket at
//          once, a bucket is sorted when it is asked for.
// Threads: one. Reads nothing but the ids of the view, which never change.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ps/table/store/row_store.h"

namespace pepnet {

class BucketOrder {
 public:
  // Borrows `rows`.
  BucketOrder(const RowStore::View& rows, uint64_t table_hash);

  int64_t size() const { return static_cast<int64_t>(slots_.size()); }
  // Places [first, end) of the order. Calls go from front to back; what they returned stays as it
  // is, so that another thread may read it.
  std::span<const uint32_t> Slots(int64_t first, int64_t end);
  // The first bucket that has a row at place `end` or later; kBucketCount if there is none.
  int BucketAt(int64_t end) const;
  uint64_t memory_bytes() const { return slots_.size() * sizeof(uint32_t); }

 private:
  struct Entry {
    int64_t id;
    uint32_t slot;
  };

  void SortBucket(int bucket);

  const RowStore::View& rows_;
  std::vector<int64_t> begin_;  // by bucket, and the end
  std::vector<uint32_t> slots_;
  int sorted_buckets_ = 0;
  std::vector<Entry> entries_, scratch_;  // of the bucket that is being sorted
};

}  // namespace pepnet

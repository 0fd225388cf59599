// RowCopies: copies of rows of one table, made before the rows changed, found again by bucket and
// slot.
//
// Memory:  blocks of kBlockRows copies, charged to a budget that several tables share. A copy that
//          is freed serves again for the same table.
// Threads: one at a time (the owner locks).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "ps/table/store/row_store.h"

namespace pepnet {

// The memory that the copies of a server may take.
struct CopyBudget {
  uint64_t limit_bytes = 0;
  uint64_t used_bytes = 0, peak_bytes = 0;
};

class RowCopies {
 public:
  struct Ref {
    uint32_t slot;
    uint32_t place;
    bool operator<(const Ref& other) const { return slot < other.slot; }
  };

  // Rows of `row_floats` floats. Borrows `budget`.
  RowCopies(int64_t row_floats, CopyBudget* budget);

  // False if the budget is used up; then nothing has happened.
  bool Add(int bucket, int64_t slot, const RowInfo& info, const float* floats);
  // The copies of a bucket, sorted by slot.
  std::span<const Ref> OfBucket(int bucket);
  const RowInfo& info(Ref ref) const { return *reinterpret_cast<const RowInfo*>(copy(ref.place)); }
  const float* floats(Ref ref) const {
    return reinterpret_cast<const float*>(copy(ref.place) + sizeof(RowInfo));
  }
  void Free(int bucket);
  // Empty afterwards. The memory is the caller's to free: it takes milliseconds, which need no
  // lock.
  std::vector<AlignedBuffer<uint8_t>> Clear();

  int64_t added() const { return added_; }  // so far
  size_t copy_bytes() const { return (sizeof(RowInfo) + row_floats_ * sizeof(float) + 7) / 8 * 8; }

 private:
  static constexpr size_t kBlockRows = 256;

  const uint8_t* copy(uint32_t place) const {
    return blocks_[place / kBlockRows].data() + place % kBlockRows * copy_bytes();
  }
  size_t block_bytes() const { return kBlockRows * (copy_bytes() + sizeof(Ref)); }

  int64_t row_floats_;
  CopyBudget* budget_;
  std::vector<std::vector<Ref>> of_bucket_;
  std::vector<AlignedBuffer<uint8_t>> blocks_;
  std::vector<uint32_t> free_;  // places
  int64_t added_ = 0;
};

}  // namespace pepnet

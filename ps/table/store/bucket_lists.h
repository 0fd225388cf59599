// BucketLists: the slots of a table's rows by bucket, and what can be told of a row without reading
// it.
//
//   bucket b    slots   | 17 | 4 | 301 | ...      in no order: the last takes the place of one that
//               steps   | 80 | 92 | 80 | ...      goes
//
//   positions   | slot 0 | slot 1 | ...           of a slot in the list of its bucket
//
// Steps:     a step that has named the row, not after the last that has. The last one stands in the
//            row's RowInfo, elsewhere in memory for every row; but it only grows, so a row whose
//            step here is young enough is not looked at. Steps beyond 2^32 - 1 are kept as that.
// Positions: for tables of which any row may be removed (Remove()).
// Memory:    lists grow by sixteenths: at most 4.25 bytes a row for each of the three, and 16
//            entries a list.
// Threads:   one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace pepnet {

class BucketLists {
 public:
  // Positions are kept if `keeps_positions`, steps if `keeps_steps`.
  BucketLists(bool keeps_steps, bool keeps_positions);

  std::span<const uint32_t> slots(int bucket) const { return slots_[bucket]; }
  // Precondition of those about steps: they are kept.
  int64_t step(int bucket, size_t place) const { return steps_[bucket][place]; }
  // The least of the places [begin, end), which is not empty.
  int64_t LeastStep(int bucket, size_t begin, size_t end) const;
  void SetStep(int bucket, size_t place, int64_t step) { steps_[bucket][place] = Kept(step); }

  // Precondition: the slot stands in no list.
  void Add(int bucket, uint32_t slot, int64_t step);
  void RemoveAt(int bucket, size_t place);
  // Precondition: positions are kept, and the slot stands in the list.
  void Remove(int bucket, uint32_t slot);
  void Clear(int bucket);
  uint64_t memory_bytes() const;

 private:
  static uint32_t Kept(int64_t step) {
    return static_cast<uint32_t>(std::min<int64_t>(step, std::numeric_limits<uint32_t>::max()));
  }

  bool keeps_positions_;
  std::vector<std::vector<uint32_t>> slots_, steps_;  // by bucket; steps_: empty if not kept
  std::vector<uint32_t> positions_;
};

}  // namespace pepnet

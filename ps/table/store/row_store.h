// RowStore: the rows of one table on one server, in memory that never moves: a slot and the
// pointers to its row stay good as long as the store.
//
// Layout:  slots count the rows by age. A chunk holds kChunkRows rows: first the floats of each row
//          (value, then optimizer state; values of fewer bits take whole floats, value_codec.h),
//          then the RowInfo of each. The first chunks are made one by one, so that a small table
//          stays small; later ones are cut from slabs on huge pages.
// Threads: one thread appends and changes. Floats and RowInfo of rows that are not being changed,
//          and the ids of all rows, may be read through a View by another thread meanwhile.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/base/processor.h"
#include "ps/table/store/huge_memory.h"

namespace pepnet {

struct RowInfo {
  // No row stands in this slot; no table has this id (IdsOf()).
  static constexpr int64_t kNoId = INT64_MIN;

  int64_t id;         // changes only where no view is read (TableShard::KeepErased)
  int64_t frequency;  // steps that have named the row
  int64_t last_step;  // the last of them

  // 24 bytes may stand in two cache lines.
  void Prefetch() const { PrefetchRead(this, sizeof(*this)); }
};

class RowStore {
 public:
  static constexpr int kChunkBits = 12;
  static constexpr int64_t kChunkRows = int64_t{1} << kChunkBits;

  // The first size() rows of a store, at the time the view was taken. Dies with the store.
  class View {
   public:
    int64_t size() const { return size_; }
    const float* floats(int64_t slot) const {
      return FloatsOf(chunks_[slot >> kChunkBits], slot, row_floats_);
    }
    const RowInfo& info(int64_t slot) const {
      return *InfoOf(chunks_[slot >> kChunkBits], slot, row_floats_);
    }

   private:
    friend class RowStore;
    std::vector<uint8_t*> chunks_;
    int64_t size_ = 0;
    int64_t row_floats_ = 0;
  };

  explicit RowStore(int64_t row_floats) : row_floats_(row_floats) {}

  int64_t size() const { return size_; }
  // Makes room for one more row and returns its slot; the contents are not set.
  int64_t Append();
  // Makes room for `rows` rows in all. Returns the new memory that they will fill, in the order in
  // which Append() will hand it out.
  std::vector<std::span<uint8_t>> Reserve(int64_t rows);
  // Precondition: 0 <= slot < size().
  float* floats(int64_t slot) { return FloatsOf(chunks_[slot >> kChunkBits], slot, row_floats_); }
  const float* floats(int64_t slot) const {
    return FloatsOf(chunks_[slot >> kChunkBits], slot, row_floats_);
  }
  RowInfo& info(int64_t slot) { return *InfoOf(chunks_[slot >> kChunkBits], slot, row_floats_); }
  const RowInfo& info(int64_t slot) const {
    return *InfoOf(chunks_[slot >> kChunkBits], slot, row_floats_);
  }
  View view() const;
  uint64_t memory_bytes() const { return chunks_.size() * chunk_bytes(); }

 private:
  static constexpr size_t kSingleChunks = 4;  // made one by one
  static constexpr size_t kSlabChunks = 128;
  static constexpr int64_t kChunkMask = kChunkRows - 1;

  static float* FloatsOf(uint8_t* chunk, int64_t slot, int64_t row_floats) {
    return reinterpret_cast<float*>(chunk) + (slot & kChunkMask) * row_floats;
  }
  static RowInfo* InfoOf(uint8_t* chunk, int64_t slot, int64_t row_floats) {
    uint8_t* const infos = chunk + kChunkRows * row_floats * sizeof(float);
    return reinterpret_cast<RowInfo*>(infos) + (slot & kChunkMask);
  }
  size_t chunk_bytes() const {
    return kChunkRows * (row_floats_ * sizeof(float) + sizeof(RowInfo));
  }
  void AddChunk();

  int64_t row_floats_;
  int64_t size_ = 0;
  std::vector<uint8_t*> chunks_;  // into memory_
  std::vector<HugeMemory> memory_;
  size_t slab_left_ = 0;  // chunks of the last slab that are not handed out
};

}  // namespace pepnet

// TableShard: the rows of one table that one server owns.
//
// Storage:   an open-addressing index from id to slot (linear probing, at most 70% full) and rows in fixed-size chunks:
//            value and optimizer state side by side, frequency and last step beside them. Growth never moves a row: a
//            slot and the pointers to its row stay good until the shard is destroyed.
// Threads:   one thread.
// Rows:      are made by Create() only; Find() and ReadValues() change nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "common/config/job_config.h"
#include "ps/row_initializer.h"

namespace pepnet {

class TableShard {
 public:
  static constexpr int64_t kNoSlot = -1;
  struct Row {
    int64_t id;
    int64_t slot;
  };

  TableShard(const Table& table, const SparseOptimizer& optimizer, uint64_t seed);

  const Table& table() const { return table_; }
  uint64_t table_hash() const { return table_hash_; }
  int dim() const { return table_.dim; }
  int state_dim() const { return state_dim_; }
  int64_t size() const { return size_; }
  // Bytes of index and rows.
  uint64_t memory_bytes() const;

  // slots[i] becomes the slot of ids[i], or kNoSlot. Same sizes.
  void Find(std::span<const int64_t> ids, std::span<int64_t> slots) const;
  int64_t Find(int64_t id) const;
  // Makes a row with its initial value and state, frequency 0 and last step 0. Precondition: `id` has no row.
  int64_t Create(int64_t id);
  // Makes room in the index for `rows` rows in all.
  void Reserve(int64_t rows);

  // Values of the rows, row after row; where slots[i] is kNoSlot the initial value of ids[i]. `out` has ids.size() *
  // dim floats.
  void ReadValues(std::span<const int64_t> ids, std::span<const int64_t> slots, float* out) const;
  // The value that Create(id) would give; out.size() == dim.
  void ReadInitialValue(int64_t id, std::span<float> out) const { initializer_.Fill(id, out); }

  // Precondition: 0 <= slot < size(). State follows the value directly.
  float* value(int64_t slot) { return chunk(slot).rows.data() + (slot & kChunkMask) * stride_; }
  float* state(int64_t slot) { return value(slot) + table_.dim; }
  const float* value(int64_t slot) const { return chunk(slot).rows.data() + (slot & kChunkMask) * stride_; }
  const float* state(int64_t slot) const { return value(slot) + table_.dim; }
  int64_t& frequency(int64_t slot) { return chunk(slot).frequency[slot & kChunkMask]; }
  int64_t& last_step(int64_t slot) { return chunk(slot).last_step[slot & kChunkMask]; }
  int64_t frequency(int64_t slot) const { return chunk(slot).frequency[slot & kChunkMask]; }
  int64_t last_step(int64_t slot) const { return chunk(slot).last_step[slot & kChunkMask]; }

  // All rows by (bucket, id): the order of checkpoints.
  std::vector<Row> SortedRows() const;

 private:
  static constexpr int kChunkBits = 12;
  static constexpr int64_t kChunkRows = int64_t{1} << kChunkBits;
  static constexpr int64_t kChunkMask = kChunkRows - 1;
  struct Chunk {
    AlignedBuffer<float> rows;  // kChunkRows * stride_
    AlignedBuffer<int64_t> frequency, last_step;
  };

  Chunk& chunk(int64_t slot) { return chunks_[slot >> kChunkBits]; }
  const Chunk& chunk(int64_t slot) const { return chunks_[slot >> kChunkBits]; }
  // Position of `id` in the index, or of the empty entry where it belongs.
  size_t Probe(int64_t id, uint64_t hash) const;
  void Rehash(size_t capacity);

  Table table_;
  SparseOptimizer optimizer_;
  RowInitializer initializer_;
  uint64_t table_hash_;
  int state_dim_;
  int64_t stride_;  // floats per row
  int64_t size_ = 0;
  AlignedBuffer<Row> index_;  // a power of two of entries; slot kNoSlot: empty
  std::vector<Chunk> chunks_;
};

}  // namespace pepnet

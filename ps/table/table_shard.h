// TableShard: the rows of one table that one server owns.
//
// Storage:   an index from id to slot (store/row_index.h) and rows that never move
//            (store/row_store.h): a slot and the pointers to its row stay good until the row is
//            erased or the shard is destroyed.
// Threads:   one thread.
// Rows:      are made by Create() and go by Erase() only; Find() and ReadValues() change nothing.
//            Who is admitted and who leaves is the business of lifecycle().
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/base/processor.h"
#include "common/base/random.h"
#include "common/job_config/sparse_optimizer.h"
#include "common/job_config/table.h"
#include "ps/table/row_initializer.h"
#include "ps/table/store/row_codec.h"
#include "ps/table/store/row_index.h"
#include "ps/table/store/row_store.h"

namespace pepnet {

class RowLifecycle;

class TableShard {
 public:
  static constexpr int64_t kNoSlot = RowIndex::kNoSlot;
  struct Row {
    int64_t id;
    int64_t slot;
  };

  TableShard(const Table& table, const SparseOptimizer& optimizer, uint64_t seed);
  TableShard(TableShard&&) noexcept;
  TableShard& operator=(TableShard&&) noexcept;
  ~TableShard();

  const Table& table() const { return table_; }
  uint64_t table_hash() const { return table_hash_; }
  int dim() const { return table_.dim; }
  // Numbers behind the values of a row: optimizer state, then the clicks where the policy counts
  // them.
  int state_dim() const { return state_dim_; }
  int64_t size() const {
    return rows_.size() - static_cast<int64_t>(free_.size() + erased_.size());
  }
  // Bytes of index and rows, and of what the lifecycle keeps.
  uint64_t memory_bytes() const;
  // Admission, expiry and eviction; null: every id that is trained has a row for ever.
  RowLifecycle* lifecycle() { return lifecycle_.get(); }
  const RowLifecycle* lifecycle() const { return lifecycle_.get(); }

  // slots[i] becomes the slot of ids[i], or kNoSlot. Same sizes.
  void Find(std::span<const int64_t> ids, std::span<int64_t> slots) const;
  int64_t Find(int64_t id) const;
  // Find() and ReadValues() in one pass: what a pull needs.
  void FindAndRead(std::span<const int64_t> ids, std::span<int64_t> slots, float* out) const;
  // Find() and where the rows' values are: what a pull by reference needs. Leaves rows[i] of an id
  // without a row as it is; returns how many there are. Precondition: codec().values().is_float().
  size_t FindAndPoint(std::span<const int64_t> ids, std::span<int64_t> slots,
                      const float** rows) const;
  // Brings what Find(id) or Create(id) will touch of the index into the cache.
  void PrefetchIndex(int64_t id) const { PrefetchIndexOf(RowHash(table_hash_, id)); }
  // The same, and what Erase() touches, of the id with this hash.
  void PrefetchIndexOf(uint64_t hash) const { index_.PrefetchEntry(hash); }
  // The same for a row that is about to be updated.
  void PrefetchRow(int64_t slot) const {
    info(slot).Prefetch();
    PrefetchWrite(floats(slot), row_bytes_);
  }
  // Makes a row with its initial value and state, frequency 0 and last step 0. Precondition: `id`
  // has no row.
  int64_t Create(int64_t id);
  // The same with this value (dim() floats) and state (state_dim() floats; null: the initial one),
  // rounded to nearest.
  int64_t Create(int64_t id, const float* value, const float* state);
  // Removes a row.
  void Erase(int64_t slot);
  // Whether rows that are erased from now on keep their slots and contents, because somebody reads
  // a view(); then new rows are made behind the view, and SortedRows() may not be asked for. False:
  // their slots serve again. Of the candidates, too.
  void KeepErased(bool keep);
  // Makes room in the index for `rows` rows in all.
  void ReserveIndex(int64_t rows) { index_.Reserve(rows); }
  // Makes room for `rows` rows in all, which are about to be made. Returns the memory of those that
  // have none yet (RowStore::Reserve).
  std::vector<std::span<uint8_t>> Reserve(int64_t rows);

  // Values of the rows, row after row; where slots[i] is kNoSlot the initial value of ids[i]. `out`
  // has ids.size() * dim floats.
  void ReadValues(std::span<const int64_t> ids, std::span<const int64_t> slots, float* out) const;
  // The values that Create() would give to ids that have no row, one after the other: those of
  // ids[i] with slots[i] == kNoSlot. rows[i] becomes where they are.
  void ReadInitialValues(std::span<const int64_t> ids, std::span<const int64_t> slots,
                         const float** rows, float* out) const;
  // The value that Create(id) would give; out.size() == dim.
  void ReadInitialValue(int64_t id, std::span<float> out) const { initializer_.Fill(id, out); }

  // Counts a step in which a row of the data with a positive label named this one; stays at 2^24,
  // where floats end to count. Precondition: the policy counts clicks.
  void CountClick(int64_t slot) { floats(slot)[codec_.clicks_at()] += 1; }
  // 0 where the policy counts none.
  float clicks(int64_t slot) const {
    return table_.policy.counts_clicks() ? floats(slot)[codec_.clicks_at()] : 0;
  }
  // Floats of optimizer state alone.
  int optimizer_state_dim() const { return state_dim_ - (table_.policy.counts_clicks() ? 1 : 0); }

  // The layout of a row.
  const RowCodec& codec() const { return codec_; }
  // Of the rounding that step `step` does (store/value_codec.h), to values (kRounding) or state
  // (kStateRounding).
  uint64_t RoundingKey(RandomPurpose purpose, int64_t step) const {
    return RandomKey(seed_, purpose, table_hash_, static_cast<uint64_t>(step));
  }

  // A row as codec() reads and writes it, and its state. Precondition: 0 <= slot < size().
  float* floats(int64_t slot) { return rows_.floats(slot); }
  float* state(int64_t slot) { return floats(slot) + codec_.state_at(); }
  const float* floats(int64_t slot) const { return rows_.floats(slot); }
  const float* state(int64_t slot) const { return floats(slot) + codec_.state_at(); }
  // The values where they are. Precondition: codec().values().is_float().
  float* value(int64_t slot) { return rows_.floats(slot); }
  const float* value(int64_t slot) const { return rows_.floats(slot); }
  RowInfo& info(int64_t slot) { return rows_.info(slot); }
  const RowInfo& info(int64_t slot) const { return rows_.info(slot); }
  int64_t& frequency(int64_t slot) { return info(slot).frequency; }
  int64_t& last_step(int64_t slot) { return info(slot).last_step; }
  int64_t frequency(int64_t slot) const { return info(slot).frequency; }
  int64_t last_step(int64_t slot) const { return info(slot).last_step; }
  // The rows there are now, to be read while the shard goes on changing (store/row_store.h).
  RowStore::View view() const { return rows_.view(); }

  // All rows by (bucket, id): the order of checkpoints.
  std::vector<Row> SortedRows() const;

 private:
  // Calls read(floats of a row, out) or fills in an initial value for each id; FindAndRead() and
  // ReadValues() with a loop of its own for each way to read.
  template <typename Read>
  void FindAndReadRows(std::span<const int64_t> ids, std::span<int64_t> slots, float* out,
                       const Read& read) const;
  template <typename Read>
  void ReadRows(std::span<const int64_t> ids, std::span<const int64_t> slots, float* out,
                const Read& read) const;
  // Brings the value of a row into the cache.
  void PrefetchValue(int64_t slot) const {
    PrefetchRead(floats(slot), static_cast<size_t>(codec_.state_at()) * sizeof(float));
  }
  // Makes a row whose floats are not set.
  int64_t NewRow(int64_t id);

  Table table_;
  RowInitializer initializer_;
  RowCodec codec_;
  uint64_t seed_;
  uint64_t table_hash_;
  int state_dim_;
  size_t row_bytes_;  // of value and state
  // The words behind the values of a row that has never been updated or clicked.
  std::vector<float> initial_state_;
  RowStore rows_;
  RowIndex index_;
  bool keep_erased_ = false;
  std::vector<uint32_t> free_;    // slots without a row
  std::vector<uint32_t> erased_;  // slots of rows that were erased while keep_erased_
  std::unique_ptr<RowLifecycle> lifecycle_;
};

}  // namespace pepnet

#include "ps/table_shard.h"

#include <algorithm>
#include <cstring>

#include "common/base/logging.h"
#include "common/net/partition.h"
#include "ps/sparse_optimizer.h"

namespace pepnet {
namespace {

constexpr size_t kFirstCapacity = 64;
constexpr size_t kFindBlock = 16;    // index entries asked for ahead of their use
constexpr size_t kPrefetchRows = 8;  // rows asked for ahead of their use

// At most 70% of `capacity` entries are used.
constexpr bool Fits(int64_t rows, size_t capacity) { return static_cast<uint64_t>(rows) * 10 <= capacity * 7; }

}  // namespace

TableShard::TableShard(const Table& table, const SparseOptimizer& optimizer, uint64_t seed)
    : table_(table),
      optimizer_(optimizer),
      initializer_(table, seed),
      table_hash_(HashName(table.name)),
      state_dim_(SparseStateDim(optimizer.kind, table.dim)),
      stride_(int64_t{table.dim} + state_dim_) {
  Rehash(kFirstCapacity);
}

uint64_t TableShard::memory_bytes() const {
  const uint64_t chunk_bytes = kChunkRows * (stride_ * sizeof(float) + 2 * sizeof(int64_t));
  return index_.bytes() + chunks_.size() * chunk_bytes;
}

size_t TableShard::Probe(int64_t id, uint64_t hash) const {
  const size_t mask = index_.size() - 1;
  size_t at = hash & mask;  // the low bits; the high ones are the bucket and alike on one server
  while (index_[at].slot != kNoSlot && index_[at].id != id) at = (at + 1) & mask;
  return at;
}

int64_t TableShard::Find(int64_t id) const { return index_[Probe(id, RowHash(table_hash_, id))].slot; }

void TableShard::Find(std::span<const int64_t> ids, std::span<int64_t> slots) const {
  CHECK_EQ(ids.size(), slots.size());
  const size_t mask = index_.size() - 1;
  uint64_t hashes[kFindBlock];
  for (size_t begin = 0; begin < ids.size(); begin += kFindBlock) {
    const size_t count = std::min(kFindBlock, ids.size() - begin);
    for (size_t i = 0; i < count; ++i) {
      hashes[i] = RowHash(table_hash_, ids[begin + i]);
      __builtin_prefetch(&index_[hashes[i] & mask]);
    }
    for (size_t i = 0; i < count; ++i) slots[begin + i] = index_[Probe(ids[begin + i], hashes[i])].slot;
  }
}

int64_t TableShard::Create(int64_t id) {
  if (!Fits(size_ + 1, index_.size())) Rehash(index_.size() * 2);
  Row& entry = index_[Probe(id, RowHash(table_hash_, id))];
  CHECK_EQ(entry.slot, kNoSlot) << "row " << id << " of table " << table_.name << " exists";
  const int64_t slot = size_++;
  entry = {id, slot};
  if ((slot & kChunkMask) == 0) {
    Chunk fresh;  // not cleared: the pages of rows not yet made stay untouched
    fresh.rows.Resize(kChunkRows * stride_);
    fresh.frequency.Resize(kChunkRows);
    fresh.last_step.Resize(kChunkRows);
    chunks_.push_back(std::move(fresh));
  }
  initializer_.Fill(id, {value(slot), static_cast<size_t>(table_.dim)});
  FillInitialState(optimizer_, {state(slot), static_cast<size_t>(state_dim_)});
  frequency(slot) = 0;
  last_step(slot) = 0;
  return slot;
}

void TableShard::Reserve(int64_t rows) {
  size_t capacity = index_.size();
  while (!Fits(rows, capacity)) capacity *= 2;
  if (capacity > index_.size()) Rehash(capacity);
}

void TableShard::Rehash(size_t capacity) {
  AlignedBuffer<Row> old = std::move(index_);
  index_.Resize(capacity);
  std::fill(index_.begin(), index_.end(), Row{0, kNoSlot});
  for (const Row& row : old) {
    if (row.slot != kNoSlot) index_[Probe(row.id, RowHash(table_hash_, row.id))] = row;
  }
}

void TableShard::ReadValues(std::span<const int64_t> ids, std::span<const int64_t> slots, float* out) const {
  CHECK_EQ(ids.size(), slots.size());
  const size_t dim = table_.dim;
  for (size_t i = 0; i < ids.size(); ++i, out += dim) {
    if (i + kPrefetchRows < ids.size() && slots[i + kPrefetchRows] != kNoSlot) {
      __builtin_prefetch(value(slots[i + kPrefetchRows]));
    }
    if (slots[i] == kNoSlot) {
      initializer_.Fill(ids[i], {out, dim});
    } else {
      std::memcpy(out, value(slots[i]), dim * sizeof(float));
    }
  }
}

std::vector<TableShard::Row> TableShard::SortedRows() const {
  // Counting sort by bucket, then by id within each bucket.
  std::vector<size_t> begin(kBucketCount + 1, 0);
  for (const Row& row : index_) {
    if (row.slot != kNoSlot) ++begin[BucketOf(RowHash(table_hash_, row.id)) + 1];
  }
  for (int bucket = 0; bucket < kBucketCount; ++bucket) begin[bucket + 1] += begin[bucket];
  std::vector<Row> rows(size_);
  std::vector<size_t> next(begin.begin(), begin.end() - 1);
  for (const Row& row : index_) {
    if (row.slot != kNoSlot) rows[next[BucketOf(RowHash(table_hash_, row.id))]++] = row;
  }
  for (int bucket = 0; bucket < kBucketCount; ++bucket) {
    std::sort(rows.begin() + begin[bucket], rows.begin() + begin[bucket + 1],
              [](const Row& a, const Row& b) { return a.id < b.id; });
  }
  return rows;
}

}  // namespace pepnet

#include "ps/table/table_shard.h"

#include "common/base/copy_row.h"
#include "common/base/logging.h"
#include "common/base/partition.h"
#include "ps/table/bucket_order.h"
#include "ps/table/sparse_optimizer.h"

namespace pepnet {
namespace {

constexpr size_t kPrefetchRows = 16;  // rows asked for ahead of their use

inline void PrefetchFloats(const float* row, size_t dim) {
  for (size_t e = 0; e < dim; e += 16) __builtin_prefetch(row + e);
}

}  // namespace

TableShard::TableShard(const Table& table, const SparseOptimizer& optimizer, uint64_t seed)
    : table_(table),
      optimizer_(optimizer),
      initializer_(table, seed),
      table_hash_(HashName(table.name)),
      state_dim_(SparseStateDim(optimizer.kind, table.dim)),
      row_bytes_((int64_t{table.dim} + state_dim_) * sizeof(float)),
      rows_(int64_t{table.dim} + state_dim_),
      index_(table.rows) {}

int64_t TableShard::Find(int64_t id) const { return index_.Find(id, RowHash(table_hash_, id), rows_); }

void TableShard::Find(std::span<const int64_t> ids, std::span<int64_t> slots) const {
  CHECK_EQ(ids.size(), slots.size());
  index_.Find(
      ids, table_hash_, rows_, [](int64_t) {}, [&](size_t i, int64_t slot) { slots[i] = slot; });
}

void TableShard::FindAndRead(std::span<const int64_t> ids, std::span<int64_t> slots, float* out) const {
  CHECK_EQ(ids.size(), slots.size());
  const size_t dim = table_.dim;
  index_.Find(
      ids, table_hash_, rows_, [&](int64_t slot) { PrefetchFloats(value(slot), dim); },
      [&](size_t i, int64_t slot) {
        slots[i] = slot;
        if (slot == kNoSlot) {
          initializer_.Fill(ids[i], {out + i * dim, dim});
        } else {
          CopyRow(value(slot), dim, out + i * dim);
        }
      });
}

int64_t TableShard::Append(int64_t id) {
  const uint64_t hash = RowHash(table_hash_, id);
  CHECK_EQ(index_.Find(id, hash, rows_), kNoSlot) << "row " << id << " of table " << table_.name << " exists";
  const int64_t slot = rows_.Append();
  rows_.info(slot) = {.id = id, .frequency = 0, .last_step = 0};
  index_.Insert(hash, slot, rows_, table_hash_);
  return slot;
}

int64_t TableShard::Create(int64_t id) {
  const int64_t slot = Append(id);
  initializer_.Fill(id, {value(slot), static_cast<size_t>(table_.dim)});
  FillInitialState(optimizer_, {state(slot), static_cast<size_t>(state_dim_)});
  return slot;
}

int64_t TableShard::Create(int64_t id, const float* value, const float* state) {
  const int64_t slot = Append(id);
  CopyRow(value, static_cast<size_t>(table_.dim), this->value(slot));
  if (state != nullptr) {
    CopyRow(state, static_cast<size_t>(state_dim_), this->state(slot));
  } else {
    FillInitialState(optimizer_, {this->state(slot), static_cast<size_t>(state_dim_)});
  }
  return slot;
}

void TableShard::Reserve(int64_t rows) { index_.Reserve(rows, rows_, table_hash_); }

void TableShard::ReadValues(std::span<const int64_t> ids, std::span<const int64_t> slots, float* out) const {
  CHECK_EQ(ids.size(), slots.size());
  const size_t dim = table_.dim;
  for (size_t i = 0; i < ids.size(); ++i, out += dim) {
    if (i + kPrefetchRows < ids.size() && slots[i + kPrefetchRows] != kNoSlot) {
      PrefetchFloats(value(slots[i + kPrefetchRows]), dim);
    }
    if (slots[i] == kNoSlot) {
      initializer_.Fill(ids[i], {out, dim});
    } else {
      CopyRow(value(slots[i]), dim, out);
    }
  }
}

std::vector<TableShard::Row> TableShard::SortedRows() const {
  const RowStore::View rows = view();
  BucketOrder order(rows, table_hash_);
  std::vector<Row> sorted;
  sorted.reserve(rows.size());
  for (uint32_t slot : order.Slots(0, rows.size())) sorted.push_back({rows.info(slot).id, slot});
  return sorted;
}

}  // namespace pepnet

#include "ps/table_shard.h"

#include <cstring>

#include "common/base/logging.h"
#include "common/net/partition.h"
#include "ps/bucket_order.h"
#include "ps/sparse_optimizer.h"

namespace pepnet {
namespace {

constexpr size_t kPrefetchRows = 8;  // rows asked for ahead of their use

}  // namespace

TableShard::TableShard(const Table& table, const SparseOptimizer& optimizer, uint64_t seed)
    : table_(table),
      optimizer_(optimizer),
      initializer_(table, seed),
      table_hash_(HashName(table.name)),
      state_dim_(SparseStateDim(optimizer.kind, table.dim)),
      rows_(int64_t{table.dim} + state_dim_) {}

int64_t TableShard::Find(int64_t id) const { return index_.Find(id, RowHash(table_hash_, id), rows_); }

void TableShard::Find(std::span<const int64_t> ids, std::span<int64_t> slots) const {
  CHECK_EQ(ids.size(), slots.size());
  index_.Find(ids, table_hash_, rows_, slots.data());
}

int64_t TableShard::Create(int64_t id) {
  const uint64_t hash = RowHash(table_hash_, id);
  CHECK_EQ(index_.Find(id, hash, rows_), kNoSlot) << "row " << id << " of table " << table_.name << " exists";
  const int64_t slot = rows_.Append();
  rows_.info(slot) = {.id = id, .frequency = 0, .last_step = 0};
  index_.Insert(hash, slot, rows_, table_hash_);
  initializer_.Fill(id, {value(slot), static_cast<size_t>(table_.dim)});
  FillInitialState(optimizer_, {state(slot), static_cast<size_t>(state_dim_)});
  return slot;
}

void TableShard::Reserve(int64_t rows) { index_.Reserve(rows, rows_, table_hash_); }

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
  const RowStore::View rows = view();
  BucketOrder order(rows, table_hash_);
  std::vector<Row> sorted;
  sorted.reserve(rows.size());
  for (uint32_t slot : order.Slots(0, rows.size())) sorted.push_back({rows.info(slot).id, slot});
  return sorted;
}

}  // namespace pepnet

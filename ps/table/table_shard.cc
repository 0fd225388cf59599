#include "ps/table/table_shard.h"

#include "common/base/copy_row.h"
#include "common/base/logging.h"
#include "common/base/partition.h"
#include "common/base/processor.h"
#include "ps/table/row_lifecycle.h"
#include "ps/table/sparse_optimizer.h"
#include "ps/table/store/bucket_order.h"

namespace pepnet {
namespace {

constexpr size_t kPrefetchRows = 16;  // rows asked for ahead of their use
constexpr size_t kPrefetchFree = 8;   // free slots likewise

}  // namespace

TableShard::TableShard(const Table& table, const SparseOptimizer& optimizer, uint64_t seed)
    : table_(table),
      initializer_(table, seed),
      codec_(ShapeOf(optimizer, table)),
      seed_(seed),
      table_hash_(HashName(table.name)),
      state_dim_(RowStateDim(optimizer.kind, table)),
      row_bytes_(static_cast<size_t>(codec_.words()) * sizeof(float)),
      initial_state_(static_cast<size_t>(codec_.words() - codec_.state_at())),
      rows_(codec_.words()),
      index_(table.rows, table_hash_) {
  std::vector<float> state(codec_.state().dim());
  FillInitialState(optimizer, state);
  codec_.state().Write(state.data(), initial_state_.data());
  if (table.policy.is_active()) {
    lifecycle_ = std::make_unique<RowLifecycle>(table, static_cast<int64_t>(row_bytes_), seed);
  }
}
TableShard::TableShard(TableShard&&) noexcept = default;
TableShard& TableShard::operator=(TableShard&&) noexcept = default;
TableShard::~TableShard() = default;

uint64_t TableShard::memory_bytes() const {
  return rows_.memory_bytes() + index_.memory_bytes() +
         (free_.capacity() + erased_.capacity()) * sizeof(uint32_t) +
         (lifecycle_ != nullptr ? lifecycle_->memory_bytes() : 0);
}

int64_t TableShard::Find(int64_t id) const {
  return index_.Find(id, RowHash(table_hash_, id), rows_);
}

void TableShard::Find(std::span<const int64_t> ids, std::span<int64_t> slots) const {
  CHECK_EQ(ids.size(), slots.size());
  index_.Find(
      ids, rows_, [](int64_t) {}, [&](size_t i, int64_t slot) { slots[i] = slot; });
}

template <typename Read>
void TableShard::FindAndReadRows(std::span<const int64_t> ids, std::span<int64_t> slots, float* out,
                                 const Read& read) const {
  CHECK_EQ(ids.size(), slots.size());
  const size_t dim = table_.dim;
  index_.Find(
      ids, rows_, [&](int64_t slot) { PrefetchValue(slot); },
      [&](size_t i, int64_t slot) {
        slots[i] = slot;
        if (slot == kNoSlot) {
          initializer_.Fill(ids[i], {out + i * dim, dim});
        } else {
          read(floats(slot), out + i * dim);
        }
      });
}

void TableShard::FindAndRead(std::span<const int64_t> ids, std::span<int64_t> slots,
                             float* out) const {
  if (codec_.values().is_float()) {
    const size_t dim = table_.dim;
    // Tables of floats have a loop of their own, in which a row is a plain copy.
    FindAndReadRows(ids, slots, out, [dim](const float* row, float* to) { CopyRow(row, dim, to); });
  } else {
    const ValueCodec& codec = codec_.values();
    FindAndReadRows(ids, slots, out,
                    [&codec](const float* row, float* to) { codec.Read(row, to); });
  }
}

size_t TableShard::FindAndPoint(std::span<const int64_t> ids, std::span<int64_t> slots,
                                const float** rows) const {
  CHECK_EQ(ids.size(), slots.size());
  // Rows are not prefetched: nobody reads them here, the worker reads them through the pointers.
  size_t unseen = 0;
  index_.Find(
      ids, rows_, [](int64_t) {},
      [&](size_t i, int64_t slot) {
        slots[i] = slot;
        if (slot == kNoSlot) {
          ++unseen;
        } else {
          rows[i] = value(slot);
        }
      });
  return unseen;
}

void TableShard::ReadInitialValues(std::span<const int64_t> ids, std::span<const int64_t> slots,
                                   const float** rows, float* out) const {
  // The initializer is asked once for all ids: it draws uniform values faster for many rows than
  // for one at a time.
  std::vector<int64_t> unseen;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (slots[i] != kNoSlot) continue;
    rows[i] = out + unseen.size() * static_cast<size_t>(table_.dim);
    unseen.push_back(ids[i]);
  }
  initializer_.FillRows(unseen, table_.dim, out);
}

int64_t TableShard::NewRow(int64_t id) {
  const uint64_t hash = RowHash(table_hash_, id);
  CHECK_EQ(index_.Find(id, hash, rows_), kNoSlot)
      << "row " << id << " of table " << table_.name << " exists";
  int64_t slot;
  // A free slot within a view stays free: its new id would show in the checkpoint of an earlier
  // step.
  if (free_.empty() || keep_erased_) {
    slot = rows_.Append();
  } else {
    slot = free_.back();
    free_.pop_back();
    // New rows take the places of rows that have left, which are anywhere in memory.
    if (free_.size() >= kPrefetchFree) PrefetchRow(free_[free_.size() - kPrefetchFree]);
  }
  rows_.info(slot) = {.id = id, .frequency = 0, .last_step = 0};
  index_.Insert(id, hash, slot);
  if (lifecycle_ != nullptr) lifecycle_->Added(slot, hash);
  return slot;
}

void TableShard::Erase(int64_t slot) {
  index_.Erase(RowHash(table_hash_, info(slot).id), slot);
  if (keep_erased_) {
    erased_.push_back(static_cast<uint32_t>(slot));
    return;
  }
  info(slot).id = RowInfo::kNoId;
  free_.push_back(static_cast<uint32_t>(slot));
}

void TableShard::KeepErased(bool keep) {
  if (lifecycle_ != nullptr && lifecycle_->candidates() != nullptr) {
    lifecycle_->candidates()->KeepErased(keep);
  }
  keep_erased_ = keep;
  // The view is gone: nobody reads the ids of rows that were erased meanwhile.
  if (keep) return;
  for (const uint32_t slot : erased_) rows_.info(slot).id = RowInfo::kNoId;
  free_.insert(free_.end(), erased_.begin(), erased_.end());
  erased_.clear();
}

int64_t TableShard::Create(int64_t id) {
  if (!codec_.values().is_float()) {
    // An initial value is a number of the narrow type already (RowInitializer), so writing it is
    // exact.
    std::vector<float> value(static_cast<size_t>(table_.dim));
    initializer_.Fill(id, value);
    return Create(id, value.data(), nullptr);
  }
  const int64_t slot = NewRow(id);
  initializer_.Fill(id, {value(slot), static_cast<size_t>(table_.dim)});
  CopyRow(initial_state_.data(), initial_state_.size(), state(slot));
  return slot;
}

int64_t TableShard::Create(int64_t id, const float* value, const float* state) {
  const int64_t slot = NewRow(id);
  codec_.values().Write(value, floats(slot));
  if (state != nullptr) {
    codec_.WriteState(state, floats(slot));
  } else {
    CopyRow(initial_state_.data(), initial_state_.size(), this->state(slot));
  }
  return slot;
}

std::vector<std::span<uint8_t>> TableShard::Reserve(int64_t rows) {
  index_.Reserve(rows);
  return rows_.Reserve(rows);
}

template <typename Read>
void TableShard::ReadRows(std::span<const int64_t> ids, std::span<const int64_t> slots, float* out,
                          const Read& read) const {
  CHECK_EQ(ids.size(), slots.size());
  const size_t dim = table_.dim;
  for (size_t i = 0; i < ids.size(); ++i, out += dim) {
    if (i + kPrefetchRows < ids.size() && slots[i + kPrefetchRows] != kNoSlot) {
      PrefetchValue(slots[i + kPrefetchRows]);
    }
    if (slots[i] == kNoSlot) {
      initializer_.Fill(ids[i], {out, dim});
    } else {
      read(floats(slots[i]), out);
    }
  }
}

void TableShard::ReadValues(std::span<const int64_t> ids, std::span<const int64_t> slots,
                            float* out) const {
  if (codec_.values().is_float()) {
    const size_t dim = table_.dim;
    ReadRows(ids, slots, out, [dim](const float* row, float* to) { CopyRow(row, dim, to); });
  } else {
    const ValueCodec& codec = codec_.values();
    ReadRows(ids, slots, out, [&codec](const float* row, float* to) { codec.Read(row, to); });
  }
}

std::vector<TableShard::Row> TableShard::SortedRows() const {
  const RowStore::View rows = view();
  BucketOrder order(rows, table_hash_);
  std::vector<Row> sorted;
  sorted.reserve(static_cast<size_t>(order.size()));
  for (uint32_t slot : order.Slots(0, order.size())) sorted.push_back({rows.info(slot).id, slot});
  return sorted;
}

}  // namespace pepnet

#include "ps/table/row_index.h"

#include <algorithm>
#include <span>
#include <utility>

#include "common/base/logging.h"

namespace pepnet {

int64_t RowIndex::Find(int64_t id, uint64_t hash, const RowStore& rows) const { return FindFrom(Home(hash), id, rows); }

void RowIndex::Insert(uint64_t hash, int64_t slot, const RowStore& rows, uint64_t table_hash) {
  CHECK_LE(slot, kMostRows) << "one table has more rows on this server than an index can hold; add servers";
  if (!Fits(count_ + 1, capacity_)) Rebuild(capacity_ + capacity_ / 2, rows, table_hash);
  Place(hash, {Half(rows.info(slot).id), static_cast<uint32_t>(slot)});
  ++count_;
}

void RowIndex::Erase(uint64_t hash, int64_t slot, const RowStore& rows, uint64_t table_hash) {
  Entry* const all = entries();
  size_t hole = Home(hash);
  for (; all[hole].slot != static_cast<uint32_t>(slot); hole = Next(hole)) {
    CHECK_NE(all[hole].slot, kEmpty) << "slot " << slot << " is not in the index";
  }
  // An entry of the run may stand in the hole unless a probe for it starts behind the hole.
  for (size_t at = Next(hole); all[at].slot != kEmpty; at = Next(at)) {
    const size_t home = Home(RowHash(table_hash, IdOf(all[at], rows)));
    if (Distance(home, at) < Distance(hole, at)) continue;
    all[hole] = all[at];
    hole = at;
  }
  all[hole] = {0, kEmpty};
  --count_;
}

void RowIndex::Reserve(int64_t count, const RowStore& rows, uint64_t table_hash) {
  const size_t capacity = std::max<size_t>(kFirstCapacity, static_cast<size_t>(count) * 10 / 7 + 1);
  if (capacity > capacity_) Rebuild(capacity, rows, table_hash);
}

void RowIndex::Place(uint64_t hash, Entry entry) {
  size_t at = Home(hash);
  while (entries()[at].slot != kEmpty) at = Next(at);
  entries()[at] = entry;
}

void RowIndex::Allocate(size_t capacity) {
  memory_ = AlignedBuffer<uint8_t>(capacity * sizeof(Entry));
  capacity_ = capacity;
  std::fill_n(entries(), capacity, Entry{0, kEmpty});
}

// The order of places is that of hashes in both, so that the new entries are written from front to back.
void RowIndex::Rebuild(size_t capacity, const RowStore& rows, uint64_t table_hash) {
  const AlignedBuffer<uint8_t> old_memory = std::move(memory_);
  const std::span<const Entry> old(reinterpret_cast<const Entry*>(old_memory.data()), capacity_);
  Allocate(capacity);
  constexpr size_t kAhead = 64;  // entries whose ids are asked for ahead of their use
  for (size_t at = 0; at < old.size(); ++at) {
    if (!halves_are_ids_ && at + kAhead < old.size() && old[at + kAhead].slot != kEmpty) {
      __builtin_prefetch(&rows.info(old[at + kAhead].slot));
    }
    if (old[at].slot != kEmpty) Place(RowHash(table_hash, IdOf(old[at], rows)), old[at]);
  }
}

}  // namespace pepnet

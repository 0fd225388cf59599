#include "ps/table/row_index.h"

#include <algorithm>

#include "common/base/logging.h"

namespace pepnet {

int64_t RowIndex::Find(int64_t id, uint64_t hash, const RowStore& rows) const { return FindFrom(Home(hash), id, rows); }

void RowIndex::Insert(uint64_t hash, int64_t slot, const RowStore& rows, uint64_t table_hash) {
  CHECK_LE(slot, kMostRows) << "one table has more rows on this server than an index can hold; add servers";
  if (!Fits(count_ + 1, capacity_)) Rebuild(capacity_ + capacity_ / 2, count_, rows, table_hash);
  Place(hash, static_cast<uint32_t>(slot), rows);
  ++count_;
}

void RowIndex::Reserve(int64_t count, const RowStore& rows, uint64_t table_hash) {
  const size_t capacity = std::max<size_t>(kFirstCapacity, static_cast<size_t>(count) * 10 / 7 + 1);
  if (capacity > capacity_) Rebuild(capacity, count_, rows, table_hash);
}

void RowIndex::Place(uint64_t hash, uint32_t slot, const RowStore& rows) {
  size_t at = Home(hash);
  while (entries()[at].slot != kEmpty) at = Next(at);
  entries()[at] = {Half(rows.info(slot).id), slot};
}

void RowIndex::Allocate(size_t capacity) {
  memory_ = HugeMemory();  // the old one goes first
  memory_ = HugeMemory(capacity * sizeof(Entry));
  capacity_ = capacity;
  std::fill_n(entries(), capacity, Entry{0, kEmpty});
}

void RowIndex::Rebuild(size_t capacity, int64_t count, const RowStore& rows, uint64_t table_hash) {
  Allocate(capacity);
  constexpr int64_t kRows = 64;  // whose memory accesses are under way together
  uint64_t hashes[kRows];
  for (int64_t begin = 0; begin < count; begin += kRows) {
    const int64_t block = std::min(kRows, count - begin);
    for (int64_t i = 0; i < block; ++i) {
      hashes[i] = RowHash(table_hash, rows.info(begin + i).id);
      PrefetchEntry(hashes[i]);
    }
    for (int64_t i = 0; i < block; ++i) Place(hashes[i], static_cast<uint32_t>(begin + i), rows);
  }
}

}  // namespace pepnet

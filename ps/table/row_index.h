// RowIndex: finds the slot of an id. Open addressing with linear probing; an entry is 8 bytes: the slot and the lower half of
// the id. In a table of up to 2^32 ids that is the whole id, and nothing else is read; in a larger one the row store, which has
// all of it, is asked when the halves agree.
//
//   hash     | bucket (10 bits, alike on a server) | place = the 54 bits below * capacity / 2^54 |
//
//   entries  |  ...  | half 32 | slot 32 | half 32 | kEmpty |  ...     a probe starts at the place and ends at an empty entry
//                          |        |
//                     id mod 2^32   +--> row store: slot -> id, row, state, last step, updates
//
// Size:    at most 70 % full, at least 47 % once it has grown: 11 to 17 bytes per row. It grows by half, not to double.
// Hash:    RowHash of the id. Its top bits (the bucket) are alike on one server; the place comes from the bits below them.
// Threads: one thread changes; no other may read meanwhile.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>

#include "common/base/aligned_buffer.h"
#include "common/base/partition.h"
#include "ps/table/row_store.h"

namespace pepnet {

class RowIndex {
 public:
  static constexpr int64_t kNoSlot = -1;
  static constexpr int64_t kMostRows = 0xfffffffe;

  // For ids 0 <= id < `id_count`. Others must not be asked for: beyond 2^32 one may stand for another.
  explicit RowIndex(int64_t id_count) : halves_are_ids_(id_count <= int64_t{1} << 32) { Allocate(kFirstCapacity); }

  // The slot of `id`, whose hash is `hash`, or kNoSlot.
  int64_t Find(int64_t id, uint64_t hash, const RowStore& rows) const;
  // Calls visit(i, slot of ids[i] or kNoSlot) for each i in order. The memory accesses of many ids are under way together:
  // while one block is visited the rows of the next are on their way, and the index entries of the one behind it.
  // `prefetch(slot)` is called for a row that will most likely be visited soon.
  template <typename Prefetch, typename Visit>
  void Find(std::span<const int64_t> ids, uint64_t table_hash, const RowStore& rows, const Prefetch& prefetch,
            const Visit& visit) const;
  // Brings the place of an id into the cache.
  void PrefetchEntry(uint64_t hash) const { __builtin_prefetch(&entries()[Home(hash)], 1); }
  // Precondition: `slot` <= kMostRows is a row of `rows`; `hash` is that of its id, which is not there yet.
  void Insert(uint64_t hash, int64_t slot, const RowStore& rows, uint64_t table_hash);
  // Removes the entry of `slot`, whose id has `hash`. Later entries of its run move up, so that a probe of any other id
  // is as long as if the id had never been there. The row itself stays in `rows`.
  void Erase(uint64_t hash, int64_t slot, const RowStore& rows, uint64_t table_hash);
  // Makes room for `count` ids in all.
  void Reserve(int64_t count, const RowStore& rows, uint64_t table_hash);
  uint64_t memory_bytes() const { return memory_.bytes(); }

 private:
  static constexpr size_t kFirstCapacity = 64;
  static constexpr int kBucketBits = std::countr_zero(static_cast<unsigned>(kBucketCount));
  static constexpr uint32_t kEmpty = 0xffffffff;
  static constexpr size_t kBlock = 16;
  struct Entry {
    uint32_t half;
    uint32_t slot;  // kEmpty: none
  };

  static bool Fits(int64_t count, size_t capacity) { return static_cast<uint64_t>(count) * 10 <= capacity * 7; }
  static uint32_t Half(int64_t id) { return static_cast<uint32_t>(id); }
  size_t Home(uint64_t hash) const {
    return static_cast<size_t>(static_cast<unsigned __int128>(hash << kBucketBits) * capacity_ >> 64);
  }
  size_t Next(size_t at) const { return at + 1 == capacity_ ? 0 : at + 1; }
  Entry* entries() { return reinterpret_cast<Entry*>(memory_.data()); }
  const Entry* entries() const { return reinterpret_cast<const Entry*>(memory_.data()); }
  // From place `at` on.
  int64_t FindFrom(size_t at, int64_t id, const RowStore& rows) const {
    for (;; at = Next(at)) {
      const Entry entry = entries()[at];
      if (entry.slot == kEmpty) return kNoSlot;
      if (entry.half == Half(id) && (halves_are_ids_ || rows.info(entry.slot).id == id)) return entry.slot;
    }
  }
  int64_t IdOf(Entry entry, const RowStore& rows) const {
    return halves_are_ids_ ? int64_t{entry.half} : rows.info(entry.slot).id;
  }
  // Places from `from` on to `to`.
  size_t Distance(size_t from, size_t to) const { return to >= from ? to - from : to + capacity_ - from; }
  void Place(uint64_t hash, Entry entry);
  void Allocate(size_t capacity);
  // Moves all entries into an index of `capacity` places.
  void Rebuild(size_t capacity, const RowStore& rows, uint64_t table_hash);

  bool halves_are_ids_;
  AlignedBuffer<uint8_t> memory_;  // a cached block: many tables grow, and each leaves its old index to the next
  size_t capacity_ = 0;
  int64_t count_ = 0;
};

template <typename Prefetch, typename Visit>
void RowIndex::Find(std::span<const int64_t> ids, uint64_t table_hash, const RowStore& rows, const Prefetch& prefetch,
                    const Visit& visit) const {
  size_t places[3][kBlock];
  const size_t block_count = (ids.size() + kBlock - 1) / kBlock;
  const auto length = [&](size_t block) { return std::min(kBlock, ids.size() - block * kBlock); };
  const Entry* const all = entries();
  // Step s hashes block s, probes block s - 1 and visits block s - 2.
  for (size_t s = 0; s < block_count + 2; ++s) {
    if (s < block_count) {
      size_t* const block = places[s % 3];
      for (size_t i = 0; i < length(s); ++i) {
        block[i] = Home(RowHash(table_hash, ids[s * kBlock + i]));
        __builtin_prefetch(&all[block[i]]);
      }
    }
    if (s >= 1 && s - 1 < block_count) {
      size_t* const block = places[(s - 1) % 3];
      for (size_t i = 0; i < length(s - 1); ++i) {
        // The first place whose half agrees is almost always the right one.
        const uint32_t half = Half(ids[(s - 1) * kBlock + i]);
        size_t at = block[i];
        while (all[at].slot != kEmpty && all[at].half != half) at = Next(at);
        block[i] = at;
        if (all[at].slot == kEmpty) continue;
        if (!halves_are_ids_) __builtin_prefetch(&rows.info(all[at].slot));
        prefetch(int64_t{all[at].slot});
      }
    }
    if (s >= 2) {
      const size_t* const block = places[(s - 2) % 3];
      const size_t first = (s - 2) * kBlock;
      for (size_t i = 0; i < length(s - 2); ++i) visit(first + i, FindFrom(block[i], ids[first + i], rows));
    }
  }
}

}  // namespace pepnet

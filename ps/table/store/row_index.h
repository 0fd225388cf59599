// RowIndex: finds the slot of an id. Open addressing with linear probing; an entry is 8 bytes: the
// slot and a tag. In a table of up to 2^32 ids the tag is the id, and nothing else is read; in a
// larger one it is the part of the hash that tells the home, and the row store, which has the id,
// is asked when the tags agree. Either way an entry tells its home: entries move without the rows.
//
//   hash     | bucket: 10 bits, alike on a server | 32 bits: home = these * capacity / 2^32 | 22 |
//
//   entries  |  ...  | tag 32 | slot 32 | tag 32 | kEmpty |  ...
//                         |        |
//           id, or 32 bits of hash +--> row store: slot -> id, row, state, last step, updates
//
// A probe starts at home and ends at an empty entry. At 70 % full it reads 2.2 entries on average
// for an id that is there and 6.1 for one that is not (linear probing, TAOCP 6.4); a cache line
// holds eight. Erase() leaves no marks, so probes stay that short.
//
// Size:    at most 70 % full, 79 % at the end of growth, 52 % behind it: 10 to 16 bytes per row,
//          and both arrays while it grows. It grows by half, not to double.
// Growth:  in small steps, so that no row waits for all others. Homes have the order of hashes in
//          an index of any size. So each insertion moves the next few entries, from the front, and
//          stops at an empty place, which no probe passes:
//
//            old   | moved ........ | moved_ , to be moved ..................... |
//            grown | moved, and new ids with such hashes | not written yet ..................... |
//
//          A hash whose home in the old places lies before moved_ belongs to the grown ones, any
//          other to the old ones: a probe looks in one of the two.
// Spill:   behind the last home there is room for runs that begin before it, so that probes need
//          not wrap around.
// Threads: one thread changes; no other may read meanwhile.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>

#include "common/base/aligned_buffer.h"
#include "common/base/partition.h"
#include "common/base/processor.h"
#include "ps/table/store/row_store.h"

namespace pepnet {

class RowIndex {
 public:
  static constexpr int64_t kNoSlot = -1;
  static constexpr int64_t kMostRows = 0xfffffffe;

  // Of the table whose name has the hash `table_hash`. Up to an `id_count` of 2^32 for ids
  // 0 <= id < id_count: others must not be asked for, since one may stand for another. Beyond it
  // for any int64.
  RowIndex(int64_t id_count, uint64_t table_hash);

  // The slot of `id`, whose RowHash() is `hash`, or kNoSlot.
  int64_t Find(int64_t id, uint64_t hash, const RowStore& rows) const {
    return FindFrom(Start(hash), TagOf(id, hash), id, rows);
  }
  // Calls visit(i, slot of ids[i] or kNoSlot) for each i in order. The memory accesses of many ids
  // are under way together: while one block is visited the rows of the next are on their way, and
  // the index entries of the one behind it. `prefetch(slot)` is called for a row that will most
  // likely be visited soon.
  template <typename Prefetch, typename Visit>
  void Find(std::span<const int64_t> ids, const RowStore& rows, const Prefetch& prefetch,
            const Visit& visit) const;
  // Brings the home of an id into the cache.
  void PrefetchEntry(uint64_t hash) const { PrefetchWrite(Start(hash)); }
  // Precondition: `hash` is that of `id`, which is not there yet; `slot` <= kMostRows.
  void Insert(int64_t id, uint64_t hash, int64_t slot);
  // Removes the entry of `slot`, whose id has `hash`. Later entries of its run move up, so that a
  // probe of any other id is as long as if the id had never been there.
  void Erase(uint64_t hash, int64_t slot);
  // Makes room for `count` ids in all, at once.
  void Reserve(int64_t count);
  uint64_t memory_bytes() const { return places_.memory.bytes() + grown_.memory.bytes(); }

 private:
  static constexpr size_t kFirstCapacity = 64;
  static constexpr int kBucketBits = std::countr_zero(static_cast<unsigned>(kBucketCount));
  static constexpr uint32_t kEmpty = 0xffffffff;
  static constexpr size_t kBlock = 16;
  struct Entry {
    uint32_t tag;
    uint32_t slot;  // kEmpty: none
  };
  // An array of entries. The one behind the spill is always empty, which ends the last probe.
  struct Places {
    Entry* entries() { return reinterpret_cast<Entry*>(memory.data()); }
    const Entry* entries() const { return reinterpret_cast<const Entry*>(memory.data()); }
    size_t Home(uint32_t home_bits) const {
      return static_cast<size_t>(static_cast<unsigned __int128>(home_bits) * capacity >> 32);
    }
    size_t end() const { return capacity + spill; }

    // A cached block: many tables grow, and each leaves its old index to the next.
    AlignedBuffer<uint8_t> memory;
    size_t capacity = 0;  // homes
    size_t spill = 0;
    size_t written = 0;  // entries that are set, be it to empty
  };

  static uint32_t HomeBits(uint64_t hash) {
    return static_cast<uint32_t>(hash << kBucketBits >> 32);
  }
  uint32_t TagOf(int64_t id, uint64_t hash) const {
    return tags_are_ids_ ? static_cast<uint32_t>(id) : HomeBits(hash);
  }
  uint32_t HomeBitsOf(Entry entry) const {
    return tags_are_ids_ ? HomeBits(RowHash(table_hash_, int64_t{entry.tag})) : entry.tag;
  }
  // The place at which the probe of a hash starts.
  const Entry* Start(uint64_t hash) const {
    const uint32_t bits = HomeBits(hash);
    const size_t home = places_.Home(bits);
    return home < moved_ ? grown_.entries() + grown_.Home(bits) : places_.entries() + home;
  }
  int64_t FindFrom(const Entry* at, uint32_t tag, int64_t id, const RowStore& rows) const {
    for (;; ++at) {
      if (at->slot == kEmpty) return kNoSlot;
      if (at->tag == tag && (tags_are_ids_ || rows.info(at->slot).id == id)) return at->slot;
    }
  }
  bool grows() const { return grown_.capacity > 0; }
  static Places MakePlaces(size_t capacity, size_t spill);
  // Marks entries that are not written yet as empty, through `last` and some behind it.
  static void WriteTo(size_t last, Places* places);
  // False: the run of the entry fills the spill.
  static bool Place(uint32_t home_bits, Entry entry, Places* places);
  // Moves the entries of the next places of an index that grows.
  void Move();
  // Moves all entries into an index of this size, or of a larger spill, at once.
  void Rebuild(size_t capacity, size_t spill);

  bool tags_are_ids_;
  uint64_t table_hash_;
  Places places_, grown_;  // grown_: of no capacity unless the index grows
  size_t moved_ = 0;       // entries with homes before it are in grown_
  int64_t count_ = 0;
};

template <typename Prefetch, typename Visit>
void RowIndex::Find(std::span<const int64_t> ids, const RowStore& rows, const Prefetch& prefetch,
                    const Visit& visit) const {
  const Entry* starts[3][kBlock];
  uint32_t tags[3][kBlock];
  const size_t block_count = (ids.size() + kBlock - 1) / kBlock;
  const auto length = [&](size_t block) { return std::min(kBlock, ids.size() - block * kBlock); };
  // Step s hashes block s, probes block s - 1 and visits block s - 2.
  for (size_t s = 0; s < block_count + 2; ++s) {
    if (s < block_count) {
      const Entry** const block = starts[s % 3];
      for (size_t i = 0; i < length(s); ++i) {
        const int64_t id = ids[s * kBlock + i];
        const uint64_t hash = RowHash(table_hash_, id);
        tags[s % 3][i] = TagOf(id, hash);
        block[i] = Start(hash);
        PrefetchRead(block[i]);
      }
    }
    if (s >= 1 && s - 1 < block_count) {
      const Entry** const block = starts[(s - 1) % 3];
      for (size_t i = 0; i < length(s - 1); ++i) {
        // The first place whose tag agrees is almost always the right one.
        const uint32_t tag = tags[(s - 1) % 3][i];
        const Entry* at = block[i];
        while (at->slot != kEmpty && at->tag != tag) ++at;
        block[i] = at;
        if (at->slot == kEmpty) continue;
        if (!tags_are_ids_) PrefetchRead(&rows.info(at->slot));
        prefetch(int64_t{at->slot});
      }
    }
    if (s >= 2) {
      const Entry* const* const block = starts[(s - 2) % 3];
      const size_t first = (s - 2) * kBlock;
      for (size_t i = 0; i < length(s - 2); ++i) {
        visit(first + i, FindFrom(block[i], tags[(s - 2) % 3][i], ids[first + i], rows));
      }
    }
  }
}

}  // namespace pepnet

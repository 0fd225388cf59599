// RowIndex: finds the slot of an id. Open addressing with linear probing; an entry is 8 bytes, because the id itself stands
// in the row store, which is asked when 32 bits of the hash agree.
//
// Size:    at most 80 % full, at least 53 % once it has grown: 10 to 15 bytes per row. It grows by half, not to double.
// Hash:    RowHash of the id. Its top bits (the bucket) are alike on one server; the place comes from the bits below them
//          and the tag from the lowest ones.
// Threads: one thread changes; no other may read meanwhile.
#pragma once

#include <bit>
#include <cstdint>
#include <span>

#include "common/net/partition.h"
#include "ps/huge_memory.h"
#include "ps/row_store.h"

namespace pepnet {

class RowIndex {
 public:
  static constexpr int64_t kNoSlot = -1;
  static constexpr int64_t kMostRows = 0xfffffffe;

  RowIndex() { Allocate(kFirstCapacity); }

  // The slot of `id`, whose hash is `hash`, or kNoSlot.
  int64_t Find(int64_t id, uint64_t hash, const RowStore& rows) const;
  // Many at once, with the memory accesses of a block under way together. hashes[i] is the hash of ids[i].
  void Find(std::span<const int64_t> ids, uint64_t table_hash, const RowStore& rows, int64_t* slots) const;
  // Precondition: the id is not there; `slot` <= kMostRows; `slot` is the newest row of `rows` and has its id.
  void Insert(uint64_t hash, int64_t slot, const RowStore& rows, uint64_t table_hash);
  // Makes room for `count` ids in all.
  void Reserve(int64_t count, const RowStore& rows, uint64_t table_hash);
  uint64_t memory_bytes() const { return memory_.bytes(); }

 private:
  static constexpr size_t kFirstCapacity = 64;
  static constexpr int kBucketBits = std::countr_zero(static_cast<unsigned>(kBucketCount));
  static constexpr uint32_t kEmpty = 0xffffffff;
  struct Entry {
    uint32_t tag;
    uint32_t slot;  // kEmpty: none
  };

  static bool Fits(int64_t count, size_t capacity) { return static_cast<uint64_t>(count) * 5 <= capacity * 4; }
  static uint32_t Tag(uint64_t hash) { return static_cast<uint32_t>(hash); }
  size_t Home(uint64_t hash) const {
    return static_cast<size_t>(static_cast<unsigned __int128>(hash << kBucketBits) * capacity_ >> 64);
  }
  size_t Next(size_t at) const { return at + 1 == capacity_ ? 0 : at + 1; }
  Entry* entries() { return reinterpret_cast<Entry*>(memory_.data()); }
  const Entry* entries() const { return reinterpret_cast<const Entry*>(memory_.data()); }
  // From place `at` on.
  int64_t FindFrom(size_t at, int64_t id, uint32_t tag, const RowStore& rows) const;
  void Place(uint64_t hash, uint32_t slot);
  void Allocate(size_t capacity);
  // Enters the first `count` rows into an index of `capacity` places.
  void Rebuild(size_t capacity, int64_t count, const RowStore& rows, uint64_t table_hash);

  HugeMemory memory_;
  size_t capacity_ = 0;
  int64_t count_ = 0;
};

}  // namespace pepnet

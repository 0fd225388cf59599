#include "ps/table/store/row_index.h"

#include <algorithm>
#include <utility>

#include "common/base/logging.h"

namespace pepnet {
namespace {

constexpr size_t kGrowPercent = 70;  // full: then growth begins
// Places, so that all are moved before the index is 79 % full.
constexpr size_t kMovedPerInsert = 12;
constexpr size_t kWrittenAtOnce = 1024;

// Runs that begin before the last home may end behind it. Among ten million rows runs of 300
// entries are rare; where the room is too small, Insert() and Move() double it.
size_t SpillOf(size_t capacity) { return std::clamp<size_t>(capacity / 16, 16, 1024); }

size_t CapacityFor(int64_t count) { return static_cast<size_t>(count) * 100 / kGrowPercent + 1; }

}  // namespace

RowIndex::RowIndex(int64_t id_count, uint64_t table_hash)
    : tags_are_ids_(id_count <= int64_t{1} << 32),
      table_hash_(table_hash),
      places_(MakePlaces(kFirstCapacity, SpillOf(kFirstCapacity))) {
  WriteTo(places_.end(), &places_);
}

RowIndex::Places RowIndex::MakePlaces(size_t capacity, size_t spill) {
  return {AlignedBuffer<uint8_t>((capacity + spill + 1) * sizeof(Entry)), capacity, spill, 0};
}

// A grown array is set to empty in pieces, just ahead of where entries come in: setting all of it
// when growth begins would be the long pause that growing in small steps avoids.
void RowIndex::WriteTo(size_t last, Places* places) {
  if (last < places->written) return;
  const size_t end = std::min(places->end(), last + kWrittenAtOnce) + 1;
  std::fill(places->entries() + places->written, places->entries() + end, Entry{0, kEmpty});
  places->written = end;
}

bool RowIndex::Place(uint32_t home_bits, Entry entry, Places* places) {
  size_t at = places->Home(home_bits);
  for (;; ++at) {
    WriteTo(at, places);
    if (places->entries()[at].slot == kEmpty) break;
  }
  // The last place stays empty: it ends the probes of the runs before it.
  if (at == places->end()) return false;
  places->entries()[at] = entry;
  WriteTo(at + 1, places);  // a probe goes on to it
  return true;
}

void RowIndex::Insert(int64_t id, uint64_t hash, int64_t slot) {
  CHECK_LE(slot, kMostRows)
      << "one table has more rows on this server than an index can hold; add servers";
  ++count_;
  if (!grows() && places_.capacity < CapacityFor(count_)) {
    // Growth by half leaves the index 52 % full when it ends; doubling would leave it 39 % full.
    const size_t capacity = places_.capacity + places_.capacity / 2;
    grown_ = MakePlaces(capacity, std::max(places_.spill, SpillOf(capacity)));
  }
  // Before the new entry: growth may end here, and the entry belongs to the array that is left.
  if (grows()) Move();
  const Entry entry = {TagOf(id, hash), static_cast<uint32_t>(slot)};
  const uint32_t bits = HomeBits(hash);
  // A run that fills the spill is bad luck of the hashes, not fullness: more room behind the last
  // home cures it.
  while (!Place(bits, entry, places_.Home(bits) < moved_ ? &grown_ : &places_)) {
    Rebuild(std::max(places_.capacity, grown_.capacity), 2 * std::max(places_.spill, grown_.spill));
  }
}

void RowIndex::Erase(uint64_t hash, int64_t slot) {
  // While the index grows, the places before moved_ still hold what has moved. No probe sees them:
  // a probe of places_ starts at moved_ or behind it, since any home before belongs to grown_, and
  // goes forward.
  Places& places = places_.Home(HomeBits(hash)) < moved_ ? grown_ : places_;
  Entry* const all = places.entries();
  size_t hole = places.Home(HomeBits(hash));
  for (; all[hole].slot != static_cast<uint32_t>(slot); ++hole) {
    CHECK_NE(all[hole].slot, kEmpty) << "slot " << slot << " is not in the index";
  }
  // Backward-shift deletion: a mark in place of the entry would lengthen probes for ever. An entry
  // of the run may stand in the hole unless a probe for it starts behind the hole; one that moves
  // leaves a hole of its own, further on.
  //
  // Example, homes in brackets, with a[4] erased:
  //
  //    place    4     5     6     7     8                 4     5     6     7     8
  //            a[4]  b[4]  c[6]  d[5]  empty      ->     b[4]  d[5]  c[6]  empty empty
  //
  // c stays, for its probe starts at 6, behind the hole at 5; d fills that hole.
  for (size_t at = hole + 1; all[at].slot != kEmpty; ++at) {
    if (places.Home(HomeBitsOf(all[at])) > hole) continue;
    all[hole] = all[at];
    hole = at;
  }
  all[hole] = {0, kEmpty};
  --count_;
}

void RowIndex::Reserve(int64_t count) {
  const size_t capacity = CapacityFor(count);
  // All entries move at once: callers set tables up or load them, and no step waits meanwhile.
  if (capacity > std::max(places_.capacity, grown_.capacity)) {
    Rebuild(capacity, SpillOf(capacity));
  }
}

void RowIndex::Move() {
  // Entries move in the order of their places, which is that of their homes except within a run. So
  // a run moves as a whole, the loop stops at an empty place only, and each hash has one array that
  // may hold it.
  const Entry* const old = places_.entries();
  const size_t end = places_.end(), least = std::min(end, moved_ + kMovedPerInsert);
  size_t at = moved_;
  for (; at < least || (at < end && old[at].slot != kEmpty); ++at) {
    if (old[at].slot == kEmpty) continue;
    if (Place(HomeBitsOf(old[at]), old[at], &grown_)) continue;
    // The run behind the last home of grown_ fills its spill. The entries before `at` are in
    // grown_, the others in places_: from here Rebuild() takes each from where it is.
    moved_ = at;
    return Rebuild(grown_.capacity, 2 * grown_.spill);
  }
  if (at == end) {
    // From now on it is the only array, and a probe may start at any of its places.
    WriteTo(grown_.end(), &grown_);
    places_ = std::exchange(grown_, Places());
    moved_ = 0;
    return;
  }
  moved_ = at;
  // Ids whose old homes lie before moved_ are looked up in grown_ from now on. The entries at which
  // their probes start must be set, since a probe may end there at once.
  WriteTo(static_cast<size_t>(static_cast<unsigned __int128>(moved_) * grown_.capacity /
                              places_.capacity) +
              1,
          &grown_);
}

void RowIndex::Rebuild(size_t capacity, size_t spill) {
  // While an index grows, grown_ holds the entries before moved_ and places_ those from there on,
  // so no entry is taken twice. Places of grown_ that are not written hold garbage and are left
  // out.
  const Places sources[] = {std::exchange(grown_, Places()), std::exchange(places_, Places())};
  const size_t begins[] = {0, std::exchange(moved_, 0)};
  for (bool fits = false; !fits; spill *= 2) {
    places_ = MakePlaces(capacity, spill);
    WriteTo(places_.end(), &places_);
    fits = true;
    for (int source = 0; source < 2 && fits; ++source) {
      const Entry* const old = sources[source].entries();
      const size_t end = sources[source].written;
      for (size_t at = begins[source]; at < end && fits; ++at) {
        if (old[at].slot == kEmpty) continue;
        fits = Place(HomeBitsOf(old[at]), old[at], &places_);
      }
    }
  }
}

}  // namespace pepnet

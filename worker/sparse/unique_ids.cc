#include "worker/sparse/unique_ids.h"

#include <algorithm>
#include <bit>
#include <span>

#include "common/base/hash.h"
#include "common/base/logging.h"
#include "common/base/processor.h"

namespace pepnet {
namespace {

constexpr size_t kLookupsForTeam = 32768;  // fewer are done before anybody else is awake

// Open-addressing map from id to its position among the distinct ids. An entry is 8 bytes, the
// position and the lower half of the id; in a table of up to 2^32 ids that is the whole id, else
// the distinct ids are asked when halves agree.
class PositionMap {
 public:
  // Empties the map for the lookups of one table of `rows` rows.
  void Reset(size_t lookups, int64_t rows) {
    // The map is at most two thirds full, when every lookup is a new id, so probe runs stay short;
    // its size is a power of two, so that the place of an id is a mask and not a division.
    const size_t capacity = std::bit_ceil(std::max<size_t>(16, lookups + lookups / 2));
    mask_ = capacity - 1;
    halves_are_ids_ = rows > 0 && rows <= int64_t{1} << 32;
    // The array never shrinks: a member takes tables of very different sizes in turn, and growing
    // costs page faults. Only the part in use is emptied.
    if (entries_.size() < capacity) entries_.resize(capacity);
    std::fill_n(entries_.begin(), capacity, Entry{0, -1});
  }

  // positions[i] becomes that of lookups[i] in *ids, at whose end new ones are put. The entries of
  // a block are asked for while the block before it is looked up.
  void FindOrAppend(std::span<const int64_t> lookups, std::vector<int64_t>* ids,
                    int32_t* positions) {
    // There are two blocks of places: one that is being looked up and one whose cache lines are on
    // their way.
    size_t places[2][kBlock];
    const auto ask = [&](size_t first) {
      size_t* const places_of_block = places[first / kBlock % 2];
      const size_t count = std::min(kBlock, lookups.size() - first);
      for (size_t i = 0; i < count; ++i) {
        places_of_block[i] = Mix64(static_cast<uint64_t>(lookups[first + i])) & mask_;
        PrefetchWrite(&entries_[places_of_block[i]]);
      }
    };
    // The entries of block n + 1 travel from memory while block n is looked up. Hashes are computed
    // once and kept, since the first of the two passes needs them already.
    if (!lookups.empty()) ask(0);
    for (size_t first = 0; first < lookups.size(); first += kBlock) {
      if (first + kBlock < lookups.size()) ask(first + kBlock);
      const size_t* const places_of_block = places[first / kBlock % 2];
      const size_t count = std::min(kBlock, lookups.size() - first);
      for (size_t i = 0; i < count; ++i) {
        positions[first + i] = FindOrAppend(lookups[first + i], places_of_block[i], ids);
      }
    }
  }

 private:
  static constexpr size_t kBlock = 16;
  //   | half u32 = id mod 2^32 | position i32 |   (8 bytes, so 8 entries in a cache line)
  struct Entry {
    uint32_t half;
    int32_t position;  // -1: none
  };

  // The probe is linear from `at`. Entries are never removed within a batch, so an empty entry
  // proves that the id is new.
  int32_t FindOrAppend(int64_t id, size_t at, std::vector<int64_t>* ids) {
    const uint32_t half = static_cast<uint32_t>(id);
    for (;; at = (at + 1) & mask_) {
      Entry& entry = entries_[at];
      if (entry.position < 0) {
        // The push_back below gives the id exactly this position: ids are numbered by first lookup.
        entry = {half, static_cast<int32_t>(ids->size())};
        ids->push_back(id);
        return entry.position;
      }
      if (entry.half == half &&
          (halves_are_ids_ || (*ids)[static_cast<size_t>(entry.position)] == id)) {
        return entry.position;
      }
    }
  }

  std::vector<Entry> entries_;
  size_t mask_ = 0;
  bool halves_are_ids_ = true;
};

}  // namespace

UniqueIds FindUniqueIds(const JobConfig& config, const Batch& batch, ThreadTeam* team) {
  UniqueIds result;
  result.ids.resize(config.tables.size());
  result.positions.resize(config.leaves.size());

  // Counting first gives each map its final size: it never rehashes in the middle of a table.
  std::vector<size_t> lookups(config.tables.size(), 0);
  size_t all_lookups = 0;
  for (const Leaf& leaf : config.leaves) {
    if (leaf.table < 0) continue;
    lookups[leaf.table] += batch.ids[leaf.feature].ids.size();
    all_lookups += batch.ids[leaf.feature].ids.size();
  }
  if (all_lookups < kLookupsForTeam) team = nullptr;
  std::vector<PositionMap> maps(team != nullptr ? team->size() : 1);
  // A table is done by one member from its first leaf to its last. Cutting it up would need a merge
  // whose order is that of the threads, and positions must follow the batch alone (law L3).
  ForEachOnTeam(team, config.tables.size(), [&](int member, size_t table) {
    PositionMap& map = maps[member];
    map.Reset(lookups[table], config.tables[table].rows);
    for (size_t l = 0; l < config.leaves.size(); ++l) {
      if (config.leaves[l].table != static_cast<int>(table)) continue;
      const std::vector<int64_t>& ids = batch.ids[config.leaves[l].feature].ids;
      result.positions[l].resize(ids.size());
      map.FindOrAppend(ids, &result.ids[table], result.positions[l].data());
    }
  });
  return result;
}

void MarkClicks(const JobConfig& config, const Batch& batch, UniqueIds* ids) {
  const auto counts = [](const Table& table) { return table.policy.counts_clicks(); };
  if (std::none_of(config.tables.begin(), config.tables.end(), counts)) return;
  ids->clicked.resize(config.tables.size());
  for (size_t t = 0; t < config.tables.size(); ++t) {
    if (counts(config.tables[t])) ids->clicked[t].assign(ids->ids[t].size(), 0);
  }
  for (size_t l = 0; l < config.leaves.size(); ++l) {
    const Leaf& leaf = config.leaves[l];
    if (leaf.table < 0 || !counts(config.tables[leaf.table])) continue;
    const std::vector<std::string>& labels = config.data.labels;
    const auto label =
        std::find(labels.begin(), labels.end(), config.tables[leaf.table].policy.click_label);
    CHECK(label != labels.end()) << "the config names a label that the data do not have";
    const std::vector<float>& values =
        batch.labels[static_cast<size_t>(label - labels.begin())].values;
    std::vector<uint8_t>& clicked = ids->clicked[leaf.table];
    const int64_t* const first_id = batch.ids[leaf.feature].ids.data();
    for (int64_t row = 0; row < batch.rows; ++row) {
      if (!(values[row] > 0)) continue;
      const std::span<const int64_t> named = batch.RowIds(leaf.feature, row);
      const int32_t* const positions = ids->positions[l].data() + (named.data() - first_id);
      for (size_t i = 0; i < named.size(); ++i) clicked[positions[i]] = 1;
    }
  }
}

}  // namespace pepnet

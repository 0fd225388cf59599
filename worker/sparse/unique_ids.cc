#include "worker/sparse/unique_ids.h"

#include <bit>

#include "common/base/hash.h"

namespace pepnet {
namespace {

// Open-addressing map from id to its position; sized once for the lookups of one table.
class PositionMap {
 public:
  explicit PositionMap(size_t lookups) {
    const size_t capacity = std::bit_ceil(std::max<size_t>(16, lookups * 2));
    mask_ = capacity - 1;
    slots_.assign(capacity, Slot{0, -1});
  }

  // Position of `id`; appends it to `ids` when it is new.
  int32_t FindOrAppend(int64_t id, std::vector<int64_t>* ids) {
    for (size_t i = Mix64(static_cast<uint64_t>(id)) & mask_;; i = (i + 1) & mask_) {
      Slot& slot = slots_[i];
      if (slot.position < 0) {
        slot = {id, static_cast<int32_t>(ids->size())};
        ids->push_back(id);
        return slot.position;
      }
      if (slot.id == id) return slot.position;
    }
  }

 private:
  struct Slot {
    int64_t id;
    int32_t position;
  };
  std::vector<Slot> slots_;
  size_t mask_;
};

}  // namespace

UniqueIds FindUniqueIds(const JobConfig& config, const Batch& batch) {
  UniqueIds result;
  result.ids.resize(config.tables.size());
  result.positions.resize(config.leaves.size());

  std::vector<size_t> lookups(config.tables.size(), 0);
  for (const Leaf& leaf : config.leaves) {
    if (leaf.table >= 0) lookups[leaf.table] += batch.ids[leaf.feature].ids.size();
  }
  for (size_t table = 0; table < config.tables.size(); ++table) {
    PositionMap map(lookups[table]);
    for (size_t l = 0; l < config.leaves.size(); ++l) {
      if (config.leaves[l].table != static_cast<int>(table)) continue;
      const std::vector<int64_t>& ids = batch.ids[config.leaves[l].feature].ids;
      std::vector<int32_t>& positions = result.positions[l];
      positions.reserve(ids.size());
      for (const int64_t id : ids) positions.push_back(map.FindOrAppend(id, &result.ids[table]));
    }
  }
  return result;
}

}  // namespace pepnet

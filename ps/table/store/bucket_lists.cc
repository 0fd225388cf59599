#include "ps/table/store/bucket_lists.h"

#include "common/base/logging.h"
#include "common/base/partition.h"

namespace pepnet {
namespace {

// A vector that grows to double its size may be half empty, which a memory budget would have to
// count.
void GrowFor(size_t size, std::vector<uint32_t>* list) {
  if (size <= list->capacity()) return;
  list->reserve(size + std::max<size_t>(size / 16, 15));
}

void Append(uint32_t entry, std::vector<uint32_t>* list) {
  GrowFor(list->size() + 1, list);
  list->push_back(entry);
}

uint64_t BytesOf(const std::vector<std::vector<uint32_t>>& lists) {
  uint64_t bytes = lists.capacity() * sizeof(std::vector<uint32_t>);
  for (const std::vector<uint32_t>& list : lists) bytes += list.capacity() * sizeof(uint32_t);
  return bytes;
}

}  // namespace

BucketLists::BucketLists(bool keeps_steps, bool keeps_positions)
    : keeps_positions_(keeps_positions),
      slots_(kBucketCount),
      steps_(keeps_steps ? kBucketCount : 0) {}

int64_t BucketLists::LeastStep(int bucket, size_t begin, size_t end) const {
  // A plain loop over 32 bits, which compilers make a vector loop of.
  const uint32_t* const steps = steps_[bucket].data();
  uint32_t least = steps[begin];
  for (size_t i = begin; i < end; ++i) least = std::min(least, steps[i]);
  return least;
}

void BucketLists::Add(int bucket, uint32_t slot, int64_t step) {
  if (keeps_positions_) {
    if (slot >= positions_.size()) {
      GrowFor(slot + size_t{1}, &positions_);
      positions_.resize(slot + size_t{1});
    }
    positions_[slot] = static_cast<uint32_t>(slots_[bucket].size());
  }
  Append(slot, &slots_[bucket]);
  if (!steps_.empty()) Append(Kept(step), &steps_[bucket]);
}

void BucketLists::RemoveAt(int bucket, size_t place) {
  std::vector<uint32_t>& slots = slots_[bucket];
  CHECK_LT(place, slots.size());
  slots[place] = slots.back();
  if (keeps_positions_) positions_[slots[place]] = static_cast<uint32_t>(place);
  slots.pop_back();
  if (steps_.empty()) return;
  steps_[bucket][place] = steps_[bucket].back();
  steps_[bucket].pop_back();
}

void BucketLists::Remove(int bucket, uint32_t slot) {
  const size_t place = positions_[slot];
  CHECK(place < slots_[bucket].size() && slots_[bucket][place] == slot)
      << "slot " << slot << " is not in the list of its bucket";
  RemoveAt(bucket, place);
}

void BucketLists::Clear(int bucket) {
  slots_[bucket].clear();
  if (!steps_.empty()) steps_[bucket].clear();
}

uint64_t BucketLists::memory_bytes() const {
  return BytesOf(slots_) + BytesOf(steps_) + positions_.capacity() * sizeof(uint32_t);
}

}  // namespace pepnet

#include "ps/table/store/row_store.h"

namespace pepnet {

int64_t RowStore::Append() {
  if (size_ >> kChunkBits == static_cast<int64_t>(chunks_.size())) AddChunk();
  return size_++;
}

std::vector<std::span<uint8_t>> RowStore::Reserve(int64_t rows) {
  std::vector<std::span<uint8_t>> added;
  while (static_cast<int64_t>(chunks_.size()) << kChunkBits < rows) {
    AddChunk();
    // The last chunk is seldom filled: what stays unwritten takes no memory.
    if (static_cast<int64_t>(chunks_.size()) << kChunkBits > rows) break;
    added.emplace_back(chunks_.back(), chunk_bytes());
  }
  return added;
}

void RowStore::AddChunk() {
  if (chunks_.size() < kSingleChunks) {
    memory_.emplace_back(chunk_bytes());
    chunks_.push_back(memory_.back().data());
    return;
  }
  // A slab is reserved, not used: pages that are never written take no memory (huge_memory.h).
  if (slab_left_ == 0) {
    memory_.emplace_back(kSlabChunks * chunk_bytes());
    slab_left_ = kSlabChunks;
  }
  chunks_.push_back(memory_.back().data() + (kSlabChunks - slab_left_) * chunk_bytes());
  --slab_left_;
}

RowStore::View RowStore::view() const {
  View view;
  // The pointers are copied because the vector moves when a chunk is added; the chunks stay.
  view.chunks_ = chunks_;
  view.size_ = size_;
  view.row_floats_ = row_floats_;
  return view;
}

}  // namespace pepnet

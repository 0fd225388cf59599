#include "ps/table/row_copies.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/partition.h"

namespace pepnet {

RowCopies::RowCopies(int64_t row_floats, CopyBudget* budget)
    : row_floats_(row_floats), budget_(budget), of_bucket_(kBucketCount) {}

bool RowCopies::Add(int bucket, int64_t slot, const RowInfo& info, const float* floats) {
  // Memory comes by the block, so that the budget is asked once in kBlockRows copies and a refusal
  // leaves nothing half done.
  if (free_.empty()) {
    if (budget_->used_bytes + block_bytes() > budget_->limit_bytes) return false;
    budget_->used_bytes += block_bytes();
    budget_->peak_bytes = std::max(budget_->peak_bytes, budget_->used_bytes);
    const uint32_t first = static_cast<uint32_t>(blocks_.size() * kBlockRows);
    blocks_.emplace_back(kBlockRows * copy_bytes());
    // The last place is pushed first: places are handed out from the front of the block.
    for (uint32_t i = kBlockRows; i-- > 0;) free_.push_back(first + i);
  }
  // A copy: | RowInfo | values and state as they stand in the row | padding to 8 bytes |
  const uint32_t place = free_.back();
  free_.pop_back();
  uint8_t* const fresh = const_cast<uint8_t*>(copy(place));
  std::memcpy(fresh, &info, sizeof(info));
  std::memcpy(fresh + sizeof(info), floats, row_floats_ * sizeof(float));
  of_bucket_[bucket].push_back({static_cast<uint32_t>(slot), place});
  ++added_;
  return true;
}

std::span<const RowCopies::Ref> RowCopies::OfBucket(int bucket) {
  // Copies are sorted when they are read and not when one is added, because adding is part of a
  // training step.
  std::sort(of_bucket_[bucket].begin(), of_bucket_[bucket].end());
  return of_bucket_[bucket];
}

void RowCopies::Free(int bucket) {
  for (const Ref ref : of_bucket_[bucket]) free_.push_back(ref.place);
  of_bucket_[bucket] = {};
}

std::vector<AlignedBuffer<uint8_t>> RowCopies::Clear() {
  budget_->used_bytes -= blocks_.size() * block_bytes();
  free_ = {};
  for (std::vector<Ref>& refs : of_bucket_) refs = {};
  return std::exchange(blocks_, {});
}

}  // namespace pepnet

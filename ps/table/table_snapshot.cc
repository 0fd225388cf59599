#include "ps/table/table_snapshot.h"

#include <algorithm>

#include "common/base/logging.h"
#include "common/base/mutant.h"
#include "common/base/partition.h"
#include "common/base/processor.h"

namespace pepnet {
namespace {

constexpr size_t kPrefetchRows = 16;  // rows asked for ahead of their use

}  // namespace

TableSnapshot::TableSnapshot(const TableShard* table, int64_t step, CopyBudget* budget)
    : table_(table), step_(step), rows_(table->view()), copies_(table->codec().words(), budget) {}

const RowStore::View& TableSnapshot::rows() {
  if (MutantActive(Mutant::kSnapshotTakesLaterRows)) rows_ = table_->view();
  return rows_;
}

int TableSnapshot::BucketOfRow(const RowInfo& info) const {
  return BucketOf(RowHash(table_->table_hash(), info.id));
}

bool TableSnapshot::Protect(int64_t slot) {
  const RowInfo& info = table_->info(slot);
  // Rows of buckets that are taken change freely. The others are copied as they are now, which is
  // as they were at the step: BeforeChange() has seen that nothing changed them since.
  const int bucket = BucketOfRow(info);
  if (bucket < first_open_bucket_ || MutantActive(Mutant::kSnapshotWithoutCopy)) return true;
  return copies_.Add(bucket, slot, info, table_->floats(slot));
}

void TableSnapshot::Take(std::span<const uint32_t> slots, int bucket, RowImage* image) {
  const size_t dim = table_->dim(), state_dim = table_->state_dim();
  const RowCodec& codec = table_->codec();
  size_t row = image->ids.size();
  image->Resize(row + slots.size(), dim, state_dim);
  int copies_bucket = -1;
  std::span<const RowCopies::Ref> copies;  // of copies_bucket
  for (size_t i = 0; i < slots.size(); ++i, ++row) {
    if (i + kPrefetchRows < slots.size()) {
      rows_.info(slots[i + kPrefetchRows]).Prefetch();
      PrefetchRead(rows_.floats(slots[i + kPrefetchRows]));
      PrefetchRead(rows_.floats(slots[i + kPrefetchRows]) + codec.state_at());
    }
    // A row that has changed since the step stands in the copies: BeforeChange() came first. Ids do
    // not change, so its bucket is found from either. Slots come bucket by bucket, hence one
    // look-up of copies for many rows.
    const RowInfo* info = &rows_.info(slots[i]);
    const float* floats = rows_.floats(slots[i]);
    if (Changed(*info) && !MutantActive(Mutant::kSnapshotWithoutCopy)) {
      if (const int row_bucket = BucketOfRow(*info); row_bucket != copies_bucket) {
        copies_bucket = row_bucket;
        copies = copies_.OfBucket(row_bucket);
      }
      const auto found =
          std::lower_bound(copies.begin(), copies.end(), RowCopies::Ref{slots[i], 0});
      if (found != copies.end() && found->slot == slots[i]) {
        info = &copies_.info(*found);
        floats = copies_.floats(*found);
      } else {
        CHECK(MutantActive(Mutant::kSnapshotTakesLaterRows))
            << "row " << info->id << " of table " << table_->table().name
            << " changed and was not copied";
      }
    }
    image->ids[row] = info->id;
    image->frequency[row] = info->frequency;
    image->last_step[row] = info->last_step;
    // Files hold float32 for every kind of value and state.
    codec.values().Read(floats, image->values.data() + row * dim);
    codec.ReadState(floats, image->states.data() + row * state_dim);
  }
  for (; first_open_bucket_ < bucket; ++first_open_bucket_) copies_.Free(first_open_bucket_);
}

std::vector<AlignedBuffer<uint8_t>> TableSnapshot::Close() {
  // BeforeChange() asks for no more copies of any bucket, and Clear() gives the budget back.
  first_open_bucket_ = kBucketCount;
  return copies_.Clear();
}

}  // namespace pepnet

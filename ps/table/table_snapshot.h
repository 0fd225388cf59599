// TableSnapshot: the rows of one table as they were after one step, while the table goes on
// changing. They are taken in the order of checkpoints, run by run; a row that is about to change
// and has not been taken is copied first.
//
// Selection:  a row has changed since if its last_step is later, so the check costs one comparison
//             of a number that the change rewrites anyway, and rows whose buckets have been taken
//             are not copied. Rows that are made later stand behind the size of the view and are
//             not seen.
// Threads:    the thread that changes rows and the one that takes them, never both at once (the
//             owner locks).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "common/checkpoint/table_part.h"
#include "ps/table/row_copies.h"
#include "ps/table/table_shard.h"

namespace pepnet {

// Rows side by side, column by column.
struct RowImage {
  AlignedBuffer<int64_t> ids, frequency, last_step;
  AlignedBuffer<float> values, states;

  void Resize(size_t rows, size_t dim, size_t state_dim) {
    ids.Resize(rows);
    frequency.Resize(rows);
    last_step.Resize(rows);
    values.Resize(rows * dim);
    states.Resize(rows * state_dim);
  }
  RowColumns columns() const {
    return {ids.span(), values.span(), states.span(), frequency.span(), last_step.span()};
  }
};

class TableSnapshot {
 public:
  // `step` steps are applied to `table`. Borrows both.
  TableSnapshot(const TableShard* table, int64_t step, CopyBudget* budget);

  // The rows it holds; asked for once, before the first is taken.
  const RowStore::View& rows();

  // To be called before a row is changed. False if it must be copied and the budget is used up: the
  // caller waits until more rows are taken, and asks again.
  bool BeforeChange(int64_t slot) {
    return slot >= rows_.size() || Changed(table_->info(slot)) || Protect(slot);
  }

  // Adds the rows of `slots` (the next run of the order) to `image`. Afterwards all buckets before
  // `bucket` are taken.
  void Take(std::span<const uint32_t> slots, int bucket, RowImage* image);
  // Nothing more is to be taken: no more copies are made; what they stood in is returned, to be
  // freed without the lock.
  std::vector<AlignedBuffer<uint8_t>> Close();

  int64_t copied_rows() const { return copies_.added(); }
  uint64_t copied_bytes() const {
    return static_cast<uint64_t>(copies_.added()) * copies_.copy_bytes();
  }

 private:
  // A row that is being changed has a negative last_step (step_update.cc).
  bool Changed(const RowInfo& info) const {
    return static_cast<uint64_t>(info.last_step) > static_cast<uint64_t>(step_);
  }
  int BucketOfRow(const RowInfo& info) const;
  bool Protect(int64_t slot);

  const TableShard* table_;
  int64_t step_;
  RowStore::View rows_;
  RowCopies copies_;
  int first_open_bucket_ = 0;  // all before it are taken
};

}  // namespace pepnet

// BatchCutter: cuts the sequence of input rows into global batches and picks one worker's rows of
// each, without encoding them.
//
// Order:   see BatchLoader. Without shuffle only this worker's rows are read, the others are
//          skipped. With shuffle the rows of one window are buffered: window k of an epoch is rows
//          [k*S, (k+1)*S) of the input, S = shuffle_buffer_size * G (the last one is shorter), and
//          its i-th row is the input's row k*S + P(i), P the keyed permutation of the window's rows
//          under (seed, epoch, k). Of CSV files only this worker's rows are decoded.
// Look-ahead: a batch is handed out once it is known whether another one follows in the epoch.
// Threads: used by one thread. Failure: an error is returned after all batches that lie before it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "worker/data/batch.h"
#include "worker/data/rows/row_selection.h"
#include "worker/data/rows/row_sequence.h"

namespace pepnet {

struct CutOptions {
  int64_t batch_size = 1;         // per worker
  int64_t global_batch_size = 0;  // at most worker_count * batch_size; 0: just that
  int worker_index = 0;
  int worker_count = 1;
  uint64_t seed = 0;
  bool shuffle = false;
  int64_t shuffle_buffer_size = 32;
  bool drop_remainder = false;
  int64_t max_epochs = 1;  // 0: endless
  DataPosition start;
  // Only the rows [range_begin, range_end) of the input; -1: to its end. Not together with shuffle
  // or start.
  int64_t range_begin = 0, range_end = -1;
};

struct CutBatch {
  RowSelection rows;  // this worker's
  int64_t first_row = 0;
  int64_t global_rows = 0;
  bool last_in_epoch = false;
  DataPosition position_after;
};

class BatchCutter {
 public:
  BatchCutter(std::unique_ptr<RowSequence> rows, const CutOptions& options);

  // The next batch, or nullopt after the last one of the last epoch.
  StatusOr<std::optional<CutBatch>> Next();

  // The sequence that is cut, for its counts and to stop it.
  RowSequence* rows() { return rows_.get(); }

 private:
  Status BeginEpoch();
  // The next global batch of this epoch that is to be used, or nullopt.
  StatusOr<std::optional<CutBatch>> Cut();
  Status CutInOrder(CutBatch* batch);
  Status CutShuffled(CutBatch* batch);
  Status LoadWindow(int64_t window);
  // Appends rows of the window, in this order.
  Status PickOwn(const std::vector<int64_t>& own, RowSelection* selection) const;

  std::unique_ptr<RowSequence> rows_;
  const CutOptions options_;
  const int64_t global_batch_size_;
  const int64_t window_rows_;

  int64_t epoch_;
  int64_t epoch_start_;  // rows of this epoch that a resumed run leaves out
  bool in_epoch_ = false;
  // rows of this epoch that lie in batches already cut
  int64_t cut_rows_ = 0;
  int64_t handed_rows_ = 0;                      // ... in batches already handed out
  StatusOr<std::optional<CutBatch>> following_;  // the look-ahead; valid if in_epoch_

  int64_t window_ = -1;  // the window in buffered_, -1: none
  BufferedRowsList buffered_;
  std::vector<int64_t> buffered_start_;  // first row, within the window, of each of buffered_
  int64_t buffered_rows_ = 0;
};

}  // namespace pepnet

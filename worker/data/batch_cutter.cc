#include "worker/data/batch_cutter.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/base/mutant.h"
#include "common/base/random.h"

namespace pepnet {

BatchCutter::BatchCutter(RowStream stream, const CutOptions& options)
    : stream_(std::move(stream)),
      options_(options),
      global_batch_size_(options.global_batch_size > 0 ? options.global_batch_size
                                                       : options.batch_size * options.worker_count),
      window_rows_(global_batch_size_ * std::max<int64_t>(1, options.shuffle_buffer_size)),
      epoch_(options.start.epoch),
      epoch_start_(options.start.rows_in_epoch) {
  if (MutantActive(Mutant::kResumeForgetsPosition)) epoch_ = epoch_start_ = 0;
}

StatusOr<std::optional<CutBatch>> BatchCutter::Next() {
  while (true) {
    if (!in_epoch_) {
      if (options_.max_epochs > 0 && epoch_ >= options_.max_epochs) return std::nullopt;
      PEPNET_RETURN_IF_ERROR(BeginEpoch());
      following_ = Cut();
      in_epoch_ = true;
    }
    if (!following_.ok()) return following_.status();
    if (following_->has_value()) {
      CutBatch batch = *std::exchange(*following_, std::nullopt);
      handed_rows_ += batch.global_rows;
      following_ = Cut();
      batch.last_in_epoch = following_.ok() && !following_->has_value();
      batch.position_after = batch.last_in_epoch ? DataPosition{epoch_ + 1, 0} : DataPosition{epoch_, handed_rows_};
      return batch;
    }
    // An epoch without any batch would repeat for ever.
    const bool whole_input = epoch_start_ == 0 && options_.range_end < 0;
    if (whole_input && handed_rows_ == 0) {
      if (cut_rows_ == 0) return InvalidInput("the input has no rows");
      return InvalidInput("the input has ", cut_rows_, " rows, fewer than one global batch of ", global_batch_size_,
                          " rows, and drop_remainder drops them all; lower batch_size or unset drop_remainder");
    }
    in_epoch_ = false;
    epoch_start_ = 0;
    ++epoch_;
  }
}

Status BatchCutter::BeginEpoch() {
  stream_.Rewind();
  window_ = -1;
  cut_rows_ = handed_rows_ = epoch_start_;
  // A shuffled epoch resumes at the start of a window, whose rows are needed once more.
  const int64_t first =
      options_.shuffle ? epoch_start_ / window_rows_ * window_rows_ : options_.range_begin + epoch_start_;
  PEPNET_ASSIGN_OR_RETURN(int64_t found, stream_.Skip(first));
  const bool inside_window = options_.shuffle && epoch_start_ > first;
  if (inside_window && found == first) {
    PEPNET_RETURN_IF_ERROR(LoadWindow(first / window_rows_));
    found += window_selection_.rows;
  }
  if (found < (inside_window ? epoch_start_ : first)) {
    return InvalidInput("the data position to resume from is row ", epoch_start_, " of epoch ", epoch_,
                        ", but the input has only ", found, " rows; was the input changed?");
  }
  return absl::OkStatus();
}

StatusOr<std::optional<CutBatch>> BatchCutter::Cut() {
  CutBatch batch;
  PEPNET_RETURN_IF_ERROR(options_.shuffle ? CutShuffled(&batch) : CutInOrder(&batch));
  batch.first_row = std::min(options_.worker_index * options_.batch_size, batch.global_rows);
  cut_rows_ += batch.global_rows;
  if (batch.global_rows == 0) return std::nullopt;
  if (options_.drop_remainder && batch.global_rows < global_batch_size_) return std::nullopt;
  return batch;
}

Status BatchCutter::CutInOrder(CutBatch* batch) {
  int64_t size = global_batch_size_;
  if (options_.range_end >= 0) {
    size = std::min(size, std::max<int64_t>(0, options_.range_end - options_.range_begin - cut_rows_));
  }
  const int64_t before = std::min(options_.worker_index * options_.batch_size, size);
  PEPNET_ASSIGN_OR_RETURN(batch->global_rows, stream_.Skip(before));
  if (batch->global_rows < before) return absl::OkStatus();
  const int64_t own = std::min(options_.batch_size, size - before);
  PEPNET_RETURN_IF_ERROR(stream_.Read(own, &batch->rows));
  batch->global_rows += batch->rows.rows;
  if (batch->rows.rows < own) return absl::OkStatus();
  PEPNET_ASSIGN_OR_RETURN(const int64_t behind, stream_.Skip(size - before - own));
  batch->global_rows += behind;
  return absl::OkStatus();
}

Status BatchCutter::LoadWindow(int64_t window) {
  window_ = window;
  window_selection_ = RowSelection();
  window_chunk_start_.clear();
  PEPNET_RETURN_IF_ERROR(stream_.Read(window_rows_, &window_selection_));
  int64_t start = 0;
  for (const RowChunk& chunk : window_selection_.chunks) {
    window_chunk_start_.push_back(start);
    start += chunk.rows->num_rows();
  }
  return absl::OkStatus();
}

Status BatchCutter::CutShuffled(CutBatch* batch) {
  const int64_t own_begin = options_.worker_index * options_.batch_size;
  const int64_t own_end = own_begin + options_.batch_size;
  while (batch->global_rows < global_batch_size_) {
    const int64_t position = cut_rows_ + batch->global_rows;  // within the epoch
    const int64_t window = position / window_rows_;
    if (window != window_) PEPNET_RETURN_IF_ERROR(LoadWindow(window));
    const int64_t rows = window_selection_.rows;
    const int64_t begin = position - window * window_rows_;
    if (begin >= rows) return absl::OkStatus();  // the end of the epoch
    const int64_t count = std::min(global_batch_size_ - batch->global_rows, rows - begin);
    const KeyedPermutation permutation(
        RandomKey(options_.seed, RandomPurpose::kShuffle, static_cast<uint64_t>(epoch_), static_cast<uint64_t>(window)),
        static_cast<uint64_t>(rows));
    // Batches have a window's chunks in common; a batch may cross windows if batch_size was changed before a resume.
    const int first_chunk = static_cast<int>(batch->rows.chunks.size());
    batch->rows.chunks.insert(batch->rows.chunks.end(), window_selection_.chunks.begin(),
                              window_selection_.chunks.end());
    for (int64_t i = std::max<int64_t>(0, own_begin - batch->global_rows);
         i < std::min(count, own_end - batch->global_rows); ++i) {
      const auto row = static_cast<int64_t>(permutation(static_cast<uint64_t>(begin + i)));
      const auto chunk = std::upper_bound(window_chunk_start_.begin(), window_chunk_start_.end(), row) - 1;
      batch->rows.AddRun(first_chunk + static_cast<int>(chunk - window_chunk_start_.begin()), row - *chunk, 1);
    }
    batch->global_rows += count;
  }
  return absl::OkStatus();
}

}  // namespace pepnet

#include "worker/data/rows/batch_cutter.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/base/mutant.h"
#include "common/base/random.h"
#include "worker/data/rows/shuffle_window.h"

namespace pepnet {

BatchCutter::BatchCutter(std::unique_ptr<RowSequence> rows, const CutOptions& options)
    : rows_(std::move(rows)),
      options_(options),
      global_batch_size_(options.global_batch_size > 0 ? options.global_batch_size
                                                       : options.batch_size * options.worker_count),
      window_rows_(ShuffleWindowRows(global_batch_size_, options.shuffle_buffer_size)),
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
    // Cutting runs one batch ahead of handing out: last_in_epoch must be known when a batch is
    // handed out, and of a CSV file the end is known only once it has been read.
    if (following_->has_value()) {
      CutBatch batch = *std::exchange(*following_, std::nullopt);
      handed_rows_ += batch.global_rows;
      following_ = Cut();
      batch.last_in_epoch = following_.ok() && !following_->has_value();
      // The position names the next row to be trained, so a checkpoint that stores it loses no row
      // and repeats none (law L4). With drop_remainder the last full batch ends the pass.
      batch.position_after =
          batch.last_in_epoch ? DataPosition{epoch_ + 1, 0} : DataPosition{epoch_, handed_rows_};
      return batch;
    }
    // An epoch without any batch would repeat for ever.
    const bool whole_input = epoch_start_ == 0 && options_.range_end < 0;
    if (whole_input && handed_rows_ == 0) {
      if (cut_rows_ == 0) return InvalidInput("the input has no rows");
      return InvalidInput(
          "the input has ", cut_rows_, " rows, fewer than one global batch of ", global_batch_size_,
          " rows, and drop_remainder drops them all; lower batch_size or unset drop_remainder");
    }
    in_epoch_ = false;
    epoch_start_ = 0;
    ++epoch_;
  }
}

Status BatchCutter::BeginEpoch() {
  window_ = -1;
  cut_rows_ = handed_rows_ = epoch_start_;
  // A shuffled epoch resumes at the start of a window, whose rows are needed once more: the
  // permutation is a function of (seed, epoch, window), so the rows before the position are known
  // to have been trained, and are left out by their place in it.
  const int64_t first = options_.shuffle ? epoch_start_ / window_rows_ * window_rows_
                                         : options_.range_begin + epoch_start_;
  PEPNET_ASSIGN_OR_RETURN(int64_t found, rows_->Begin(first));
  const bool inside_window = options_.shuffle && epoch_start_ > first;
  if (inside_window && found == first) {
    PEPNET_RETURN_IF_ERROR(LoadWindow(first / window_rows_));
    found += buffered_rows_;
  }
  // A position beyond the end must not pass for an epoch that is over: it means other data (law
  // L7).
  if (found < (inside_window ? epoch_start_ : first)) {
    return InvalidInput("the data position to resume from is row ", epoch_start_, " of epoch ",
                        epoch_, ", but the input has only ", found,
                        " rows; was the input changed?");
  }
  return absl::OkStatus();
}

StatusOr<std::optional<CutBatch>> BatchCutter::Cut() {
  CutBatch batch;
  PEPNET_RETURN_IF_ERROR(options_.shuffle ? CutShuffled(&batch) : CutInOrder(&batch));
  batch.first_row = std::min(options_.worker_index * options_.batch_size, batch.global_rows);
  cut_rows_ += batch.global_rows;
  if (batch.global_rows == 0) return std::nullopt;
  // The rest is not given back: it was read, and the next pass begins with the first row.
  if (options_.drop_remainder && batch.global_rows < global_batch_size_) return std::nullopt;
  return batch;
}

Status BatchCutter::CutInOrder(CutBatch* batch) {
  int64_t size = global_batch_size_;
  if (options_.range_end >= 0) {
    size =
        std::min(size, std::max<int64_t>(0, options_.range_end - options_.range_begin - cut_rows_));
  }
  // A global batch is cut into slices of batch_size rows, of which the last ones may be short:
  //   | before: skipped | own: read | behind: skipped |      0 <= own <= batch_size
  // Fewer rows than asked for mean the end of the input, wherever in the batch they are missed.
  const int64_t before = std::min(options_.worker_index * options_.batch_size, size);
  PEPNET_ASSIGN_OR_RETURN(batch->global_rows, rows_->Skip(before));
  if (batch->global_rows < before) return absl::OkStatus();
  const int64_t own = std::min(options_.batch_size, size - before);
  PEPNET_RETURN_IF_ERROR(rows_->Read(own, &batch->rows));
  batch->global_rows += batch->rows.rows;
  if (batch->rows.rows < own) return absl::OkStatus();
  PEPNET_ASSIGN_OR_RETURN(const int64_t behind, rows_->Skip(size - before - own));
  batch->global_rows += behind;
  return absl::OkStatus();
}

Status BatchCutter::LoadWindow(int64_t window) {
  window_ = window;
  buffered_.clear();
  buffered_start_.clear();
  buffered_rows_ = 0;
  // The last window of a pass is shorter; its permutation is over the rows that it has.
  PEPNET_RETURN_IF_ERROR(rows_->Buffer(window_rows_, &buffered_));
  for (const auto& buffered : buffered_) {
    buffered_start_.push_back(buffered_rows_);
    buffered_rows_ += buffered->size();
  }
  return absl::OkStatus();
}

Status BatchCutter::PickOwn(const std::vector<int64_t>& own, RowSelection* selection) const {
  // Each buffered piece gets one Pick(), since a pick decodes at once all that it is asked for; the
  // rows then go back to the order of the batch by `place`.
  // Of each of buffered_, in the order of the batch.
  std::vector<std::vector<int64_t>> wanted(buffered_.size());
  std::vector<size_t> place;  // in buffered_, of each own row
  place.reserve(own.size());
  for (const int64_t row : own) {
    const auto start = std::upper_bound(buffered_start_.begin(), buffered_start_.end(), row) - 1;
    place.push_back(static_cast<size_t>(start - buffered_start_.begin()));
    wanted[place.back()].push_back(row - *start);
  }
  std::vector<BufferedRows::Picked> picked(buffered_.size());
  std::vector<int> chunk_of(buffered_.size());
  for (size_t h = 0; h < buffered_.size(); ++h) {
    if (wanted[h].empty()) continue;
    PEPNET_ASSIGN_OR_RETURN(picked[h], buffered_[h]->Pick(wanted[h]));
    // A batch may cross windows, see CutShuffled.
    chunk_of[h] = static_cast<int>(selection->chunks.size());
    selection->chunks.push_back(picked[h].chunk);
  }
  std::vector<size_t> taken(buffered_.size(), 0);
  for (const size_t h : place) selection->AddRun(chunk_of[h], picked[h].at[taken[h]++], 1);
  return absl::OkStatus();
}

Status BatchCutter::CutShuffled(CutBatch* batch) {
  const int64_t own_begin = options_.worker_index * options_.batch_size;
  const int64_t own_end = own_begin + options_.batch_size;
  // A batch crosses windows only if batch_size was changed before a resume.
  while (batch->global_rows < global_batch_size_) {
    const int64_t position = cut_rows_ + batch->global_rows;  // within the epoch
    const int64_t window = position / window_rows_;
    if (window != window_) PEPNET_RETURN_IF_ERROR(LoadWindow(window));
    const int64_t rows = buffered_rows_;
    const int64_t begin = position - window * window_rows_;
    if (begin >= rows) return absl::OkStatus();  // the end of the epoch
    const int64_t count = std::min(global_batch_size_ - batch->global_rows, rows - begin);
    // The permutation is seekable: the i-th row of the window is computed, so every worker finds
    // its own rows without drawing those of others, and a resumed run finds its place (laws L2,
    // L4).
    const KeyedPermutation permutation(
        RandomKey(options_.seed, RandomPurpose::kShuffle, static_cast<uint64_t>(epoch_),
                  static_cast<uint64_t>(window)),
        static_cast<uint64_t>(rows));
    std::vector<int64_t> own;  // rows of the window, in the order of the batch
    // These are the rows at those of the batch's positions [own_begin, own_end) that lie in this
    // window.
    for (int64_t i = std::max<int64_t>(0, own_begin - batch->global_rows);
         i < std::min(count, own_end - batch->global_rows); ++i) {
      own.push_back(static_cast<int64_t>(permutation(static_cast<uint64_t>(begin + i))));
    }
    PEPNET_RETURN_IF_ERROR(PickOwn(own, &batch->rows));
    batch->global_rows += count;
  }
  return absl::OkStatus();
}

}  // namespace pepnet

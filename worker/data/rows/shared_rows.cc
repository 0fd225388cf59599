#include "worker/data/rows/shared_rows.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_join.h"
#include "common/base/threads.h"
#include "common/process/trace.h"

namespace pepnet {

StatusOr<std::unique_ptr<SharedRows>> SharedRows::Join(std::unique_ptr<RowStream> stream,
                                                       const ReaderGroup& group) {
  PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<ChunkExchange> exchange, ChunkExchange::Join(group));
  return std::unique_ptr<SharedRows>(new SharedRows(std::move(stream), group, std::move(exchange)));
}

SharedRows::SharedRows(std::unique_ptr<RowStream> stream, const ReaderGroup& group,
                       std::unique_ptr<ChunkExchange> exchange)
    : group_(group),
      paths_(stream->paths()),
      columns_(stream->columns()),
      stream_(std::move(stream)),
      exchange_(std::move(exchange)) {
  NoteCounts();
  thread_ = StartThread("share", [this] { GiveLoop(); });
}

SharedRows::~SharedRows() {
  Stop();
  thread_.join();
}

void SharedRows::Stop() {
  {
    MutexLock lock(&mutex_);
    stopped_ = true;
  }
  changed_.NotifyAll();
  // Stop() of the exchange wakes threads that may need the lock, which is free by now.
  exchange_->Stop();
}

std::string SharedRows::WaitingFor() const {
  MutexLock lock(&mutex_);
  return waiting_for_;
}

ReadCounts SharedRows::counts() const {
  MutexLock lock(&mutex_);
  return counts_;
}

// ---- the thread "share" -------------------------------------------------------------------------

void SharedRows::NoteCounts() {
  MutexLock lock(&mutex_);
  counts_ = stream_->counts();
}

void SharedRows::GiveLoop() {
  for (int64_t epoch = 0;; ++epoch) {
    int64_t first_row = 0;
    {
      MutexLock lock(&mutex_);
      while (!stopped_ && !wanted_.has_value()) changed_.Wait(&mutex_);
      if (stopped_) return;
      first_row = *wanted_;
      wanted_.reset();
    }
    // The walking thread waits for this result in Begin(), be it an error: the sentence is that of
    // RowStream.
    StatusOr<int64_t> begun = Caught([&] { return stream_->Begin(first_row); });
    const bool found = begun.ok();
    {
      MutexLock lock(&mutex_);
      begun_ = std::move(begun);
    }
    changed_.NotifyAll();
    if (!found) return;
    // It has been given, too.
    if (const Status status = Caught([&] { return GiveEpoch(epoch); }); !status.ok()) {
      MutexLock lock(&mutex_);
      gave_up_ = status;  // for a Begin() that comes later
      changed_.NotifyAll();
      return;
    }
  }
}

Status SharedRows::GiveEpoch(int64_t epoch) {
  const int count = group_.count();
  int64_t turn = 0;
  Status status;
  while (status.ok()) {
    const bool own = turn % count == group_.index;
    size_t file = 0;
    // All members look at the same files in the same way, so all count the same turns; nothing
    // about turns has to be agreed on or sent.
    StatusOr<int64_t> rows = stream_->RowsTogether(&file);
    if (rows.ok() && *rows == 0) {
      // The owner of the turn that does not come tells the end to all; the others meet it there.
      if (!own) return absl::OkStatus();
      SharedChunk end;
      end.kind = SharedChunk::Kind::kEndOfInput;
      end.epoch = epoch;
      end.turn = turn;
      return exchange_->Give(std::move(end));
    }
    // Somebody else's turn is skipped, undecoded.
    if (rows.ok()) rows = own ? GiveTurn(epoch, turn, file, *rows) : stream_->SkipInFile(*rows);
    NoteCounts();
    status = rows.status();
    if (rows.ok() && *rows > 0) ++turn;  // without rows: a CSV file that ended where a turn ended
  }
  // In place of this member's next turn, which nobody reaches if the error lies in somebody else's:
  // its owner finds it, too.
  SharedChunk error;
  error.kind = SharedChunk::Kind::kError;
  error.epoch = epoch;
  // The error takes this member's next turn, counted from the one under work.
  error.turn = turn + (group_.index - turn % count + count) % count;
  error.error = status;
  // Returns the error itself.
  if (!absl::IsCancelled(status)) (void)exchange_->Give(std::move(error));
  return status;
}

StatusOr<int64_t> SharedRows::GiveTurn(int64_t epoch, int64_t turn, size_t file, int64_t size) {
  int64_t given = 0;
  while (given < size) {
    StatusOr<RowChunk> chunk = [&] {
      // A turn may take several chunks: a reader gives at most so many rows at once.
      TraceScope scope("read file");
      return stream_->ReadInFile(size - given);
    }();
    NoteCounts();
    if (!chunk.ok()) return chunk.status();
    SharedChunk shared;
    shared.epoch = epoch;
    shared.turn = turn;
    shared.file = static_cast<int64_t>(file);
    shared.first_row = chunk->first_row;
    shared.row_count = chunk->rows->num_rows();
    if (shared.row_count == 0) {
      // An empty turn is no turn: it is not counted (GiveEpoch), so takers do not wait for it.
      if (given == 0) return 0;
      shared.kind = SharedChunk::Kind::kEndOfTurn;
      PEPNET_RETURN_IF_ERROR(exchange_->Give(std::move(shared)));
      return given;
    }
    given += shared.row_count;
    // The mark spares an extra packet in the usual case, where the rows of a turn are all there.
    shared.ends_turn = given == size;
    shared.rows = std::move(chunk->rows);
    PEPNET_RETURN_IF_ERROR(exchange_->Give(std::move(shared)));
  }
  return given;
}

// ---- the thread that walks the sequence ---------------------------------------------------------

StatusOr<int64_t> SharedRows::Begin(int64_t first_row) {
  if (!ended_) {
    return absl::InternalError("an epoch of shared rows was begun before the last one had ended");
  }
  // The walker asks, and the thread "share" answers: the stream belongs to that thread alone.
  MutexLock lock(&mutex_);
  wanted_ = first_row;
  changed_.NotifyAll();
  while (!stopped_ && !begun_.has_value() && gave_up_.ok()) changed_.Wait(&mutex_);
  if (stopped_) return absl::CancelledError("reading was stopped");
  if (!begun_.has_value()) return gave_up_;
  ++epoch_;
  turn_ = 0;
  current_ = SharedChunk();
  used_ = 0;
  ended_ = false;
  last_ = absl::StrCat("row ", first_row, " of the input");
  StatusOr<int64_t> begun = *std::move(begun_);
  begun_.reset();
  return begun;
}

Status SharedRows::Refill() {
  // Chunks of the expected giver are taken until one has rows that are not used. The turn alone
  // says who gives next, so members need no messages about the order.
  while (!ended_ && used_ == current_.row_count) {
    const int giver = static_cast<int>(turn_ % group_.count());
    {
      MutexLock lock(&mutex_);
      waiting_for_ = absl::StrCat("the rows behind ", last_, " from ", group_.members[giver],
                                  ", which decodes them for this host (turn ", turn_, ")");
    }
    StatusOr<SharedChunk> taken = exchange_->Take(giver);
    if (!taken.ok()) {
      return absl::IsCancelled(taken.status())
                 ? taken.status()
                 : Annotate(taken.status(), absl::StrCat("waiting for ", WaitingFor()));
    }
    {
      MutexLock lock(&mutex_);
      waiting_for_.clear();
    }
    current_ = std::move(taken).value();
    used_ = 0;
    // The error stands in place of rows, so every member reports it after the same row.
    if (current_.kind == SharedChunk::Kind::kError) return current_.error;
    // A member that reads other files would shift the rows silently: its chunks are for other turns
    // (law L7).
    if (current_.epoch != epoch_ || current_.turn != turn_ ||
        current_.file >= static_cast<int64_t>(paths_.size())) {
      return absl::FailedPreconditionError(absl::StrCat(
          group_.members[giver], " reads other input than ", group_.members[group_.index],
          " on the same host: it gave turn ", current_.turn, " of pass ", current_.epoch,
          ", expected was turn ", turn_, " of pass ", epoch_, "; were the input files changed?"));
    }
    switch (current_.kind) {
      case SharedChunk::Kind::kError:
        break;  // returned above
      case SharedChunk::Kind::kEndOfInput:
        ended_ = true;
        break;
      case SharedChunk::Kind::kEndOfTurn:
        ++turn_;
        break;
      case SharedChunk::Kind::kRows:
        if (current_.ends_turn) ++turn_;
        last_ = absl::StrCat("'", paths_[current_.file], "' row ",
                             current_.first_row + current_.row_count);
        continue;
    }
    // The kinds without rows leave nothing to use.
    current_.row_count = 0;
  }
  return absl::OkStatus();
}

StatusOr<RowChunk> SharedRows::Use(int64_t max_rows) {
  PEPNET_RETURN_IF_ERROR(current_.Open());
  // The columns' order is part of the meaning of the cells: they are found by number from here on.
  if (current_.rows->schema()->field_names() != columns_) {
    return absl::FailedPreconditionError(
        absl::StrCat("rows of '", paths_[current_.file],
                     "' that another worker of this host has decoded have the columns ",
                     absl::StrJoin(current_.rows->schema()->field_names(), ", "), "; expected ",
                     absl::StrJoin(columns_, ", ")));
  }
  const int64_t count = std::min(max_rows, current_.row_count - used_);
  // A slice shares the memory of the chunk, which lives as long as a batch decodes from it.
  RowChunk chunk{current_.rows->Slice(used_, count),
                 std::make_shared<const std::string>(paths_[current_.file]),
                 current_.first_row + used_, nullptr};
  used_ += count;
  return chunk;
}

Status SharedRows::Read(int64_t max_rows, RowSelection* selection) {
  while (max_rows > 0) {
    PEPNET_RETURN_IF_ERROR(Refill());
    if (ended_) return absl::OkStatus();
    PEPNET_ASSIGN_OR_RETURN(RowChunk chunk, Use(max_rows));
    const int64_t count = chunk.rows->num_rows();
    selection->chunks.push_back(std::move(chunk));
    selection->AddRun(static_cast<int>(selection->chunks.size()) - 1, 0, count);
    max_rows -= count;
  }
  return absl::OkStatus();
}

Status SharedRows::Buffer(int64_t max_rows, BufferedRowsList* buffered) {
  while (max_rows > 0) {
    PEPNET_RETURN_IF_ERROR(Refill());
    if (ended_) return absl::OkStatus();
    PEPNET_ASSIGN_OR_RETURN(RowChunk chunk, Use(max_rows));
    max_rows -= chunk.rows->num_rows();
    buffered->push_back(BufferDecoded(std::move(chunk)));
  }
  return absl::OkStatus();
}

StatusOr<int64_t> SharedRows::Skip(int64_t max_rows) {
  int64_t skipped = 0;
  while (skipped < max_rows) {
    PEPNET_RETURN_IF_ERROR(Refill());
    if (ended_) break;
    const int64_t count = std::min(max_rows - skipped, current_.row_count - used_);
    used_ += count;
    // Rows of other workers are skipped in the chunk without mapping it.
    skipped += count;
  }
  return skipped;
}

}  // namespace pepnet

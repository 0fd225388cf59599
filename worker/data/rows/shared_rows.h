// SharedRows: the rows of all input files, of which each worker of a host decodes a part for all of
// them.
//
// Turns:     the sequence of rows, from the row at which an epoch begins, is cut into turns: the
//            rest of a row group of Parquet, 65,536 rows of a CSV file or what is left of it. Turn
//            t is decoded by member t mod L of the L members, which gives it to all as one or more
//            chunks (ChunkExchange). Turns are a function of the files and the first row, so every
//            member knows whose turn it is; it skips the turns of others as cheaply as the format
//            allows.
// Same rows: as RowStream gives them, bit by bit. Only an error may come up to one chunk earlier
//            than it would there; it is given in place of the rows, so that all members report the
//            same sentence.
// Threads:   as RowSequence; owns the thread "share", which decodes this member's turns ahead.
//            Stop() and the destructor end it.
// Precondition: all members begin the same epochs at the same rows, and each walks all of it,
// though not at the same pace.
//
// No deadlock. Order all chunks by (epoch, turn, place in the turn). A giver waits only for claims
// of chunks that lie before the one it is about to give. Let m be the member whose next chunk x is
// the smallest. No member is behind m, so every member has claimed all chunks before x, and the
// giver of x waits for no claim: it decodes x, and m goes on. That is enough where all members keep
// asking. A member does not ask while its loader holds as many batches as it may. It has then
// claimed all chunks of its last batch and of the one behind it, because BatchCutter looks ahead,
// and it holds at least two batches (kBatchesAhead) that its trainer has not had. Trainers agree on
// every batch (Prefetcher), so none is more than one batch ahead of another: what a trainer waits
// for lies before all that a member that does not ask has left unclaimed, and the argument holds
// among the others. A loader that is ahead of its own trainer may wait for such a member; hence the
// deadline of a wait counts from where the trainer waits (BatchLoader::Next). A member gives a
// chunk to all others before it takes it itself, so that one that has had its last batch and has
// gone owes nobody anything.
//
// Memory:    (kUnclaimed + 1) chunks of up to 65,536 rows a member that are not claimed yet, and
//            what the loaders hold: once for the host, and what a member has decoded itself once
//            more. A taker that is slow holds up the others no more than in the training itself.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/base/mutex.h"
#include "worker/data/rows/chunk_exchange.h"
#include "worker/data/rows/row_stream.h"

namespace pepnet {

class SharedRows : public RowSequence {
 public:
  // Every member calls it, with streams over the same files. Waits until all are there
  // (group.timeout_s).
  static StatusOr<std::unique_ptr<SharedRows>> Join(std::unique_ptr<RowStream> stream,
                                                    const ReaderGroup& group);
  ~SharedRows() override;

  StatusOr<int64_t> Begin(int64_t first_row) override;
  Status Read(int64_t max_rows, RowSelection* selection) override;
  Status Buffer(int64_t max_rows, BufferedRowsList* buffered) override;
  StatusOr<int64_t> Skip(int64_t max_rows) override;
  ReadCounts counts() const override;
  void Stop() override;
  std::string WaitingFor() const override;

 private:
  SharedRows(std::unique_ptr<RowStream> stream, const ReaderGroup& group,
             std::unique_ptr<ChunkExchange> exchange);
  // The body of the thread "share".
  void GiveLoop();
  Status GiveEpoch(int64_t epoch);
  // Gives turn number `turn`, of up to `size` rows of file number `file`. Returns its rows; 0 if
  // the file had no more.
  StatusOr<int64_t> GiveTurn(int64_t epoch, int64_t turn, size_t file, int64_t size);
  void NoteCounts();
  // Makes current_ a chunk with unused rows, unless the sequence ends.
  Status Refill();
  // Up to `max_rows` unused rows of current_. Precondition: there are some.
  StatusOr<RowChunk> Use(int64_t max_rows);

  const ReaderGroup group_;
  const std::vector<std::string> paths_, columns_;
  const std::unique_ptr<RowStream> stream_;  // of the thread "share"
  const std::unique_ptr<ChunkExchange> exchange_;

  // Of the thread that walks the sequence.
  int64_t epoch_ = -1, turn_ = 0;
  SharedChunk current_;
  int64_t used_ = 0;   // rows of current_
  bool ended_ = true;  // the sequence has been walked to its end
  std::string last_;   // the row behind which the next chunk lies, for messages

  mutable Mutex mutex_;
  CondVar changed_;
  // First row of an epoch that was begun, not yet seen.
  std::optional<int64_t> wanted_ ABSL_GUARDED_BY(mutex_);
  std::optional<StatusOr<int64_t>> begun_ ABSL_GUARDED_BY(mutex_);  // what Begin() returns
  Status gave_up_ ABSL_GUARDED_BY(mutex_);                          // why the thread has ended
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::string waiting_for_ ABSL_GUARDED_BY(mutex_);
  ReadCounts counts_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace pepnet

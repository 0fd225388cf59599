// ChunkExchange: hands decoded chunks of rows from one worker to the others of its host, in memory
// that all of them map.
//
// A chunk is written once, as an Arrow IPC stream, into a memory file without a name (memfd), whose
// descriptor travels to each member over a Unix socket. Nothing has a name in any file system: the
// memory goes with the last mapping, however the processes end, and no job leaves anything behind
// for the next one to remove.
//
//   channel  one per ordered pair of members (FdChannel), "pepnet-<group>-<index of the giver>"
//   hello    taker -> giver, once:        magic u32, taker's index u32
//   chunk    giver -> taker, one packet:  ChunkHeader (chunk_exchange.cc), text of an error; with
//                                         rows the descriptor of the file
//   claim    taker -> giver, one byte:    the chunk was received
//   All ends run the same program (the start check of the job), so numbers stand as they do in
//   memory.
//
// Order:    Take(m) returns the chunks of member m in the order in which m gave them.
// Bound:    a member holds back a chunk until all members have claimed all but its last kUnclaimed
//           ones: in memory that nobody has mapped there are at most (kUnclaimed + 1) chunks a
//           member.
// Threads:  Give() from one thread, Take() from one other, Stop() from any.
// Failure:  a member that has gone (killed, or ended) is Aborted for Take(); Give() leaves it out.
//           Full memory is ResourceExhausted. Take() has no deadline: its caller knows how long it
//           may wait (see SharedRows).
#pragma once

#include <arrow/record_batch.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/base/mutex.h"
#include "common/base/status.h"
#include "common/file/owned_fd.h"
#include "worker/data/rows/fd_channel.h"
#include "worker/data/rows/reader_group.h"

namespace pepnet {

// Some consecutive rows, or what stands in their place. Movable.
struct SharedChunk {
  enum class Kind : uint32_t { kRows, kEndOfTurn, kEndOfInput, kError };
  Kind kind = Kind::kRows;
  bool ends_turn = false;  // kRows: the last of its turn
  int64_t epoch = 0;       // number of the pass, counted by the members together
  int64_t turn = 0;        // see SharedRows
  int64_t file = 0, first_row = 0, row_count = 0;
  Status error;  // kError
  // kRows; null in a chunk of another member before Open()
  std::shared_ptr<arrow::RecordBatch> rows;
  OwnedFd memory;  // kRows of another member
  int64_t memory_bytes = 0;

  // Maps the rows if they are not there yet.
  Status Open();
};

class ChunkExchange {
 public:
  static constexpr int64_t kUnclaimed = 2;

  // Every member calls it; waits until all are connected, at most group.timeout_s.
  static StatusOr<std::unique_ptr<ChunkExchange>> Join(const ReaderGroup& group);
  ~ChunkExchange();

  // Gives `chunk` to all members, itself included; waits while too many are unclaimed.
  Status Give(SharedChunk chunk);
  // The next chunk of `member`; its rows are not mapped yet.
  StatusOr<SharedChunk> Take(int member);
  // Ends Give() and Take() with Cancelled, now and later.
  void Stop();

 private:
  explicit ChunkExchange(const ReaderGroup& group);
  class Patience;
  Status Connect();
  // Connects to every other member.
  Status FindGivers(const Patience& patience);
  // Takes the connection of every other member.
  Status AwaitTakers(const Patience& patience, FdListener* listener);
  Status WaitForClaims();
  bool TooManyUnclaimed();
  Status Cancelled() const { return absl::CancelledError("reading was stopped"); }

  struct Taker {
    FdChannel channel;  // closed: this member itself, or it has gone
    int64_t claimed = 0;
  };
  const ReaderGroup group_;
  const OwnedFd stop_;  // an eventfd, readable from Stop() on
  // An eventfd, readable when this member has claimed a chunk of its own.
  const OwnedFd claim_;
  std::vector<FdChannel> givers_;  // by member, for Take(); fixed after Join()
  std::vector<Taker> takers_;      // by member; used by Give()'s thread only
  int64_t given_ = 0;              // by Give()'s thread only

  Mutex mutex_;
  CondVar changed_;
  std::deque<SharedChunk> own_ ABSL_GUARDED_BY(mutex_);
  int64_t own_claimed_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace pepnet

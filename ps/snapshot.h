// Snapshot: the rows of a server as they were after one step, on their way into a checkpoint while
// training goes on (common/checkpoint/table_part.h draws the files).
//
// Threads:    the constructor and Change belong to the thread that changes rows (the server's
//             loop). Owns two threads: "save" orders, encodes, sums, writes and fsyncs, at a lower
//             priority than the computing threads; "take" copies the next record batch under the
//             lock meanwhile, at normal priority, so that the loop never waits for a thread that
//             gets no core.
// Waiting:    a change waits while up to kRowsPerRun rows are taken, and, when the copies have used
//             up their memory, until rows are taken and written. Both are measured.
// Memory:     beside the copies and the order, two record batches; of an admission filter the
//             buckets that change before all is written, a second time.
// Failure:    the first error ends the saving; nothing is copied any more and changes go on. It is
//             what `done` gets.
// Ownership:  borrows the tables, which outlive it and are not loaded anew before it is gone.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "common/base/mutex.h"
#include "common/base/status.h"
#include "common/checkpoint/filter_part.h"
#include "common/checkpoint/table_part.h"
#include "ps/server_plan.h"
#include "ps/table/admission_filter.h"
#include "ps/table/store/bucket_order.h"
#include "ps/table/table_snapshot.h"

namespace pepnet {

// The cost of a checkpoint to a server.
struct SnapshotCost {
  int64_t rows = 0;
  int64_t copied_rows = 0;
  uint64_t copied_bytes = 0;
  uint64_t peak_bytes = 0;          // of the copies, and of the order of the rows
  int64_t waits = 0;                // changes that waited for memory
  double longest_hold_seconds = 0;  // of one step, by the lock and for memory
  double write_seconds = 0;         // from the step to the last fsync
};

// The part files of one server.
struct SavedParts {
  std::vector<PartEntry> rows;        // one a table
  std::vector<PartEntry> candidates;  // one a table that counts them
  std::vector<FilterEntry> filters;   // one a table that has one
};

class Snapshot {
 public:
  static constexpr size_t kRowsPerRun = 2048;
  // Half of the memory of the rows, at least 64 MiB.
  static uint64_t DefaultCopyBytes(const std::vector<TableShard>& tables);

  // `done` is called once, by the thread "save"; with Cancelled where the destructor ended it.
  using Done = std::function<void(const StatusOr<SavedParts>&, const SnapshotCost&)>;
  // Holds the state of `tables` after `step` steps and starts to write one part per table (an empty
  // one where the server has no rows of it), and one of its candidates, under `directory`.
  // Precondition: the tables do not keep erased rows.
  Snapshot(const ServerPlan& plan, const std::vector<TableShard>& tables, int64_t step,
           std::string directory, uint64_t copy_bytes, Done done);
  // Gives up what is not finished.
  ~Snapshot();

  // Rows remain to be taken: changes need a Change.
  bool open() const { return open_; }
  // Nothing is read from the tables or written any more; only `done` may still be under way.
  bool finished() const { return finished_; }

  // Held while rows are changed; one per step.
  class ABSL_SCOPED_LOCKABLE Change {
   public:
    explicit Change(Snapshot* snapshot) ABSL_EXCLUSIVE_LOCK_FUNCTION(snapshot->mutex_);
    ~Change() ABSL_UNLOCK_FUNCTION();
    Change(const Change&) = delete;
    Change& operator=(const Change&) = delete;
    // To be called before the row of `slot` is changed, for the first time in this step.
    void Before(size_t table, int64_t slot) {
      snapshot_.mutex_.AssertHeld();  // as long as this object lives
      if (!snapshot_.shards_[table].BeforeChange(slot)) WaitFor(table, slot);
    }
    // The same for a candidate of the table.
    void BeforeCandidate(size_t table, int64_t slot) {
      Before(snapshot_.candidates_at_[table], slot);
    }

   private:
    // Waits until the row is taken or there is memory for its copy.
    void WaitFor(size_t shard, int64_t slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(snapshot_.mutex_);

    Snapshot& snapshot_;
    std::chrono::steady_clock::duration held_up_{};
  };

 private:
  void Save();
  void Take();
  StatusOr<SavedParts> SaveAll();
  StatusOr<PartEntry> SaveShard(size_t shard);
  // An admission filter as it was at the step.
  struct FilterImage {
    FilterEntry entry;  // without file, bytes and crc32c
    AdmissionFilter::Image buckets;
  };
  StatusOr<FilterEntry> SaveFilter(const FilterImage& image) const;
  // Rows that are to be taken, together one record batch.
  struct Batch {
    size_t shard = 0;
    std::span<const uint32_t> slots;
    std::vector<int> buckets;  // buckets[r]: complete below it once run r is taken
    RowImage* image = nullptr;
  };
  // Rows from place `first` of the order on.
  Batch MakeBatch(size_t shard, BucketOrder* order, int64_t first, RowImage* image) const;
  // Asks "take" for a batch, and waits for it. Cancelled if the snapshot is given up.
  void Want(Batch batch);
  Status WaitUntilTaken();
  Status SaveRows(size_t shard, BucketOrder* order, TablePartWriter* writer);
  // Called by "take" between two runs: who waits to change rows comes first.
  void LetChangesIn() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Close();

  const ServerPlan& plan_;
  // By shard: the tables, then the candidates of those that count them.
  std::vector<const TableShard*> sources_;
  std::vector<size_t> candidates_at_;  // by table: the shard of its candidates
  std::vector<FilterImage> filters_;   // used by "save" alone
  const std::string directory_;
  const Done done_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();

  Mutex mutex_;  // also guards rows of the tables against being changed while they are taken
  CondVar changed_;
  std::deque<TableSnapshot> shards_ ABSL_GUARDED_BY(mutex_);  // by shard
  CopyBudget budget_ ABSL_GUARDED_BY(mutex_);
  SnapshotCost cost_ ABSL_GUARDED_BY(mutex_);
  uint64_t largest_order_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  // Set by "save", reset by "take" when it is done.
  std::optional<Batch> wanted_ ABSL_GUARDED_BY(mutex_);
  int changes_without_memory_ ABSL_GUARDED_BY(mutex_) = 0;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;  // "take" has nothing more to do
  // One is filled by "take" while the other is read by "save"; `wanted_` hands them over.
  RowImage images_[2];

  // For mutex_, which alone would let "take" in again and again.
  std::atomic<int> changes_waiting_ = 0;
  std::atomic<bool> open_ = true;  // cleared under mutex_; its reader may be a step late
  std::atomic<bool> finished_ = false;
  std::thread take_, save_;  // started by the constructor, joined by the destructor
};

}  // namespace pepnet

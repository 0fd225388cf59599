#include "ps/snapshot.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "common/base/logging.h"
#include "common/base/threads.h"
#include "common/file/file.h"
#include "common/process/trace.h"
#include "ps/table/row_lifecycle.h"
#include "ps/table/store/bucket_order.h"

namespace pepnet {
namespace {

using Clock = std::chrono::steady_clock;

// Lower than the computing threads: while they are busy the writing gets little of the cores, when
// they wait all of it.
constexpr int kSaveNiceness = 10;

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

uint64_t Snapshot::DefaultCopyBytes(const std::vector<TableShard>& tables) {
  uint64_t bytes = 0;
  for (const TableShard& table : tables) bytes += table.memory_bytes();
  return std::max(uint64_t{64} << 20, bytes / 2);
}

Snapshot::Snapshot(const ServerPlan& plan, const std::vector<TableShard>& tables, int64_t step,
                   std::string directory, uint64_t copy_bytes, Done done)
    : plan_(plan), directory_(std::move(directory)), done_(std::move(done)) {
  // All of this happens on the loop's thread between two steps: tables, candidates and filters show
  // the same step. Shards are numbered tables first, then candidates, as SaveAll() sorts their
  // parts.
  budget_.limit_bytes = copy_bytes;
  for (const TableShard& table : tables) {
    sources_.push_back(&table);
    cost_.rows += table.size();
  }
  candidates_at_.resize(tables.size());
  for (size_t table = 0; table < tables.size(); ++table) {
    const RowLifecycle* const lifecycle = tables[table].lifecycle();
    if (lifecycle == nullptr || lifecycle->candidates() == nullptr) continue;
    candidates_at_[table] = sources_.size();
    sources_.push_back(lifecycle->candidates());
  }
  for (const TableShard& table : tables) {
    const AdmissionFilter* const filter =
        table.lifecycle() != nullptr ? table.lifecycle()->filter() : nullptr;
    if (filter == nullptr) continue;
    FilterImage& image = filters_.emplace_back();
    image.entry.table = table.table().name;
    image.entry.first_bucket = plan.first_bucket;
    image.entry.end_bucket = plan.end_bucket;
    image.entry.counter_bits = filter->counter_bits();
    image.entry.bucket_words = filter->bucket_words();
    image.buckets = filter->TakeImage();
  }
  for (const TableShard* source : sources_) shards_.emplace_back(source, step, &budget_);
  // The threads start last, when everything that they read is there.
  take_ = StartThread("take", [this] { Take(); });
  try {
    save_ = StartThread("save", [this] { Save(); });
  } catch (...) {
    Close();  // ends "take"
    take_.join();
    throw;
  }
}

Snapshot::~Snapshot() {
  {
    MutexLock lock(&mutex_);
    cancelled_ = true;
  }
  changed_.NotifyAll();
  // "save" ends first: its Close() is what ends "take".
  save_.join();
  take_.join();
}

// ---- the loop's side ----------------------------------------------------------------------------

Snapshot::Change::Change(Snapshot* snapshot) : snapshot_(*snapshot) {
  const auto before = Clock::now();
  // Mutexes are not fair: "take" unlocks and locks in a loop, and would win against a waiting loop
  // again and again. It looks at this count in between, and yields.
  ++snapshot_.changes_waiting_;
  snapshot_.mutex_.Lock();
  --snapshot_.changes_waiting_;
  held_up_ = Clock::now() - before;
}

Snapshot::Change::~Change() {
  snapshot_.cost_.longest_hold_seconds =
      std::max(snapshot_.cost_.longest_hold_seconds, Seconds(held_up_));
  snapshot_.mutex_.Unlock();
}

void Snapshot::Change::WaitFor(size_t shard, int64_t slot) {
  const auto before = Clock::now();
  ++snapshot_.cost_.waits;
  ++snapshot_.changes_without_memory_;
  // The whole question is asked again: meanwhile the row may have been taken, and needs no copy
  // then.
  while (!snapshot_.shards_[shard].BeforeChange(slot)) snapshot_.changed_.Wait(&snapshot_.mutex_);
  --snapshot_.changes_without_memory_;
  held_up_ += Clock::now() - before;
}

// ---- the thread "take" --------------------------------------------------------------------------

void Snapshot::Take() {
  pthread_setname_np(pthread_self(), "take");
  MutexLock lock(&mutex_);
  for (;;) {
    while (!over_ && !wanted_.has_value()) changed_.Wait(&mutex_);
    if (over_) return;
    // The batch stays good while LetChangesIn() gives the lock away: "save" sets no other one
    // before this thread has reset it. The same holds for the image, which "save" reads only
    // afterwards.
    const Batch& batch = *wanted_;
    batch.image->Resize(0, 0, 0);  // keeps the memory that MakeBatch() has made
    for (size_t first = 0; first < batch.slots.size() && !cancelled_; first += kRowsPerRun) {
      if (first > 0) LetChangesIn();
      const size_t count = std::min(kRowsPerRun, batch.slots.size() - first);
      shards_[batch.shard].Take(batch.slots.subspan(first, count),
                                batch.buckets[first / kRowsPerRun], batch.image);
    }
    // The request ends even where the batch was cut short, so that WaitUntilTaken() returns and
    // finds cancelled_.
    wanted_.reset();
    changed_.NotifyAll();
  }
}

void Snapshot::LetChangesIn() {
  const bool memory_is_short = changes_without_memory_ > 0;
  mutex_.Unlock();
  // A change that waits for memory sleeps on the condition, and is not counted in changes_waiting_:
  // the copies that the last run has given back may be all it needs, so it is woken and gets a
  // moment to take the lock.
  if (memory_is_short) {
    changed_.NotifyAll();
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  // The count falls as soon as the change has the lock, so this thread spins for that moment alone;
  // it sleeps through the change itself, in Lock().
  while (changes_waiting_ > 0) std::this_thread::yield();
  mutex_.Lock();
}

// ---- the thread "save" --------------------------------------------------------------------------

Snapshot::Batch Snapshot::MakeBatch(size_t shard, BucketOrder* order, int64_t first,
                                    RowImage* image) const {
  Batch batch;
  const int64_t end = std::min(first + kRowsPerRecordBatch, order->size());
  batch.shard = shard;
  batch.slots = order->Slots(first, end);
  // The buckets before that of the next row are complete when a run is taken, so the copies of
  // their rows are freed run by run; changes that wait for memory go on early.
  for (int64_t run = first; run < end;) {
    run = std::min<int64_t>(run + kRowsPerRun, end);
    batch.buckets.push_back(order->BucketAt(run));
  }
  // Its memory, off the lock. Nobody uses the image now.
  image->Resize(static_cast<size_t>(end - first), static_cast<size_t>(sources_[shard]->dim()),
                static_cast<size_t>(sources_[shard]->state_dim()));
  batch.image = image;
  return batch;
}

void Snapshot::Want(Batch batch) {
  {
    MutexLock lock(&mutex_);
    wanted_ = std::move(batch);
  }
  changed_.NotifyAll();
}

Status Snapshot::WaitUntilTaken() {
  MutexLock lock(&mutex_);
  while (wanted_.has_value()) changed_.Wait(&mutex_);
  return cancelled_ ? absl::CancelledError("the server ends") : absl::OkStatus();
}

// While one record batch is summed and written, the next is taken and the one after it is not yet
// in order:
//
//   save   order 0 | order 1 | append 0, order 2 | append 1, order 3 | ...
//   take           | take 0  | take 1            | take 2            | ...
//
// There are two images: append k reads one while take k + 1 fills the other.
Status Snapshot::SaveRows(size_t shard, BucketOrder* order, TablePartWriter* writer) {
  Status status;
  int image = 0;
  if (order->size() > 0) Want(MakeBatch(shard, order, 0, &images_[image]));
  for (int64_t next = kRowsPerRecordBatch;
       status.ok() && next - kRowsPerRecordBatch < order->size();
       next += kRowsPerRecordBatch, image = 1 - image) {
    Batch batch;
    const bool more = next < order->size();
    // An exception, for want of memory, must not leave here: the thread "take" still reads from
    // `order`.
    status = Caught([&] {
      if (more) batch = MakeBatch(shard, order, next, &images_[1 - image]);
      return absl::OkStatus();
    });
    const Status taken = WaitUntilTaken();
    if (status.ok()) status = taken;
    if (!status.ok()) return status;
    if (more) Want(std::move(batch));
    status = Caught([&] { return writer->Append(images_[image].columns()); });
  }
  const Status taken = WaitUntilTaken();  // after an error a batch may be under way
  return status.ok() ? taken : status;
}

StatusOr<PartEntry> Snapshot::SaveShard(size_t shard) {
  TraceScope scope("write rows");
  const TableShard& source = *sources_[shard];
  PEPNET_ASSIGN_OR_RETURN(
      auto writer,
      TablePartWriter::Create(directory_, source.table().name, source.dim(), source.state_dim(),
                              plan_.server_index, plan_.server_count));
  const RowStore::View* rows = nullptr;
  {
    MutexLock lock(&mutex_);
    rows = &shards_[shard].rows();
  }
  // The order is made without the lock although rows change meanwhile: it reads ids alone, and
  // those of a view do not change while it is read (TableShard::KeepErased).
  BucketOrder order(*rows, source.table_hash());
  {
    MutexLock lock(&mutex_);
    largest_order_bytes_ = std::max(largest_order_bytes_, order.memory_bytes());
  }
  const Status status = SaveRows(shard, &order, writer.get());
  std::vector<AlignedBuffer<uint8_t>> copies;
  {
    MutexLock lock(&mutex_);
    copies = shards_[shard].Close();
  }
  changed_.NotifyAll();
  copies.clear();  // behind the lock: giving back gigabytes takes the kernel milliseconds
  PEPNET_RETURN_IF_ERROR(status);
  PEPNET_ASSIGN_OR_RETURN(PartEntry part, writer->Finish());
  part.value_kind = source.table().value_kind;
  part.state_kind = source.codec().state().kind();
  part.counts_clicks = source.table().policy.counts_clicks();
  return part;
}

StatusOr<FilterEntry> Snapshot::SaveFilter(const FilterImage& image) const {
  TraceScope scope("write filter");
  const AdmissionFilter::Words zeros(static_cast<size_t>(image.entry.bucket_words), 0);
  return WriteFilter(directory_, image.entry, plan_.server_index, plan_.server_count,
                     [&](int bucket) {
                       const auto& words = image.buckets[static_cast<size_t>(bucket)];
                       return std::span<const uint64_t>(words != nullptr ? *words : zeros);
                     });
}

StatusOr<SavedParts> Snapshot::SaveAll() {
  // The directory is not made here: a host that does not see the one of worker 0 would write the
  // rows to a file system of its own.
  if (!IsDirectory(directory_)) {
    return absl::NotFoundError(absl::StrCat(
        "the checkpoint directory ", directory_,
        " does not exist on this server's host; model_dir must be shared by all hosts"));
  }
  SavedParts saved;
  for (size_t shard = 0; shard < sources_.size(); ++shard) {
    StatusOr<PartEntry> part = SaveShard(shard);
    if (!part.ok()) {
      return Annotate(part.status(), absl::StrCat("saving table ", sources_[shard]->table().name,
                                                  " in ", directory_));
    }
    (shard < plan_.tables.size() ? saved.rows : saved.candidates).push_back(*std::move(part));
  }
  for (FilterImage& image : filters_) {
    StatusOr<FilterEntry> filter = SaveFilter(image);
    if (!filter.ok()) {
      return Annotate(filter.status(), absl::StrCat("saving the admission filter of table ",
                                                    image.entry.table, " in ", directory_));
    }
    saved.filters.push_back(*std::move(filter));
    image.buckets.clear();  // what has changed since is there a second time
  }
  return saved;
}

// Called after a failure, too: no change may wait for memory that nobody gives back any more.
void Snapshot::Close() {
  std::vector<std::vector<AlignedBuffer<uint8_t>>> copies;
  {
    MutexLock lock(&mutex_);
    for (TableSnapshot& shard : shards_) copies.push_back(shard.Close());
    over_ = true;
    open_ = false;
  }
  changed_.NotifyAll();
}

void Snapshot::Save() {
  pthread_setname_np(pthread_self(), "save");
  if (setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kSaveNiceness) != 0) {
    VLOG(1) << "the thread that saves keeps its priority";
  }
  // An exception that left the thread would end the process; want of memory is the checkpoint's
  // error.
  const StatusOr<SavedParts> parts = Caught([&] { return SaveAll(); });
  Close();
  SnapshotCost cost;
  {
    MutexLock lock(&mutex_);
    cost = cost_;
    for (const TableSnapshot& shard : shards_) {
      cost.copied_rows += shard.copied_rows();
      cost.copied_bytes += shard.copied_bytes();
    }
    cost.peak_bytes = budget_.peak_bytes + largest_order_bytes_;
  }
  cost.write_seconds = Seconds(Clock::now() - start_);
  finished_ = true;  // before the answer: who gets it may ask for the next checkpoint
  done_(parts, cost);
}

}  // namespace pepnet

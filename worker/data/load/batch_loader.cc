#include "worker/data/load/batch_loader.h"

#include <arrow/type.h>
#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_format.h"
#include "common/base/mutex.h"
#include "common/base/threads.h"
#include "common/process/trace.h"
#include "worker/data/files/input_files.h"
#include "worker/data/load/batch_decoder.h"
#include "worker/data/rows/batch_cutter.h"
#include "worker/data/rows/row_stream.h"
#include "worker/data/rows/shared_rows.h"

namespace pepnet {
namespace {

// Decoded batches that wait, beyond the ones under work.
constexpr int kBatchesAhead = 2;
// The interval at which a wait for other workers checks whether the job is lost.
constexpr std::chrono::milliseconds kLook(250);
// A thread that wakes up so late was suspended: that time does not count.
constexpr std::chrono::seconds kSuspended(2);

// ALL_COLUMNS stands for every column of the first file that has any.
StatusOr<std::vector<std::string>> ExpandReserved(const std::vector<std::string>& reserved,
                                                  const InputFiles& files,
                                                  const FileFormat& format) {
  std::vector<std::string> expanded;
  for (const std::string& column : reserved) {
    if (column != "ALL_COLUMNS") {
      expanded.push_back(column);
      continue;
    }
    for (const std::string& path : files.paths) {
      PEPNET_ASSIGN_OR_RETURN(std::vector<std::string> columns, ListColumns(path, format));
      expanded.insert(expanded.end(), columns.begin(), columns.end());
      if (!columns.empty()) break;
    }
  }
  // A column twice would make two columns of one name in the output.
  std::vector<std::string> sorted = expanded;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) {
    return InvalidInput("the reserved column '", *twice, "' is asked for more than once");
  }
  return expanded;
}

Status CheckOptions(const LoaderOptions& options) {
  if (options.batch_size <= 0) {
    return InvalidInput("batch_size is ", options.batch_size, ", but must be positive");
  }
  if (options.worker_count <= 0 || options.worker_index < 0 ||
      options.worker_index >= options.worker_count) {
    return absl::InternalError(
        absl::StrCat("worker ", options.worker_index, " of ", options.worker_count));
  }
  if (options.contiguous && options.group.count() > 1) {
    return absl::InternalError("contiguous ranges are not shared");
  }
  if (options.contiguous &&
      (options.shuffle || options.start.epoch != 0 || options.start.rows_in_epoch != 0)) {
    return absl::InternalError("contiguous ranges are neither shuffled nor resumed");
  }
  return absl::OkStatus();
}

// True if the workers of this host are to share the decoding; *why is the sentence for the log.
bool ChooseSharing(const LoaderOptions& options, DatasetType type, const ReadShape& shape,
                   std::string* why) {
  const int count = options.group.count();
  const double alone = DecodedPerRowAlone(shape);
  const std::string cost = absl::StrFormat("%.1f rows decoded for each row used", alone);
  const auto choose = [&](bool share, const std::string& reason) {
    *why =
        absl::StrCat(share ? absl::StrCat("the ", count, " workers of this host share the decoding")
                           : "each worker decodes alone",
                     ": ", reason);
    return share;
  };
  // Reasons are tried from the firmest to the weakest: nobody to share with, the user's word, the
  // costs.
  if (count < 2) return choose(false, "there is no other worker to share with on this host");
  if (options.share == ShareReader::kOff) {
    return choose(false, absl::StrCat(cost, " (--share_reader=off)"));
  }
  const std::string saving = absl::StrFormat("%.1f rows decoded for each row used become %.1f",
                                             alone, DecodedPerRowShared(shape, count));
  if (options.share == ShareReader::kOn) {
    return choose(true, absl::StrCat(saving, " (--share_reader=on)"));
  }
  if (shape.row_by_row) {
    return choose(false,
                  absl::StrCat("of ", TypeOf(type).name, " files only its own rows are decoded"));
  }
  if (!ShareByDefault(shape, count)) {
    return choose(false, absl::StrCat(cost, ", sharing would save too little"));
  }
  return choose(true, saving);
}

}  // namespace

// One reader thread cuts batches, decoding threads decode them, Next() hands them out in the order
// of cutting.
class BatchLoader::Pipeline {
 public:
  Pipeline(BatchCutter cutter, std::unique_ptr<BatchDecoder> decoder, int decoding_threads,
           int64_t rows_per_epoch, std::string description, std::string sharing,
           std::optional<ReaderGroup> shared_with, std::vector<int64_t> rows_by_file)
      : cutter_(std::move(cutter)),
        decoder_(std::move(decoder)),
        rows_per_epoch_(rows_per_epoch),
        rows_by_file_(std::move(rows_by_file)),
        description_(std::move(description)),
        sharing_(std::move(sharing)),
        shared_with_(std::move(shared_with)),
        // Each decoder may be at work on a batch while kBatchesAhead more are ready. A larger bound
        // would only hold memory: the trainer takes one at a time.
        capacity_(static_cast<size_t>(decoding_threads) + kBatchesAhead) {
    try {
      threads_.push_back(StartThread("read-0", [this] { ReadLoop(); }));
      for (int i = 1; i <= decoding_threads; ++i) {
        threads_.push_back(StartThread(absl::StrCat("read-", i), [this] { DecodeLoop(); }));
      }
      // At once, for who counts them by name: a thread names itself only when it runs.
      for (size_t i = 0; i < threads_.size(); ++i) {
        pthread_setname_np(threads_[i].native_handle(), absl::StrCat("read-", i).c_str());
      }
    } catch (...) {
      // Threads that run already must not outlive the members they use.
      End();
      throw;
    }
  }

  ~Pipeline() { End(); }

  StatusOr<std::optional<Batch>> Next() {
    // The first error ends the stream: batches after it were cut from rows that nobody vouches for.
    if (!final_status_.ok()) return final_status_;
    MutexLock lock(&mutex_);
    final_status_ = WaitForFirst();
    if (!final_status_.ok()) return final_status_;
    if (slots_.empty()) return std::nullopt;
    const std::shared_ptr<Slot> slot = std::move(slots_.front());
    slots_.pop_front();
    lock.Unlock();
    // The notice is for the reader, which waits for room.
    changed_.NotifyAll();
    // Counts join when their batch is handed out, so that they do not depend on how far the
    // decoders are ahead.
    encode_counts_.Add(slot->encoded);
    counts_ = slot->counts;
    if (!slot->batch.ok()) {
      final_status_ = slot->batch.status();
      return final_status_;
    }
    return std::move(slot->batch).value();
  }

  int64_t rows_per_epoch() const { return rows_per_epoch_; }
  std::vector<int64_t> rows_by_file() const { return rows_by_file_; }
  const EncodeCounts& encode_counts() const { return encode_counts_; }
  ReadCounts counts() const { return counts_; }
  std::shared_ptr<arrow::Schema> reserved_schema() const { return decoder_->reserved_schema(); }
  std::string description() const { return description_; }
  std::string sharing() const { return sharing_; }
  bool shares() const { return shared_with_.has_value(); }

 private:
  // A place in the stream. `cut` and `counts` (what had been read when it was cut) are written by
  // the reader and then read by one decoder; `batch` and `encoded` are written by that decoder (by
  // the reader for an error) before `done` is set under the lock.
  struct Slot {
    CutBatch cut;
    ReadCounts counts;
    StatusOr<Batch> batch = Batch();
    EncodeCounts encoded;
    bool done = false;
  };

  // The first slot is done, or there is none and will be none.
  bool FirstIsReady() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return slots_.empty() ? all_cut_ : slots_.front()->done;
  }

  Status WaitForFirst() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    // A worker that reads alone waits for nobody but the file system, whose deadline the caller
    // keeps (Prefetcher).
    if (!shared_with_.has_value()) {
      while (!FirstIsReady()) changed_.Wait(&mutex_);
      return absl::OkStatus();
    }
    using Clock = std::chrono::steady_clock;
    Clock::duration waited(0);
    for (Clock::time_point before = Clock::now(); !FirstIsReady();) {
      if (changed_.WaitUntil(&mutex_, before + kLook) || FirstIsReady()) continue;
      const Clock::time_point now = Clock::now();
      // A process that was stopped (SIGSTOP) wakes up late. Only time that this thread was there to
      // wait counts, or the job would end at the wake-up.
      if (now - before < kSuspended) waited += now - before;
      before = now;
      if (shared_with_->lost != nullptr) {
        PEPNET_RETURN_IF_ERROR(
            Annotate(shared_with_->lost(), "waiting for the next batch of the input files"));
      }
      const double seconds = std::chrono::duration<double>(waited).count();
      if (seconds < shared_with_->timeout_s) continue;
      // The sentence names the worker whose rows are missing: the others of the host wait for the
      // same one.
      const std::string missing = cutter_.rows()->WaitingFor();
      return absl::DeadlineExceededError(
          absl::StrCat("waited ", absl::SixDigits(seconds), " s for ",
                       missing.empty() ? "the next batch of the input files" : missing.c_str(),
                       ", nothing came; raise --timeout_s if the files are slow, or let each "
                       "worker read alone with "
                       "--share_reader=off"));
    }
    return absl::OkStatus();
  }

  StatusOr<std::optional<CutBatch>> ReadAndCut() {
    TraceScope scope("read file");
    return Caught([&] { return cutter_.Next(); });
  }

  // Ends and joins all threads that were started.
  void End() {
    {
      MutexLock lock(&mutex_);
      // The flag is set under the lock, or a thread between its look at it and its wait would miss
      // the notice.
      stop_ = true;
    }
    changed_.NotifyAll();
    // This ends a wait inside the reader thread, which looks at stop_ only between batches.
    cutter_.rows()->Stop();
    for (std::thread& thread : threads_) thread.join();
  }

  void ReadLoop() {
    bool more = true;
    while (more) {
      {
        MutexLock lock(&mutex_);
        // The bound counts what is cut and not handed out, decoded or not.
        while (!stop_ && slots_.size() >= capacity_) changed_.Wait(&mutex_);
        if (stop_) return;
      }
      // Shared, because the order queue and the decoder's queue both hold it, and either may let go
      // first on a stop.
      auto slot = std::make_shared<Slot>();
      StatusOr<std::optional<CutBatch>> cut = ReadAndCut();
      more = cut.ok() && cut->has_value();
      slot->counts = cutter_.rows()->counts();
      if (more) slot->cut = std::move(**cut);
      if (!cut.ok()) {
        slot->batch = cut.status();
        slot->done = true;
      }
      {
        // The slot takes its place in the order here, where it is cut; decoders may finish in any
        // order, and Next() still hands out in that of cutting (law L3: any num_workers).
        MutexLock lock(&mutex_);
        if (more) undecoded_.push_back(slot);
        // An error stands in line after the batches before it.
        if (more || slot->done) slots_.push_back(std::move(slot));
        all_cut_ = !more;
      }
      changed_.NotifyAll();
    }
  }

  void DecodeLoop() {
    while (true) {
      std::shared_ptr<Slot> slot;
      {
        MutexLock lock(&mutex_);
        while (!stop_ && undecoded_.empty() && !all_cut_) changed_.Wait(&mutex_);
        // No more work can come once all is cut, and none is left.
        if (stop_ || undecoded_.empty()) return;
        slot = std::move(undecoded_.front());
        undecoded_.pop_front();
      }
      slot->batch = Caught([&] { return decoder_->Decode(slot->cut, &slot->encoded); });
      // The rows may be large, and their chunk is freed with the last batch that uses it.
      slot->cut = CutBatch();  // lets go of the rows
      {
        MutexLock lock(&mutex_);
        slot->done = true;
      }
      changed_.NotifyAll();
    }
  }

  // Reader thread only, but for Stop() and WaitingFor() of its rows.
  BatchCutter cutter_;
  // Fixed after construction.
  const std::unique_ptr<BatchDecoder> decoder_;
  const int64_t rows_per_epoch_;
  const std::vector<int64_t> rows_by_file_;
  const std::string description_, sharing_;
  const std::optional<ReaderGroup> shared_with_;  // nullopt: this worker reads alone
  const size_t capacity_;
  std::vector<std::thread> threads_;
  // Thread of Next() only.
  Status final_status_;
  EncodeCounts encode_counts_;
  ReadCounts counts_;

  Mutex mutex_;
  CondVar changed_;
  // Cut and not handed out, in order.
  std::deque<std::shared_ptr<Slot>> slots_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::shared_ptr<Slot>> undecoded_ ABSL_GUARDED_BY(mutex_);
  bool all_cut_ ABSL_GUARDED_BY(mutex_) = false;  // the reader has ended
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
};

BatchLoader::BatchLoader(std::unique_ptr<Pipeline> pipeline) : pipeline_(std::move(pipeline)) {}
BatchLoader::~BatchLoader() = default;
StatusOr<std::optional<Batch>> BatchLoader::Next() { return pipeline_->Next(); }
int64_t BatchLoader::rows_per_epoch() const { return pipeline_->rows_per_epoch(); }
std::vector<int64_t> BatchLoader::rows_by_file() const { return pipeline_->rows_by_file(); }
const EncodeCounts& BatchLoader::encode_counts() const { return pipeline_->encode_counts(); }
std::string BatchLoader::sharing() const { return pipeline_->sharing(); }
bool BatchLoader::shares() const { return pipeline_->shares(); }
ReadCounts BatchLoader::counts() const { return pipeline_->counts(); }
std::shared_ptr<arrow::Schema> BatchLoader::reserved_schema() const {
  return pipeline_->reserved_schema();
}
std::string BatchLoader::description() const { return pipeline_->description(); }

StatusOr<std::unique_ptr<BatchLoader>> BatchLoader::Open(const JobConfig& config,
                                                         const LoaderOptions& options) {
  PEPNET_RETURN_IF_ERROR(CheckOptions(options));
  PEPNET_ASSIGN_OR_RETURN(
      const InputFiles files,
      options.paths.empty()
          ? FindJobFiles(config, options.input_path)
          : InputFilesOf(options.paths, config.data.dataset_type, config.data.dataset_type_name));
  const FileFormat format = FormatOf(config.data, files.type);
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> reserved,
                          ExpandReserved(options.reserved_columns, files, format));
  ColumnPlan plan = PlanColumns(config, options.labels, reserved, options.event_times);
  if (plan.names.empty()) {
    return InvalidInput("the config has no feature, so no column of the input would be read");
  }

  std::shared_ptr<arrow::Schema> reserved_schema;
  if (!reserved.empty()) {
    PEPNET_ASSIGN_OR_RETURN(const auto reader,
                            OpenRowReader(files.paths.front(), format, reserved));
    reserved_schema = reader->schema();
  }

  auto stream = std::make_unique<RowStream>(files, format, plan.names);
  PEPNET_RETURN_IF_ERROR(stream->LearnRows());
  int64_t some_rows = stream->known_rows();
  // One row tells an input with rows from one without, before threads and other workers take part.
  if (some_rows < 0) {
    PEPNET_ASSIGN_OR_RETURN(some_rows, stream->Begin(1));
  }
  if (some_rows == 0) return InvalidInput("the input '", options.input_path, "' has no rows");
  int64_t rows = stream->known_rows();
  std::vector<int64_t> rows_by_file = stream->rows_by_file();
  std::string description = absl::StrCat(files.paths.size(), " ", TypeOf(files.type).name,
                                         files.paths.size() == 1 ? " file" : " files");

  CutOptions cut;
  cut.batch_size = options.batch_size;
  if (options.global_batch_size > 0) {
    cut.global_batch_size = options.global_batch_size;
    // The slice is rounded up: the last ones are shorter, and no row of the global batch is left
    // over.
    cut.batch_size = (options.global_batch_size + options.worker_count - 1) / options.worker_count;
  }
  cut.worker_index = options.worker_index;
  cut.worker_count = options.worker_count;
  cut.seed = options.seed;
  cut.shuffle = options.shuffle;
  cut.shuffle_buffer_size = options.shuffle_buffer_size;
  cut.drop_remainder = options.drop_remainder;
  cut.max_epochs = options.max_epochs;
  cut.start = options.start;
  if (options.contiguous) {
    PEPNET_ASSIGN_OR_RETURN(rows, stream->CountRows());
    absl::StrAppend(&description, ", ", rows, " rows");
    // Worker w reads the rows [rows w / W, rows (w + 1) / W). These ranges differ by at most one
    // row and cover all.
    cut.range_begin = rows * options.worker_index / options.worker_count;
    cut.range_end = rows * (options.worker_index + 1) / options.worker_count;
    rows = cut.range_end - cut.range_begin;
    cut.worker_index = 0;
    cut.worker_count = 1;
    // Prediction answers every row.
    cut.drop_remainder = false;
  } else if (rows >= 0) {
    absl::StrAppend(&description, ", ", rows, " rows");
  }

  PEPNET_ASSIGN_OR_RETURN(auto decoder,
                          BatchDecoder::Create(config, options, files.type, std::move(plan),
                                               std::move(reserved_schema)));
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const int decoding_threads = std::clamp(config.data.num_workers, 1, cores);
  const ReadShape shape = {!TypeOf(files.type).decoded_in_groups, options.shuffle,
                           static_cast<double>(stream->largest_row_group()),
                           static_cast<double>(cut.batch_size),
                           static_cast<double>(options.worker_count)};
  std::string sharing;
  std::unique_ptr<RowSequence> sequence;
  std::optional<ReaderGroup> shared_with;
  // The stream goes to the thread "share" or to the cutter; only one of them may read it.
  if (ChooseSharing(options, files.type, shape, &sharing)) {
    shared_with = options.group;
    PEPNET_ASSIGN_OR_RETURN(sequence, SharedRows::Join(std::move(stream), options.group));
  } else {
    sequence = std::move(stream);
  }
  return std::unique_ptr<BatchLoader>(new BatchLoader(
      std::make_unique<Pipeline>(BatchCutter(std::move(sequence), cut), std::move(decoder),
                                 decoding_threads, rows, std::move(description), std::move(sharing),
                                 std::move(shared_with), std::move(rows_by_file))));
}

}  // namespace pepnet

#include "worker/data/load/batch_loader.h"

#include <arrow/array/concatenate.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "common/process/trace.h"
#include "worker/data/encode/feature_encoder.h"
#include "worker/data/encode/label_encoder.h"
#include "worker/data/files/input_files.h"
#include "worker/data/rows/batch_cutter.h"
#include "worker/data/rows/row_stream.h"
#include "worker/data/rows/shared_rows.h"

namespace pepnet {
namespace {

constexpr int kBatchesAhead = 2;                 // decoded batches that wait, beyond the ones under work
constexpr std::chrono::milliseconds kLook(250);  // how often a wait for other workers looks whether the job is lost
constexpr std::chrono::seconds kSuspended(2);    // who wakes up so late was suspended: that time does not count

// Which column of the chunks each consumer reads.
struct ColumnPlan {
  std::vector<std::string> names;  // unique, in order of first use
  std::vector<int> features, labels, sample_weights, reserved;

  int Add(const std::string& name) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found != names.end()) return static_cast<int>(found - names.begin());
    names.push_back(name);
    return static_cast<int>(names.size()) - 1;
  }
};

ColumnPlan PlanColumns(const JobConfig& config, bool read_labels, const std::vector<std::string>& reserved) {
  ColumnPlan plan;
  for (const Feature& feature : config.features) plan.features.push_back(plan.Add(feature.column));
  if (read_labels) {
    for (const std::string& label : config.data.labels) plan.labels.push_back(plan.Add(label));
    for (const std::string& weight : config.data.sample_weights) plan.sample_weights.push_back(plan.Add(weight));
  }
  for (const std::string& column : reserved) plan.reserved.push_back(plan.Add(column));
  return plan;
}

// Turns the rows of a slice into a Batch. Immutable: used by all decoding threads.
class BatchDecoder {
 public:
  static StatusOr<std::unique_ptr<BatchDecoder>> Create(const JobConfig& config, const LoaderOptions& options,
                                                        DatasetType file_type, ColumnPlan plan,
                                                        std::shared_ptr<arrow::Schema> reserved_schema) {
    auto decoder = std::make_unique<BatchDecoder>();
    decoder->plan_ = std::move(plan);
    decoder->read_labels_ = options.read_labels;
    decoder->reserved_schema_ = std::move(reserved_schema);
    PEPNET_ASSIGN_OR_RETURN(decoder->features_,
                            FeatureEncoder::Create(config.features, {options.farm_hash, options.clamp_out_of_range}));
    if (options.read_labels) {
      PEPNET_ASSIGN_OR_RETURN(decoder->labels_, LabelEncoder::Create(config, file_type));
    }
    return decoder;
  }

  StatusOr<Batch> Decode(const CutBatch& cut, int64_t* clamped) const {
    TraceScope scope("decode");
    Batch batch;
    batch.rows = cut.rows.rows;
    batch.first_row = cut.first_row;
    batch.global_rows = cut.global_rows;
    batch.last_in_epoch = cut.last_in_epoch;
    batch.position_after = cut.position_after;
    batch.origin = DescribeOrigin(cut.rows);
    PEPNET_RETURN_IF_ERROR(features_->Encode(cut.rows, plan_.features, &batch, clamped));
    if (read_labels_) {
      PEPNET_RETURN_IF_ERROR(labels_->Encode(cut.rows, plan_.labels, plan_.sample_weights, &batch));
    }
    if (reserved_schema_ != nullptr) {
      PEPNET_ASSIGN_OR_RETURN(batch.reserved, Reserve(cut.rows));
    }
    return batch;
  }

  const std::shared_ptr<arrow::Schema>& reserved_schema() const { return reserved_schema_; }

 private:
  StatusOr<std::shared_ptr<arrow::RecordBatch>> Reserve(const RowSelection& rows) const {
    arrow::ArrayVector columns;
    for (size_t i = 0; i < plan_.reserved.size(); ++i) {
      const auto& type = reserved_schema_->field(static_cast<int>(i))->type();
      arrow::ArrayVector pieces;
      for (const RowRun& run : rows.runs) {
        const RowChunk& chunk = rows.chunks[run.chunk];
        const auto column = chunk.rows->column(plan_.reserved[i]);
        if (!column->type()->Equals(*type)) {
          return InvalidInput("'", *chunk.path, "' column '", reserved_schema_->field(static_cast<int>(i))->name(),
                              "' has type ", column->type()->ToString(), ", but ", type->ToString(),
                              " in the first file; a reserved column has one type");
        }
        pieces.push_back(column->Slice(run.begin, run.count));
      }
      auto joined = pieces.empty() ? arrow::MakeEmptyArray(type) : arrow::Concatenate(pieces);
      if (!joined.ok())
        return InvalidInput("reserved columns of ", DescribeOrigin(rows), ": ", joined.status().message());
      columns.push_back(std::move(joined).ValueOrDie());
    }
    return arrow::RecordBatch::Make(reserved_schema_, rows.rows, std::move(columns));
  }

  ColumnPlan plan_;
  bool read_labels_ = true;
  std::shared_ptr<arrow::Schema> reserved_schema_;
  std::unique_ptr<FeatureEncoder> features_;
  std::unique_ptr<LabelEncoder> labels_;  // null unless read_labels_
};

// One reader thread cuts batches, decoding threads decode them, Next() hands them out in the order of cutting.
class PipelinedLoader : public BatchLoader {
 public:
  PipelinedLoader(BatchCutter cutter, std::unique_ptr<BatchDecoder> decoder, int decoding_threads,
                  int64_t rows_per_epoch, std::string description, std::string sharing,
                  std::optional<ReaderGroup> shared_with)
      : cutter_(std::move(cutter)),
        decoder_(std::move(decoder)),
        rows_per_epoch_(rows_per_epoch),
        description_(std::move(description)),
        sharing_(std::move(sharing)),
        shared_with_(std::move(shared_with)),
        capacity_(static_cast<size_t>(decoding_threads) + kBatchesAhead) {
    threads_.emplace_back([this] { ReadLoop(); });
    for (int i = 0; i < decoding_threads; ++i) threads_.emplace_back([this] { DecodeLoop(); });
    for (size_t i = 0; i < threads_.size(); ++i) {
      pthread_setname_np(threads_[i].native_handle(), absl::StrCat("read-", i).c_str());
    }
  }

  ~PipelinedLoader() override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    cutter_.rows()->Stop();
    for (std::thread& thread : threads_) thread.join();
  }

  StatusOr<std::optional<Batch>> Next() override {
    if (!final_status_.ok()) return final_status_;
    std::unique_lock<std::mutex> lock(mutex_);
    final_status_ = WaitForFirst(&lock);
    if (!final_status_.ok()) return final_status_;
    if (slots_.empty()) return std::nullopt;
    const std::shared_ptr<Slot> slot = std::move(slots_.front());
    slots_.pop_front();
    lock.unlock();
    changed_.notify_all();
    clamped_ids_ += slot->clamped;
    counts_ = slot->counts;
    if (!slot->batch.ok()) {
      final_status_ = slot->batch.status();
      return final_status_;
    }
    return std::move(slot->batch).value();
  }

  int64_t rows_per_epoch() const override { return rows_per_epoch_; }
  int64_t clamped_ids() const override { return clamped_ids_; }
  ReadCounts counts() const override { return counts_; }
  std::shared_ptr<arrow::Schema> reserved_schema() const override { return decoder_->reserved_schema(); }
  std::string description() const override { return description_; }
  std::string sharing() const override { return sharing_; }
  bool shares() const override { return shared_with_.has_value(); }

 private:
  // A place in the stream. `cut` and `counts` (what had been read when it was cut) are written by the reader and then read by one decoder; `batch` and `clamped` are
  // written by that decoder (by the reader for an error) before `done` is set under the lock.
  struct Slot {
    CutBatch cut;
    ReadCounts counts;
    StatusOr<Batch> batch = Batch();
    int64_t clamped = 0;
    bool done = false;
  };

  // Until the first slot is done, or there is none and will be none.
  Status WaitForFirst(std::unique_lock<std::mutex>* lock) {
    const auto ready = [&] { return slots_.empty() ? all_cut_ : slots_.front()->done; };
    if (!shared_with_.has_value()) {
      changed_.wait(*lock, ready);
      return absl::OkStatus();
    }
    using Clock = std::chrono::steady_clock;
    Clock::duration waited(0);
    for (Clock::time_point before = Clock::now(); !changed_.wait_for(*lock, kLook, ready);) {
      const Clock::time_point now = Clock::now();
      if (now - before < kSuspended) waited += now - before;
      before = now;
      if (shared_with_->lost != nullptr) {
        PEPNET_RETURN_IF_ERROR(Annotate(shared_with_->lost(), "waiting for the next batch of the input files"));
      }
      const double seconds = std::chrono::duration<double>(waited).count();
      if (seconds < shared_with_->timeout_s) continue;
      const std::string missing = cutter_.rows()->WaitingFor();
      return absl::DeadlineExceededError(
          absl::StrCat("waited ", absl::SixDigits(seconds), " s for ",
                       missing.empty() ? "the next batch of the input files" : missing.c_str(),
                       ", nothing came; raise --timeout_s if the files are slow, or let each worker read alone with "
                       "--share_reader=off"));
    }
    return absl::OkStatus();
  }

  StatusOr<std::optional<CutBatch>> ReadAndCut() {
    TraceScope scope("read file");
    return cutter_.Next();
  }

  void ReadLoop() {
    bool more = true;
    while (more) {
      {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [&] { return stop_ || slots_.size() < capacity_; });
        if (stop_) return;
      }
      // Shared: the order queue and the decoder's queue both hold it, and either may let go first on a stop.
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
        const std::lock_guard<std::mutex> lock(mutex_);
        if (more) undecoded_.push_back(slot);
        if (more || slot->done) slots_.push_back(std::move(slot));
        all_cut_ = !more;
      }
      changed_.notify_all();
    }
  }

  void DecodeLoop() {
    while (true) {
      std::shared_ptr<Slot> slot;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [&] { return stop_ || !undecoded_.empty() || all_cut_; });
        if (stop_ || undecoded_.empty()) return;
        slot = std::move(undecoded_.front());
        undecoded_.pop_front();
      }
      slot->batch = decoder_->Decode(slot->cut, &slot->clamped);
      slot->cut = CutBatch();  // lets go of the rows
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        slot->done = true;
      }
      changed_.notify_all();
    }
  }

  // Reader thread only, but for Stop() and WaitingFor() of its rows.
  BatchCutter cutter_;
  // Fixed after construction.
  const std::unique_ptr<BatchDecoder> decoder_;
  const int64_t rows_per_epoch_;
  const std::string description_, sharing_;
  const std::optional<ReaderGroup> shared_with_;  // nullopt: this worker reads alone
  const size_t capacity_;
  std::vector<std::thread> threads_;
  // Thread of Next() only.
  Status final_status_;
  int64_t clamped_ids_ = 0;
  ReadCounts counts_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Slot>> slots_;      // guarded by mutex_: cut and not handed out, in order
  std::deque<std::shared_ptr<Slot>> undecoded_;  // guarded by mutex_
  bool all_cut_ = false;                         // guarded by mutex_: the reader has ended
  bool stop_ = false;                            // guarded by mutex_
};

// ALL_COLUMNS stands for every column of the first file that has any.
StatusOr<std::vector<std::string>> ExpandReserved(const std::vector<std::string>& reserved, const InputFiles& files,
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
  std::vector<std::string> sorted = expanded;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) return InvalidInput("the reserved column '", *twice, "' is asked for more than once");
  return expanded;
}

Status CheckOptions(const LoaderOptions& options) {
  if (options.batch_size <= 0) return InvalidInput("batch_size is ", options.batch_size, ", but must be positive");
  if (options.worker_count <= 0 || options.worker_index < 0 || options.worker_index >= options.worker_count) {
    return absl::InternalError(absl::StrCat("worker ", options.worker_index, " of ", options.worker_count));
  }
  if (options.contiguous && options.group.count() > 1) {
    return absl::InternalError("contiguous ranges are not shared");
  }
  if (options.contiguous && (options.shuffle || options.start.epoch != 0 || options.start.rows_in_epoch != 0)) {
    return absl::InternalError("contiguous ranges are neither shuffled nor resumed");
  }
  return absl::OkStatus();
}

// True if the workers of this host are to share the decoding; *why is the sentence for the log.
bool ChooseSharing(const LoaderOptions& options, const ReadShape& shape, std::string* why) {
  const int count = options.group.count();
  const double alone = DecodedPerRowAlone(shape);
  const std::string cost = absl::StrFormat("%.1f rows decoded for each row used", alone);
  const auto choose = [&](bool share, const std::string& reason) {
    *why = absl::StrCat(
        share ? absl::StrCat("the ", count, " workers of this host share the decoding") : "each worker decodes alone",
        ": ", reason);
    return share;
  };
  if (count < 2) return choose(false, "there is no other worker to share with on this host");
  if (options.share == ShareReader::kOff) return choose(false, absl::StrCat(cost, " (--share_reader=off)"));
  const std::string saving =
      absl::StrFormat("%.1f rows decoded for each row used become %.1f", alone, DecodedPerRowShared(shape, count));
  if (options.share == ShareReader::kOn) return choose(true, absl::StrCat(saving, " (--share_reader=on)"));
  if (shape.csv) return choose(false, "of CSV files only its own rows are decoded");
  if (!ShareByDefault(shape, count)) return choose(false, absl::StrCat(cost, ", sharing would save too little"));
  return choose(true, saving);
}

}  // namespace

StatusOr<std::unique_ptr<BatchLoader>> BatchLoader::Open(const JobConfig& config, const LoaderOptions& options) {
  PEPNET_RETURN_IF_ERROR(CheckOptions(options));
  PEPNET_ASSIGN_OR_RETURN(const InputFiles files,
                          FindInputFiles(options.input_path, config.data.dataset_type, config.data.dataset_type_name));
  const FileFormat format = FormatOf(config.data, files.type);
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> reserved,
                          ExpandReserved(options.reserved_columns, files, format));
  ColumnPlan plan = PlanColumns(config, options.read_labels, reserved);
  if (plan.names.empty()) return InvalidInput("the config has no feature, so no column of the input would be read");

  std::shared_ptr<arrow::Schema> reserved_schema;
  if (!reserved.empty()) {
    PEPNET_ASSIGN_OR_RETURN(const auto reader, OpenRowReader(files.paths.front(), format, reserved));
    reserved_schema = reader->schema();
  }

  auto stream = std::make_unique<RowStream>(files, format, plan.names);
  PEPNET_RETURN_IF_ERROR(stream->LearnRows());
  int64_t some_rows = stream->known_rows();
  if (some_rows < 0) {
    PEPNET_ASSIGN_OR_RETURN(some_rows, stream->Begin(1));
  }
  if (some_rows == 0) return InvalidInput("the input '", options.input_path, "' has no rows");
  int64_t rows = stream->known_rows();
  std::string description = absl::StrCat(files.paths.size(), files.type == DatasetType::kCsv ? " CSV" : " Parquet",
                                         files.paths.size() == 1 ? " file" : " files");

  CutOptions cut;
  cut.batch_size = options.batch_size;
  if (options.global_batch_size > 0) {
    cut.global_batch_size = options.global_batch_size;
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
    cut.range_begin = rows * options.worker_index / options.worker_count;
    cut.range_end = rows * (options.worker_index + 1) / options.worker_count;
    rows = cut.range_end - cut.range_begin;
    cut.worker_index = 0;
    cut.worker_count = 1;
    cut.drop_remainder = false;
  } else if (rows >= 0) {
    absl::StrAppend(&description, ", ", rows, " rows");
  }

  PEPNET_ASSIGN_OR_RETURN(
      auto decoder, BatchDecoder::Create(config, options, files.type, std::move(plan), std::move(reserved_schema)));
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const int decoding_threads = std::clamp(config.data.num_workers, 1, cores);
  const ReadShape shape = {files.type == DatasetType::kCsv, options.shuffle,
                           static_cast<double>(stream->largest_row_group()), static_cast<double>(cut.batch_size),
                           static_cast<double>(options.worker_count)};
  std::string sharing;
  std::unique_ptr<RowSequence> sequence;
  std::optional<ReaderGroup> shared_with;
  if (ChooseSharing(options, shape, &sharing)) {
    shared_with = options.group;
    PEPNET_ASSIGN_OR_RETURN(sequence, SharedRows::Join(std::move(stream), options.group));
  } else {
    sequence = std::move(stream);
  }
  return std::make_unique<PipelinedLoader>(BatchCutter(std::move(sequence), cut), std::move(decoder), decoding_threads,
                                           rows, std::move(description), std::move(sharing), std::move(shared_with));
}

}  // namespace pepnet

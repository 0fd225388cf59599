// BatchLoader: turns input files into the ordered stream of this worker's batches.
//
// Order:     files in sorted path order, or in that of LoaderOptions::paths, form one sequence of
//            rows per epoch; with `shuffle` the sequence is permuted within windows of
//            shuffle_buffer_size global batches from (seed, epoch, window). Global batch t of an
//            epoch is rows [t*G, (t+1)*G), G = worker_count * batch_size; worker w takes rows
//            [w*batch_size, (w+1)*batch_size) of it (law L2).
//            The same position and seed give the same stream, for any num_workers of reader
//            threads.
// Threads:   Next() from one thread. Owns one reader thread and up to num_workers decoding threads,
//            named "read-N"; the destructor joins them, also in the middle of the stream.
// Ownership: a returned Batch belongs to the caller.
// Deadline:  where the workers of a host share the decoding Next() waits group.timeout_s for a
//            batch, and ends when the job is lost; else it waits for the files alone, and its
//            caller watches that.
// Failure:   the first error ends the stream and is what Next() returns; it names file, row, column
//            and value. Aborted: another worker of this host, which shares the decoding, has gone.
//            Opening a set without rows is an error; a single empty file among others is not.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "common/base/status.h"
#include "common/job_config/job_config.h"
#include "worker/data/batch.h"
#include "worker/data/encode/encode_counts.h"
#include "worker/data/files/read_counts.h"
#include "worker/data/rows/reader_group.h"

namespace arrow {
class Schema;
}

namespace pepnet {

// The label columns that a Batch gets: all and the sample weights; that of domain_input_name alone;
// none.
enum class LabelSet { kAll, kDomain, kNone };

struct LoaderOptions {
  std::string input_path;  // comma list of paths and globs
  // The files that input_path stands for, in the order in which they are read; empty: found by it,
  // in sorted path order.
  std::vector<std::string> paths;
  int64_t batch_size = 1024;  // per worker
  // Rows of a global batch where that is not worker_count * batch_size (evaluation): it is cut into
  // worker_count slices of equal size, the last ones shorter. 0: worker_count * batch_size.
  int64_t global_batch_size = 0;
  int worker_index = 0;
  int worker_count = 1;
  uint64_t seed = 0;
  bool shuffle = false;
  int64_t shuffle_buffer_size = 32;
  bool drop_remainder = false;  // drops the last short *global* batch of an epoch
  // Those that are not read may be absent from the files, as in predict.
  LabelSet labels = LabelSet::kAll;
  bool event_times = false;  // whether DataConfig::event_time is read
  bool farm_hash = false;    // --hash=farm
  // opt-in: ids out of range read row 0, counted in clamped_ids()
  bool clamp_out_of_range = false;
  int64_t max_epochs = 1;  // 0: endless
  DataPosition start;      // resume after this position
  // Predict: worker w takes one contiguous range of the rows instead of interleaved slices; batches
  // of batch_size. Not together with shuffle or start; drop_remainder has no effect.
  bool contiguous = false;
  // Columns of the input to be carried along with their types (predict's reserved columns;
  // ALL_COLUMNS expands on open).
  std::vector<std::string> reserved_columns;
  // Workers of this host with which this one may share the decoding; all of them then open and read
  // the same batches at about the same pace (see SharedRows). Not together with contiguous.
  ReaderGroup group;
  ShareReader share = ShareReader::kAuto;
};

class BatchLoader {
 public:
  static StatusOr<std::unique_ptr<BatchLoader>> Open(const JobConfig& config,
                                                     const LoaderOptions& options);
  ~BatchLoader();

  // The next batch, or nullopt after the last batch of the last epoch. All workers see the same
  // number of batches (a worker without rows in a global batch gets one with rows == 0), except
  // with `contiguous`.
  StatusOr<std::optional<Batch>> Next();

  // Rows of one epoch where that is known without reading the data (Parquet), else -1.
  // With `contiguous`: the rows of this worker, always known.
  int64_t rows_per_epoch() const;
  // By file, in the order of reading, where that is known without reading the data (Parquet), else
  // empty.
  std::vector<int64_t> rows_by_file() const;
  // Ids replaced by row 0 in the batches returned so far (0 unless clamp_out_of_range).
  int64_t clamped_ids() const { return encode_counts().clamped; }
  // Counts of what the encoding of the batches returned so far has replaced; until the next call of
  // Next().
  const EncodeCounts& encode_counts() const;
  // The division of the decoding, and its reason: "each worker decodes its rows alone: ...", for
  // the log.
  std::string sharing() const;
  // Whether this worker shares the decoding with others.
  bool shares() const;
  // The rows and bytes read of the files for the batches returned so far, and for those that were
  // cut ahead of them.
  ReadCounts counts() const;
  // Names and types of Batch::reserved, known before the first batch; null without reserved
  // columns.
  std::shared_ptr<arrow::Schema> reserved_schema() const;
  // "3 Parquet files, 20000 rows", for the plan printed at start.
  std::string description() const;

 private:
  // The threads and what lies between them; it sees Arrow, of which this header's users know
  // nothing.
  class Pipeline;
  explicit BatchLoader(std::unique_ptr<Pipeline> pipeline);
  const std::unique_ptr<Pipeline> pipeline_;
};

}  // namespace pepnet

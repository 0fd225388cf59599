// RowReader: the rows of one input file in order, only the columns that are asked for.
//
// One implementation per file format (FileFormatType), all of which run one conformance test.
// Threads:   one reader is used by one thread; the chunks it returns are immutable and may be
//            shared.
// Rows:      are numbered from 0 within their file (messages say row + 1); a CSV header is not a
//            row.
// Failure:   one sentence that names the file and, where there is one, row and column.
#pragma once

#include <arrow/record_batch.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/data_config.h"
#include "worker/data/files/read_counts.h"

namespace pepnet {

// Some rows of one file: consecutive ones, or those that `numbers` names.
struct RowChunk {
  // Shared by the batches that still decode from it; columns as asked for.
  std::shared_ptr<arrow::RecordBatch> rows;
  std::shared_ptr<const std::string> path;
  // Number of the chunk's first row within its file.
  int64_t first_row = 0;
  // Of each row within its file; null: consecutive ones.
  std::shared_ptr<const std::vector<int64_t>> numbers;

  // Number of the chunk's row `row` within its file.
  int64_t Number(int64_t row) const {
    return numbers == nullptr ? first_row + row : (*numbers)[row];
  }
};

// Some consecutive rows of one file, of which only a few may be wanted: CSV rows are decoded when
// they are picked. Immutable; used by the reader's thread.
class BufferedRows {
 public:
  virtual ~BufferedRows() = default;
  virtual int64_t size() const = 0;

  struct Picked {
    RowChunk chunk;
    std::vector<int64_t> at;  // where the rows stand in it, in the order of the request
  };
  // `rows`: between 0 and size() - 1, any order. Error: as RowReader.
  virtual StatusOr<Picked> Pick(std::span<const int64_t> rows) const = 0;
};

// Rows that are decoded already: picking is free.
std::shared_ptr<const BufferedRows> BufferDecoded(RowChunk chunk);

// The rules by which the bytes of a file are read.
struct FileFormat {
  DatasetType type = DatasetType::kCsv;
  // CSV only:
  char delimiter = ',';
  bool with_header = false;
  std::vector<std::string> field_names;  // all columns in file order; used if !with_header
};

FileFormat FormatOf(const DataConfig& data, DatasetType type);

class RowReader {
 public:
  virtual ~RowReader() = default;

  // Up to `max_rows` (> 0) next rows, at least one unless the file is at its end: then a chunk with
  // zero rows.
  virtual StatusOr<RowChunk> Read(int64_t max_rows) = 0;
  // As Read(), but rows that nobody picks need not be decoded. Zero rows only at the end of the
  // file.
  virtual StatusOr<std::shared_ptr<const BufferedRows>> Buffer(int64_t max_rows) = 0;
  // Skips up to `max_rows` rows as cheaply as the format allows. Returns how many; fewer only
  // at the end.
  virtual StatusOr<int64_t> Skip(int64_t max_rows) = 0;
  // Rows of the whole file where that is known without reading it (Parquet), else -1.
  virtual int64_t known_rows() const = 0;
  // The next rows that one reader had best decode alone: Parquet the rest of the row group (0 at
  // the end of the file), CSV a fixed number, of which the file may have fewer. A function of the
  // file and the position.
  virtual int64_t RowsTogether() const = 0;
  // Types of the columns asked for, in their order. CSV: all utf8.
  virtual const std::shared_ptr<arrow::Schema>& schema() const = 0;
};

// A file format provides these, in a file of its own (csv_reader.cc, parquet_reader.cc). Callers go
// through the functions below, which mean the same.
struct FormatReader {
  StatusOr<std::unique_ptr<RowReader>> (*open)(const std::string& path, const FileFormat& format,
                                               const std::vector<std::string>& columns,
                                               std::shared_ptr<ReadCounts> counts);
  StatusOr<std::vector<std::string>> (*list_columns)(const std::string& path,
                                                     const FileFormat& format);
  // null: rows are not FileFormatType::decoded_in_groups
  StatusOr<int64_t> (*largest_group)(const std::string& path);
};
// The format's file specialises it; without, the program does not link.
template <DatasetType type>
const FormatReader& ReaderOfFormat();

// Opens `path` for `columns` (unique names, at least one). A column that the file lacks is an error
// that lists what it has; a CSV file without a single byte has zero rows and no header to check.
// The cost of the reader and the rows it holds is added to `counts` (may be null), which outlives
// the reader because buffered rows do.
StatusOr<std::unique_ptr<RowReader>> OpenRowReader(const std::string& path,
                                                   const FileFormat& format,
                                                   const std::vector<std::string>& columns,
                                                   std::shared_ptr<ReadCounts> counts = nullptr);

// Names of all columns of a file in file order; empty for a CSV file without a single byte.
StatusOr<std::vector<std::string>> ListColumns(const std::string& path, const FileFormat& format);

// Rows of the largest group that is decoded as a whole to get at one row; 0 for a file without
// rows, and for formats whose rows are decoded one by one.
StatusOr<int64_t> LargestRowGroup(const std::string& path, DatasetType type);

// Index of `name` in `columns`. Errors: absent (lists the columns), or there twice.
StatusOr<int> FindColumn(const std::string& path, const std::vector<std::string>& columns,
                         const std::string& name);

}  // namespace pepnet

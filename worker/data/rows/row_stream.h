// RowStream: the rows of all input files, read by this process.
//
// Threads: used by one thread. Failure: as RowReader.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "worker/data/files/input_files.h"
#include "worker/data/rows/row_sequence.h"

namespace pepnet {

class RowStream : public RowSequence {
 public:
  // `columns` are those that the chunks will hold.
  RowStream(InputFiles files, FileFormat format, std::vector<std::string> columns);

  // Formats that are decoded in groups (Parquet): opens every file once, checks its columns and
  // learns its rows. Others (CSV): does nothing.
  Status LearnRows();
  // Rows of all files if known without reading them, else -1.
  int64_t known_rows() const { return known_rows_; }
  // By file, if known without reading them, else empty.
  const std::vector<int64_t>& rows_by_file() const { return file_rows_; }
  // Parquet, after LearnRows(): rows of the largest row group; else 0.
  int64_t largest_row_group() const { return largest_row_group_; }
  // Reads or skims through all files and counts; leaves the stream at its first row.
  StatusOr<int64_t> CountRows();
  const std::vector<std::string>& paths() const { return files_.paths; }
  const std::vector<std::string>& columns() const { return columns_; }

  StatusOr<int64_t> Begin(int64_t first_row) override;  // at any time
  Status Read(int64_t max_rows, RowSelection* selection) override;
  Status Buffer(int64_t max_rows, BufferedRowsList* buffered) override;
  StatusOr<int64_t> Skip(int64_t max_rows) override;
  ReadCounts counts() const override { return *counts_; }

  // ---- file by file, for SharedRows -------------------------------------------------------------
  // RowReader::RowsTogether() of the file in which the next row lies, whose index goes to *file. 0
  // at the end of the last file. Of CSV files the file may have fewer rows, even none.
  StatusOr<int64_t> RowsTogether(size_t* file);
  // Of that file only: up to `max_rows` rows, none at its end, where the next call goes to the next
  // file.
  StatusOr<RowChunk> ReadInFile(int64_t max_rows);
  StatusOr<int64_t> SkipInFile(int64_t max_rows);

 private:
  // Opens file number file_ if no reader is open. Precondition: there is such a file.
  Status OpenReader();
  bool AtEnd() const { return file_ == files_.paths.size(); }
  void NextFile();

  const InputFiles files_;
  const FileFormat format_;
  const std::vector<std::string> columns_;
  // Shared with rows that readers hold.
  const std::shared_ptr<ReadCounts> counts_ = std::make_shared<ReadCounts>();
  // By file; empty if not known.
  std::vector<int64_t> file_rows_;
  int64_t known_rows_ = -1;
  int64_t largest_row_group_ = 0;
  size_t file_ = 0;
  std::unique_ptr<RowReader> reader_;  // of file_; null before its first row is needed
};

}  // namespace pepnet

// RowStream: the rows of all input files in sorted path order as one sequence that can be read and skipped.
//
// Threads: used by one thread. Failure: as RowReader.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "worker/data/input_files.h"
#include "worker/data/row_reader.h"
#include "worker/data/row_selection.h"

namespace pepnet {

class RowStream {
 public:
  // `columns` are those that the chunks will hold.
  RowStream(InputFiles files, FileFormat format, std::vector<std::string> columns);

  // Parquet: opens every file once, checks its columns and learns its rows. CSV: does nothing.
  Status LearnRows();
  // Rows of all files if known without reading them, else -1.
  int64_t known_rows() const { return known_rows_; }
  // Reads or skims through all files and counts; leaves the stream rewound.
  StatusOr<int64_t> CountRows();

  // Back to the first row of the first file.
  void Rewind();
  // Appends up to `max_rows` rows to the selection; fewer only at the end of the last file.
  Status Read(int64_t max_rows, RowSelection* selection);
  // Passes over up to `max_rows` rows. Returns how many; fewer only at the end of the last file.
  StatusOr<int64_t> Skip(int64_t max_rows);

 private:
  // Opens file number file_ if no reader is open. Precondition: there is such a file.
  Status OpenReader();
  bool AtEnd() const { return file_ == files_.paths.size(); }
  void NextFile();

  const InputFiles files_;
  const FileFormat format_;
  const std::vector<std::string> columns_;
  std::vector<int64_t> file_rows_;  // by file; empty if not known
  int64_t known_rows_ = -1;
  size_t file_ = 0;
  std::unique_ptr<RowReader> reader_;  // of file_; null before its first row is needed
};

}  // namespace pepnet

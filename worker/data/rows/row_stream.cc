#include "worker/data/rows/row_stream.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "worker/data/files/row_reader.h"

namespace pepnet {

RowStream::RowStream(InputFiles files, FileFormat format, std::vector<std::string> columns)
    : files_(std::move(files)), format_(std::move(format)), columns_(std::move(columns)) {}

Status RowStream::LearnRows() {
  // The rows of grouped formats stand in the footers, so counting costs an open per file. It also
  // checks all columns before training starts, instead of hours later at the file that lacks one.
  if (!TypeOf(format_.type).decoded_in_groups) return absl::OkStatus();
  file_rows_.clear();
  known_rows_ = largest_row_group_ = 0;
  for (const std::string& path : files_.paths) {
    PEPNET_ASSIGN_OR_RETURN(const auto reader, OpenRowReader(path, format_, columns_));
    file_rows_.push_back(reader->known_rows());
    known_rows_ += file_rows_.back();
    PEPNET_ASSIGN_OR_RETURN(const int64_t largest, LargestRowGroup(path, format_.type));
    largest_row_group_ = std::max(largest_row_group_, largest);
  }
  return absl::OkStatus();
}

StatusOr<int64_t> RowStream::CountRows() {
  if (known_rows_ >= 0) return known_rows_;
  // Skipping to a row that cannot exist counts all rows on the way.
  PEPNET_ASSIGN_OR_RETURN(const int64_t rows, Begin(std::numeric_limits<int64_t>::max()));
  PEPNET_RETURN_IF_ERROR(Begin(0).status());
  return rows;
}

StatusOr<int64_t> RowStream::Begin(int64_t first_row) {
  file_ = 0;
  reader_ = nullptr;
  return Skip(first_row);
}

void RowStream::NextFile() {
  ++file_;
  reader_ = nullptr;
}

Status RowStream::OpenReader() {
  if (reader_ != nullptr) return absl::OkStatus();
  PEPNET_ASSIGN_OR_RETURN(reader_, OpenRowReader(files_.paths[file_], format_, columns_, counts_));
  return absl::OkStatus();
}

Status RowStream::Read(int64_t max_rows, RowSelection* selection) {
  while (max_rows > 0 && !AtEnd()) {
    // An empty chunk is the end of a file, of which there may be several in a row.
    PEPNET_ASSIGN_OR_RETURN(RowChunk chunk, ReadInFile(max_rows));
    const int64_t count = chunk.rows->num_rows();
    if (count == 0) continue;
    selection->chunks.push_back(std::move(chunk));
    selection->AddRun(static_cast<int>(selection->chunks.size()) - 1, 0, count);
    max_rows -= count;
  }
  return absl::OkStatus();
}

Status RowStream::Buffer(int64_t max_rows, BufferedRowsList* buffered) {
  while (max_rows > 0 && !AtEnd()) {
    PEPNET_RETURN_IF_ERROR(OpenReader());
    PEPNET_ASSIGN_OR_RETURN(auto rows, reader_->Buffer(max_rows));
    if (rows->size() == 0) {
      NextFile();
      continue;
    }
    max_rows -= rows->size();
    buffered->push_back(std::move(rows));
  }
  return absl::OkStatus();
}

StatusOr<int64_t> RowStream::Skip(int64_t max_rows) {
  int64_t skipped = 0;
  while (skipped < max_rows && !AtEnd()) {
    // A file whose rows are known need not be opened to skip all of it.
    if (reader_ == nullptr && !file_rows_.empty() && file_rows_[file_] <= max_rows - skipped) {
      skipped += file_rows_[file_];
      counts_->passed_rows += file_rows_[file_];
      NextFile();
      continue;
    }
    PEPNET_ASSIGN_OR_RETURN(const int64_t count, SkipInFile(max_rows - skipped));
    skipped += count;
  }
  return skipped;
}

StatusOr<int64_t> RowStream::RowsTogether(size_t* file) {
  while (!AtEnd()) {
    PEPNET_RETURN_IF_ERROR(OpenReader());
    *file = file_;
    if (const int64_t rows = reader_->RowsTogether(); rows > 0) return rows;
    NextFile();
  }
  return 0;
}

StatusOr<RowChunk> RowStream::ReadInFile(int64_t max_rows) {
  PEPNET_RETURN_IF_ERROR(OpenReader());
  PEPNET_ASSIGN_OR_RETURN(RowChunk chunk, reader_->Read(max_rows));
  if (chunk.rows->num_rows() == 0) NextFile();
  return chunk;
}

StatusOr<int64_t> RowStream::SkipInFile(int64_t max_rows) {
  PEPNET_RETURN_IF_ERROR(OpenReader());
  PEPNET_ASSIGN_OR_RETURN(const int64_t count, reader_->Skip(max_rows));
  // Fewer rows than asked for are the end of the file.
  if (count < max_rows) NextFile();
  return count;
}

}  // namespace pepnet

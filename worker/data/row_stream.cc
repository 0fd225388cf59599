#include "worker/data/row_stream.h"

#include <limits>
#include <utility>

namespace pepnet {

RowStream::RowStream(InputFiles files, FileFormat format, std::vector<std::string> columns)
    : files_(std::move(files)), format_(std::move(format)), columns_(std::move(columns)) {}

Status RowStream::LearnRows() {
  if (format_.type != DatasetType::kParquet) return absl::OkStatus();
  file_rows_.clear();
  known_rows_ = 0;
  for (const std::string& path : files_.paths) {
    PEPNET_ASSIGN_OR_RETURN(const auto reader, OpenRowReader(path, format_, columns_));
    file_rows_.push_back(reader->known_rows());
    known_rows_ += file_rows_.back();
  }
  return absl::OkStatus();
}

StatusOr<int64_t> RowStream::CountRows() {
  if (known_rows_ >= 0) return known_rows_;
  Rewind();
  PEPNET_ASSIGN_OR_RETURN(const int64_t rows, Skip(std::numeric_limits<int64_t>::max()));
  Rewind();
  return rows;
}

void RowStream::Rewind() {
  file_ = 0;
  reader_ = nullptr;
}

void RowStream::NextFile() {
  ++file_;
  reader_ = nullptr;
}

Status RowStream::OpenReader() {
  if (reader_ != nullptr) return absl::OkStatus();
  PEPNET_ASSIGN_OR_RETURN(reader_, OpenRowReader(files_.paths[file_], format_, columns_));
  return absl::OkStatus();
}

Status RowStream::Read(int64_t max_rows, RowSelection* selection) {
  while (max_rows > 0 && !AtEnd()) {
    PEPNET_RETURN_IF_ERROR(OpenReader());
    PEPNET_ASSIGN_OR_RETURN(RowChunk chunk, reader_->Read(max_rows));
    const int64_t count = chunk.rows->num_rows();
    if (count == 0) {
      NextFile();
      continue;
    }
    selection->chunks.push_back(std::move(chunk));
    selection->AddRun(static_cast<int>(selection->chunks.size()) - 1, 0, count);
    max_rows -= count;
  }
  return absl::OkStatus();
}

StatusOr<int64_t> RowStream::Skip(int64_t max_rows) {
  int64_t skipped = 0;
  while (skipped < max_rows && !AtEnd()) {
    if (reader_ == nullptr && !file_rows_.empty() && file_rows_[file_] <= max_rows - skipped) {
      skipped += file_rows_[file_];
      NextFile();
      continue;
    }
    PEPNET_RETURN_IF_ERROR(OpenReader());
    PEPNET_ASSIGN_OR_RETURN(const int64_t count, reader_->Skip(max_rows - skipped));
    skipped += count;
    if (skipped < max_rows) NextFile();
  }
  return skipped;
}

}  // namespace pepnet

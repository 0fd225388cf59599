#include "worker/data/csv_reader.h"

#include <arrow/array/builder_binary.h>
#include <arrow/type.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>

namespace pepnet {
namespace {

constexpr size_t kBlockBytes = size_t{1} << 20;
constexpr size_t kMaxRecordBytes = size_t{64} << 20;
// Bounds of one chunk; text offsets are 32 bits wide.
constexpr int64_t kMaxChunkRows = 65536;
constexpr size_t kMaxChunkBytes = size_t{64} << 20;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// Cuts a file into records: lines, except that a quoted field may hold line ends.
class RecordScanner {
 public:
  RecordScanner(std::string path, char delimiter) : path_(std::move(path)), delimiter_(delimiter) {}
  ~RecordScanner() {
    if (fd_ >= 0) close(fd_);
  }

  Status Open() {
    fd_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0) return absl::NotFoundError(absl::StrCat("cannot open '", path_, "': ", std::strerror(errno)));
    PEPNET_RETURN_IF_ERROR(Refill());
    if (std::string_view(buffer_.data(), end_).substr(0, kByteOrderMark.size()) == kByteOrderMark) {
      begin_ = kByteOrderMark.size();
    }
    return absl::OkStatus();
  }

  // The next record that is not an empty line, without its line end; nullopt at the end of the file. The view dies with
  // the next call. `row` is its number, for messages.
  StatusOr<std::optional<std::string_view>> Next(int64_t row) {
    while (true) {
      size_t record_end = 0, next = 0;
      while (!FindEnd(&record_end, &next)) {
        if (end_of_file_) {
          if (begin_ == end_) return std::nullopt;
          if (in_quotes_) return InvalidInput("'", path_, "' row ", row + 1, ": the file ends inside a quoted field");
          record_end = next = end_;
          break;
        }
        if (end_ - begin_ > kMaxRecordBytes) {
          return InvalidInput("'", path_, "' row ", row + 1, " is longer than ", kMaxRecordBytes >> 20,
                              " MiB; is a quote not closed?");
        }
        PEPNET_RETURN_IF_ERROR(Refill());
      }
      std::string_view record(buffer_.data() + begin_, record_end - begin_);
      const bool line_end = next > record_end;
      begin_ = next;
      if (line_end && !record.empty() && record.back() == '\r') record.remove_suffix(1);
      if (!record.empty()) return record;
    }
  }

 private:
  // Finds the first line end behind begin_ that is not quoted. False if the buffer ends before.
  bool FindEnd(size_t* record_end, size_t* next) {
    const char* const begin = buffer_.data() + begin_;
    const size_t size = end_ - begin_;
    const void* newline = size > 0 ? std::memchr(begin, '\n', size) : nullptr;
    const size_t line = newline != nullptr ? static_cast<const char*>(newline) - begin : size;
    in_quotes_ = false;
    if (line > 0 && std::memchr(begin, '"', line) != nullptr) return FindEndWithQuotes(record_end, next);
    if (newline == nullptr) return false;
    *record_end = begin_ + line;
    *next = *record_end + 1;
    return true;
  }

  bool FindEndWithQuotes(size_t* record_end, size_t* next) {
    enum class State { kFieldStart, kPlain, kQuoted, kQuoteInQuoted };
    State state = State::kFieldStart;
    for (size_t i = begin_; i < end_; ++i) {
      const char c = buffer_[i];
      if (state == State::kQuoted) {
        if (c == '"') state = State::kQuoteInQuoted;
      } else if (c == '\n') {
        *record_end = i;
        *next = i + 1;
        return true;
      } else if (c == delimiter_) {
        state = State::kFieldStart;
      } else if (c == '"' && state != State::kPlain) {
        state = State::kQuoted;  // opens the field, or is the second of a doubled quote
      } else {
        state = State::kPlain;
      }
    }
    in_quotes_ = state == State::kQuoted;
    return false;
  }

  // Reads one more block behind what is still needed.
  Status Refill() {
    if (begin_ > 0) {
      std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    // Doubling keeps the repeated search in one long record linear.
    if (buffer_.size() < end_ + kBlockBytes) buffer_.resize(std::max(end_ + kBlockBytes, 2 * buffer_.size()));
    while (true) {
      const ssize_t got = read(fd_, buffer_.data() + end_, buffer_.size() - end_);
      if (got > 0) {
        end_ += static_cast<size_t>(got);
        return absl::OkStatus();
      }
      if (got == 0) {
        end_of_file_ = true;
        return absl::OkStatus();
      }
      if (errno != EINTR) {
        return absl::UnavailableError(absl::StrCat("cannot read '", path_, "': ", std::strerror(errno)));
      }
    }
  }

  const std::string path_;
  const char delimiter_;
  int fd_ = -1;
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;  // unread bytes of buffer_
  bool end_of_file_ = false;
  bool in_quotes_ = false;  // the last search ended inside a quoted field
};

// Calls cell(field index, text) for every field of a record. `scratch` holds a field whose quotes had to be removed.
// False at text behind a closing quote; the field index is then in *bad_field.
template <typename CellFunction>
bool SplitRecord(std::string_view record, char delimiter, std::string* scratch, CellFunction cell, int* fields) {
  size_t at = 0;
  int field = 0;
  while (true) {
    if (at < record.size() && record[at] == '"') {
      scratch->clear();
      ++at;
      while (true) {
        const size_t quote = record.find('"', at);
        if (quote == std::string_view::npos) break;  // cannot be: the scanner ends records outside of quotes
        scratch->append(record.substr(at, quote - at));
        at = quote + 1;
        if (at >= record.size() || record[at] != '"') break;
        scratch->push_back('"');
        ++at;
      }
      if (at < record.size() && record[at] != delimiter) {
        *fields = field;
        return false;
      }
      cell(field, std::string_view(*scratch));
    } else {
      const size_t stop = std::min(record.find(delimiter, at), record.size());
      cell(field, record.substr(at, stop - at));
      at = stop;
    }
    ++field;
    if (at >= record.size()) break;
    ++at;  // the delimiter
  }
  *fields = field;
  return true;
}

StatusOr<std::vector<std::string>> ReadHeader(const std::string& path, char delimiter, RecordScanner* scanner) {
  std::vector<std::string> names;
  PEPNET_ASSIGN_OR_RETURN(const auto record, scanner->Next(0));
  if (!record.has_value()) return names;
  std::string scratch;
  int fields = 0;
  const auto add = [&](int, std::string_view text) { names.emplace_back(text); };
  if (!SplitRecord(*record, delimiter, &scratch, add, &fields)) {
    return InvalidInput("'", path, "' header, column ", fields + 1, ": there is text behind the closing quote");
  }
  return names;
}

class CsvReader : public RowReader {
 public:
  CsvReader(const std::string& path, const FileFormat& format)
      : path_(std::make_shared<const std::string>(path)), format_(format), scanner_(path, format.delimiter) {}

  Status Open(const std::vector<std::string>& columns) {
    PEPNET_RETURN_IF_ERROR(scanner_.Open());
    names_ = format_.field_names;
    bool no_header = false;
    if (format_.with_header) {
      PEPNET_ASSIGN_OR_RETURN(names_, ReadHeader(*path_, format_.delimiter, &scanner_));
      no_header = names_.empty();
    }
    arrow::FieldVector schema_fields;
    output_of_field_.assign(names_.size(), -1);
    for (size_t i = 0; i < columns.size(); ++i) {
      schema_fields.push_back(arrow::field(columns[i], arrow::utf8()));
      if (no_header) continue;
      PEPNET_ASSIGN_OR_RETURN(const int field, FindColumn(*path_, names_, columns[i]));
      output_of_field_[field] = static_cast<int>(i);
    }
    schema_ = arrow::schema(std::move(schema_fields));
    return absl::OkStatus();
  }

  StatusOr<RowChunk> Read(int64_t max_rows) override {
    const int64_t limit = std::min(max_rows, kMaxChunkRows);
    std::vector<arrow::StringBuilder> builders(schema_->num_fields());
    const int64_t first_row = row_;
    size_t bytes = 0;
    while (row_ - first_row < limit && bytes < kMaxChunkBytes) {
      PEPNET_ASSIGN_OR_RETURN(const auto record, scanner_.Next(row_));
      if (!record.has_value()) break;
      PEPNET_RETURN_IF_ERROR(AppendRecord(*record, &builders));
      bytes += record->size();
      ++row_;
    }
    arrow::ArrayVector arrays;
    for (arrow::StringBuilder& builder : builders) {
      arrow::Result<std::shared_ptr<arrow::Array>> array = builder.Finish();
      if (!array.ok()) return OutOfMemory(array.status());
      arrays.push_back(std::move(array).ValueOrDie());
    }
    return RowChunk{arrow::RecordBatch::Make(schema_, row_ - first_row, std::move(arrays)), path_, first_row};
  }

  StatusOr<int64_t> Skip(int64_t max_rows) override {
    int64_t skipped = 0;
    for (; skipped < max_rows; ++skipped, ++row_) {
      PEPNET_ASSIGN_OR_RETURN(const auto record, scanner_.Next(row_));
      if (!record.has_value()) break;
    }
    return skipped;
  }

  int64_t known_rows() const override { return -1; }
  const std::shared_ptr<arrow::Schema>& schema() const override { return schema_; }

 private:
  Status AppendRecord(std::string_view record, std::vector<arrow::StringBuilder>* builders) {
    arrow::Status appended;
    const auto cell = [&](int field, std::string_view text) {
      const int output = field < static_cast<int>(output_of_field_.size()) ? output_of_field_[field] : -1;
      if (output < 0) return;
      arrow::StringBuilder& builder = (*builders)[output];
      const arrow::Status status = text.empty() ? builder.AppendNull() : builder.Append(text);
      if (!status.ok()) appended = status;
    };
    int fields = 0;
    if (!SplitRecord(record, format_.delimiter, &scratch_, cell, &fields)) {
      return InvalidInput(
          "'", *path_, "' row ", row_ + 1, ", column ",
          fields < static_cast<int>(names_.size()) ? absl::StrCat("'", names_[fields], "'") : absl::StrCat(fields + 1),
          ": there is text behind the closing quote");
    }
    if (fields != static_cast<int>(names_.size())) {
      return InvalidInput("'", *path_, "' row ", row_ + 1, " has ", fields, " cells, but there are ", names_.size(),
                          " columns", format_.with_header ? " in the header" : " in input_fields",
                          "; is the delimiter '", std::string(1, format_.delimiter), "' right?");
    }
    if (!appended.ok()) return OutOfMemory(appended);
    return absl::OkStatus();
  }

  Status OutOfMemory(const arrow::Status& status) const {
    return absl::ResourceExhaustedError(absl::StrCat("reading '", *path_, "': ", status.message()));
  }

  const std::shared_ptr<const std::string> path_;  // shared with the chunks, which outlive the reader
  const FileFormat format_;
  RecordScanner scanner_;
  std::vector<std::string> names_;    // of all fields in the file
  std::vector<int> output_of_field_;  // -1: not asked for
  std::shared_ptr<arrow::Schema> schema_;
  std::string scratch_;
  int64_t row_ = 0;  // number of the next row
};

Status CheckFormat(const FileFormat& format) {
  if (format.with_header || !format.field_names.empty()) return absl::OkStatus();
  return InvalidInput(
      "the columns of the CSV files have no names: set data_config.with_header to true, or list all "
      "columns in data_config.input_fields");
}

}  // namespace

StatusOr<std::unique_ptr<RowReader>> OpenCsvReader(const std::string& path, const FileFormat& format,
                                                   const std::vector<std::string>& columns) {
  PEPNET_RETURN_IF_ERROR(CheckFormat(format));
  auto reader = std::make_unique<CsvReader>(path, format);
  PEPNET_RETURN_IF_ERROR(reader->Open(columns));
  return reader;
}

StatusOr<std::vector<std::string>> ListCsvColumns(const std::string& path, const FileFormat& format) {
  PEPNET_RETURN_IF_ERROR(CheckFormat(format));
  if (!format.with_header) return format.field_names;
  RecordScanner scanner(path, format.delimiter);
  PEPNET_RETURN_IF_ERROR(scanner.Open());
  return ReadHeader(path, format.delimiter, &scanner);
}

}  // namespace pepnet

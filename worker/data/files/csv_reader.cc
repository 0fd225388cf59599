#include "worker/data/files/csv_reader.h"

#include <arrow/array/builder_binary.h>
#include <arrow/type.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <set>
#include <string_view>

#include "common/file/owned_fd.h"

namespace pepnet {
namespace {

constexpr size_t kBlockBytes = size_t{1} << 20;
constexpr size_t kMaxRecordBytes = size_t{64} << 20;
// Bounds of one chunk; text offsets are 32 bits wide.
constexpr int64_t kMaxChunkRows = 65536;
constexpr size_t kMaxChunkBytes = size_t{64} << 20;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr size_t kMaxColumns = size_t{1} << 20;  // in a header: each name takes 32 bytes and more

// The first bytes of files that are no text, and what to do about each.
struct Beginning {
  std::string_view bytes;
  const char* remedy;
};
constexpr Beginning kNoText[] = {
    {"\x1f\x8b", "is compressed (gzip); unpack it first: gunzip"},
    {"BZh91AY&SY", "is compressed (bzip2); unpack it first: bunzip2"},
    {"\x28\xb5\x2f\xfd", "is compressed (zstd); unpack it first: unzstd"},
    {std::string_view("\xfd\x37zXZ\0", 6), "is compressed (xz); unpack it first: unxz"},
    {"PK\x03\x04", "is a zip archive or an Excel workbook; save its table as CSV"},
    {"PAR1", "is Parquet; set data_config.dataset_type to ParquetDataset"},
    {"\xff\xfe", "is UTF-16; save it as UTF-8"},
    {"\xfe\xff", "is UTF-16; save it as UTF-8"},
};

// Cuts a file into records: lines, except that a quoted field may hold line ends.
class RecordScanner {
 public:
  // counts: may be null; only bytes are counted here.
  RecordScanner(std::string path, char delimiter, ReadCounts* counts = nullptr)
      : path_(std::move(path)), delimiter_(delimiter), counts_(counts) {}

  Status Open() {
    fd_ = OwnedFd(open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd_.valid()) {
      return absl::NotFoundError(absl::StrCat("cannot open '", path_, "': ", std::strerror(errno)));
    }
    // The first block is read at once: what begins like another format is refused with a remedy,
    // instead of as a row with a wrong number of cells.
    PEPNET_RETURN_IF_ERROR(Refill());
    const std::string_view start(buffer_.data(), end_);
    for (const Beginning& beginning : kNoText) {
      if (start.substr(0, beginning.bytes.size()) != beginning.bytes) continue;
      return InvalidInput("cannot read '", path_, "' as CSV: it ", beginning.remedy);
    }
    if (start.substr(0, kByteOrderMark.size()) == kByteOrderMark) begin_ = kByteOrderMark.size();
    return absl::OkStatus();
  }

  // The record that the first Next() returns, which it still returns after this.
  StatusOr<std::optional<std::string_view>> Peek() {
    PEPNET_ASSIGN_OR_RETURN(const std::optional<std::string_view> record, Next(0));
    if (record.has_value()) begin_ = static_cast<size_t>(record->data() - buffer_.data());
    return record;
  }

  // The next record that is not an empty line, without its line end; nullopt at the end of the
  // file. The view dies with the next call. `row` is its number, for messages.
  StatusOr<std::optional<std::string_view>> Next(int64_t row) {
    while (true) {
      size_t record_end = 0, next = 0;
      // A record may be longer than the buffer: more is read until its end is in it.
      while (!FindEnd(&record_end, &next)) {
        if (end_of_file_) {
          if (begin_ == end_) return std::nullopt;
          // An open quote at the end would make one cell of the rest of the file, silently.
          if (in_quotes_) {
            return InvalidInput("'", path_, "' row ", row + 1,
                                ": the file ends inside a quoted field");
          }
          // A last line without a line end is a record all the same.
          record_end = next = end_;
          break;
        }
        if (end_ - begin_ > kMaxRecordBytes) {
          return InvalidInput("'", path_, "' row ", row + 1, " is longer than ",
                              kMaxRecordBytes >> 20, " MiB; is a quote not closed?");
        }
        PEPNET_RETURN_IF_ERROR(Refill());
      }
      std::string_view record(buffer_.data() + begin_, record_end - begin_);
      // "\r" belongs to the line end only where there is one; at the end of the file it is data.
      const bool line_end = next > record_end;
      begin_ = next;
      if (line_end && !record.empty() && record.back() == '\r') record.remove_suffix(1);
      if (!record.empty()) return record;
    }
  }

 private:
  // Finds the first line end behind begin_ that is not quoted. False if the buffer ends before. A
  // quote opens a field only as its first byte, and ends it unless another one follows.
  bool FindEnd(size_t* record_end, size_t* next) {
    in_quotes_ = false;
    size_t at = begin_;  // outside of quotes
    // memchr() over the next quote and the next line end finds most records without a look at
    // single bytes. The line end counts only if no quoted field reaches over it.
    size_t line = Find('\n', at, end_);
    while (true) {
      const size_t quote = Find('"', at, line);
      if (quote == line) break;
      at = quote + 1;
      if (quote > begin_ && buffer_[quote - 1] != delimiter_) continue;  // data
      size_t closing = Find('"', at, end_);
      // A doubled quote is a quote inside of the field, and goes on.
      while (closing + 1 < end_ && buffer_[closing + 1] == '"') {
        closing = Find('"', closing + 2, end_);
      }
      // No closing quote is here yet: more is read, or the file ends inside the field.
      if (closing >= end_) {
        in_quotes_ = true;
        return false;
      }
      // A quote at the very end of the buffer may be half of a doubled one: no line end is found
      // behind it, so more is read, and the search begins anew.
      at = closing + 1;
      if (line < at) line = Find('\n', at, end_);
    }
    if (line == end_) return false;
    *record_end = line;
    *next = line + 1;
    return true;
  }

  // The first position of `c` in [from, to) of the buffer, else `to`.
  size_t Find(char c, size_t from, size_t to) const {
    if (from >= to) return to;
    const void* found = std::memchr(buffer_.data() + from, c, to - from);
    return found == nullptr ? to
                            : static_cast<size_t>(static_cast<const char*>(found) - buffer_.data());
  }

  // Reads one more block behind what is still needed.
  Status Refill() {
    if (begin_ > 0) {
      std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    // Doubling keeps the repeated search in one long record linear.
    if (buffer_.size() < end_ + kBlockBytes) {
      buffer_.resize(std::max(end_ + kBlockBytes, 2 * buffer_.size()));
    }
    while (true) {
      const ssize_t got = read(fd_.get(), buffer_.data() + end_, buffer_.size() - end_);
      if (got > 0) {
        end_ += static_cast<size_t>(got);
        if (counts_ != nullptr) counts_->bytes += got;
        return absl::OkStatus();
      }
      if (got == 0) {
        end_of_file_ = true;
        return absl::OkStatus();
      }
      if (errno != EINTR) {
        return absl::UnavailableError(
            absl::StrCat("cannot read '", path_, "': ", std::strerror(errno)));
      }
    }
  }

  const std::string path_;
  const char delimiter_;
  ReadCounts* const counts_;
  OwnedFd fd_;
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;  // unread bytes of buffer_
  bool end_of_file_ = false;
  bool in_quotes_ = false;  // the last search ended inside a quoted field
};

// Calls cell(field index, text) for every field of a record. `scratch` holds a field whose quotes
// had to be removed. *fields becomes the number of fields. False at text behind a closing quote;
// *fields is then the index of that field.
template <typename CellFunction>
bool SplitRecord(std::string_view record, char delimiter, std::string* scratch, CellFunction cell,
                 int* fields) {
  size_t at = 0;
  int field = 0;
  while (true) {
    if (at < record.size() && record[at] == '"') {
      scratch->clear();
      ++at;
      while (true) {
        const size_t quote = record.find('"', at);
        // Cannot be: the scanner ends records outside of quotes.
        if (quote == std::string_view::npos) break;
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

StatusOr<std::vector<std::string>> ReadHeader(const std::string& path, char delimiter,
                                              RecordScanner* scanner) {
  std::vector<std::string> names;
  PEPNET_ASSIGN_OR_RETURN(const auto record, scanner->Next(0));
  if (!record.has_value()) return names;
  std::string scratch;
  int fields = 0;
  if (static_cast<size_t>(std::count(record->begin(), record->end(), delimiter)) >= kMaxColumns) {
    return InvalidInput("'", path, "': the header has more than ", kMaxColumns,
                        " columns; is the delimiter '", std::string(1, delimiter), "' right?");
  }
  const auto add = [&](int, std::string_view text) { names.emplace_back(text); };
  if (!SplitRecord(*record, delimiter, &scratch, add, &fields)) {
    return InvalidInput("'", path, "' header, column ", fields + 1,
                        ": there is text behind the closing quote");
  }
  return names;
}

// A file that is said to have no header, and begins with one: every cell of its first row is the
// name of another column. A column of its own could hold its name as a word, so it takes two.
Status CheckNoHeader(const std::string& path, const FileFormat& format, RecordScanner* scanner) {
  const auto peeked = scanner->Peek();
  // An error comes again where the row is read.
  if (!peeked.ok() || !peeked->has_value()) return absl::OkStatus();
  const std::string_view record = **peeked;
  std::set<std::string_view> left(format.field_names.begin(), format.field_names.end());
  std::string scratch;
  int fields = 0;
  size_t named = 0;
  const auto take = [&](int, std::string_view text) { named += left.erase(text); };
  // Read() says why
  if (!SplitRecord(record, format.delimiter, &scratch, take, &fields)) return absl::OkStatus();
  if (fields < 2 || named != static_cast<size_t>(fields)) return absl::OkStatus();
  return InvalidInput(
      "'", path,
      "' row 1 holds the names of the columns, but data_config.with_header is false; set "
      "with_header to true, or remove the row");
}

// The columns of one file: which fields are wanted, and how records become cells. Immutable; shared
// by the reader and the rows it holds, which outlive it.
struct CsvColumns {
  std::shared_ptr<const std::string> path;
  FileFormat format;
  std::vector<std::string> names;    // of all fields in the file
  std::vector<int> output_of_field;  // -1: not asked for
  std::shared_ptr<arrow::Schema> schema;

  Status OutOfMemory(const arrow::Status& status) const {
    return absl::ResourceExhaustedError(absl::StrCat("reading '", *path, "': ", status.message()));
  }
};

// Decodes records, one after the other, into one chunk.
class CsvDecoder {
 public:
  explicit CsvDecoder(const CsvColumns& columns)
      : columns_(columns), builders_(columns.schema->num_fields()) {}

  // `row`: number of the record within the file.
  Status Append(std::string_view record, int64_t row) {
    arrow::Status appended;
    const auto cell = [&](int field, std::string_view text) {
      const int output = field < static_cast<int>(columns_.output_of_field.size())
                             ? columns_.output_of_field[field]
                             : -1;
      if (output < 0) return;
      arrow::StringBuilder& builder = builders_[output];
      // An empty cell and a missing one are the same in CSV: null.
      const arrow::Status status = text.empty() ? builder.AppendNull() : builder.Append(text);
      if (!status.ok()) appended = status;
    };
    const std::vector<std::string>& names = columns_.names;
    int fields = 0;
    if (!SplitRecord(record, columns_.format.delimiter, &scratch_, cell, &fields)) {
      return InvalidInput("'", *columns_.path, "' row ", row + 1, ", column ",
                          fields < static_cast<int>(names.size())
                              ? absl::StrCat("'", names[fields], "'")
                              : absl::StrCat(fields + 1),
                          ": there is text behind the closing quote");
    }
    // Too few cells are as wrong as too many: the cells that follow would belong to other columns.
    if (fields != static_cast<int>(names.size())) {
      return InvalidInput("'", *columns_.path, "' row ", row + 1, " has ", fields,
                          " cells, but there are ", names.size(), " columns",
                          columns_.format.with_header ? " in the header" : " in input_fields",
                          "; is the delimiter '", std::string(1, columns_.format.delimiter),
                          "' right?");
    }
    if (!appended.ok()) return columns_.OutOfMemory(appended);
    ++rows_;
    return absl::OkStatus();
  }

  StatusOr<std::shared_ptr<arrow::RecordBatch>> Finish() {
    arrow::ArrayVector arrays;
    for (arrow::StringBuilder& builder : builders_) {
      arrow::Result<std::shared_ptr<arrow::Array>> array = builder.Finish();
      if (!array.ok()) return columns_.OutOfMemory(array.status());
      arrays.push_back(std::move(array).ValueOrDie());
    }
    return arrow::RecordBatch::Make(columns_.schema, rows_, std::move(arrays));
  }

 private:
  const CsvColumns& columns_;
  std::vector<arrow::StringBuilder> builders_;
  std::string scratch_;
  int64_t rows_ = 0;
};

// Records as they stand in the file, split into cells when they are picked.
class BufferedRecords : public BufferedRows {
 public:
  BufferedRecords(std::shared_ptr<const CsvColumns> columns, std::shared_ptr<ReadCounts> counts,
                  int64_t first_row)
      : columns_(std::move(columns)), counts_(std::move(counts)), first_row_(first_row) {}

  void Reserve(size_t bytes) { text_.reserve(bytes); }
  void Append(std::string_view record) {
    text_.append(record);
    ends_.push_back(text_.size());
  }
  size_t bytes() const { return text_.size(); }

  int64_t size() const override { return static_cast<int64_t>(ends_.size()); }

  StatusOr<Picked> Pick(std::span<const int64_t> rows) const override {
    CsvDecoder decoder(*columns_);
    auto numbers = std::make_shared<std::vector<int64_t>>();
    numbers->reserve(rows.size());
    Picked picked;
    picked.at.reserve(rows.size());
    for (const int64_t row : rows) {
      const size_t begin = row == 0 ? 0 : ends_[row - 1];
      PEPNET_RETURN_IF_ERROR(decoder.Append(
          std::string_view(text_).substr(begin, ends_[row] - begin), first_row_ + row));
      picked.at.push_back(static_cast<int64_t>(numbers->size()));
      numbers->push_back(first_row_ + row);
    }
    const auto count = static_cast<int64_t>(rows.size());
    // The rows were counted as passed when they were buffered; those picked are decoded now.
    counts_->passed_rows -= count;
    counts_->decoded_rows += count;
    PEPNET_ASSIGN_OR_RETURN(auto decoded, decoder.Finish());
    picked.chunk = {std::move(decoded), columns_->path,
                    numbers->empty() ? first_row_ : numbers->front(), std::move(numbers)};
    return picked;
  }

 private:
  const std::shared_ptr<const CsvColumns> columns_;
  const std::shared_ptr<ReadCounts> counts_;
  const int64_t first_row_;
  std::string text_;
  std::vector<size_t> ends_;  // of each record in text_
};

class CsvReader : public RowReader {
 public:
  CsvReader(const std::string& path, const FileFormat& format, std::shared_ptr<ReadCounts> counts)
      : counts_(std::move(counts)), scanner_(path, format.delimiter, counts_.get()) {
    columns_->path = std::make_shared<const std::string>(path);
    columns_->format = format;
  }

  Status Open(const std::vector<std::string>& columns) {
    PEPNET_RETURN_IF_ERROR(scanner_.Open());
    const FileFormat& format = columns_->format;
    columns_->names = format.field_names;
    bool no_header = false;
    if (format.with_header) {
      PEPNET_ASSIGN_OR_RETURN(columns_->names,
                              ReadHeader(*columns_->path, format.delimiter, &scanner_));
      no_header = columns_->names.empty();
    } else {
      PEPNET_RETURN_IF_ERROR(CheckNoHeader(*columns_->path, format, &scanner_));
    }
    arrow::FieldVector schema_fields;
    columns_->output_of_field.assign(columns_->names.size(), -1);
    for (size_t i = 0; i < columns.size(); ++i) {
      schema_fields.push_back(arrow::field(columns[i], arrow::utf8()));
      if (no_header) continue;
      PEPNET_ASSIGN_OR_RETURN(const int field,
                              FindColumn(*columns_->path, columns_->names, columns[i]));
      columns_->output_of_field[field] = static_cast<int>(i);
    }
    columns_->schema = arrow::schema(std::move(schema_fields));
    return absl::OkStatus();
  }

  StatusOr<RowChunk> Read(int64_t max_rows) override {
    const int64_t limit = std::min(max_rows, kMaxChunkRows);
    CsvDecoder decoder(*columns_);
    const int64_t first_row = row_;
    size_t bytes = 0;
    // The bound in bytes keeps a chunk's texts within 32-bit offsets.
    while (row_ - first_row < limit && bytes < kMaxChunkBytes) {
      PEPNET_ASSIGN_OR_RETURN(const auto record, scanner_.Next(row_));
      if (!record.has_value()) break;
      PEPNET_RETURN_IF_ERROR(decoder.Append(*record, row_));
      bytes += record->size();
      ++row_;
    }
    counts_->decoded_rows += row_ - first_row;
    PEPNET_ASSIGN_OR_RETURN(auto decoded, decoder.Finish());
    return RowChunk{std::move(decoded), columns_->path, first_row, nullptr};
  }

  StatusOr<std::shared_ptr<const BufferedRows>> Buffer(int64_t max_rows) override {
    const int64_t limit = std::min(max_rows, kMaxChunkRows);
    auto buffered = std::make_shared<BufferedRecords>(columns_, counts_, row_);
    // Room is made for all rows at once, at the size that rows had so far, so that the text does
    // not move while it grows.
    buffered->Reserve(static_cast<size_t>(bytes_per_row_ * static_cast<double>(limit)));
    while (buffered->size() < limit && buffered->bytes() < kMaxChunkBytes) {
      PEPNET_ASSIGN_OR_RETURN(const auto record, scanner_.Next(row_));
      if (!record.has_value()) break;
      buffered->Append(*record);
      ++row_;
    }
    counts_->passed_rows += buffered->size();
    if (buffered->size() > 0) {
      const double mean =
          static_cast<double>(buffered->bytes()) / static_cast<double>(buffered->size());
      // The guess is a little more than the mean, but never more than the bound of a chunk.
      bytes_per_row_ = std::min(
          1.1 * mean, static_cast<double>(kMaxChunkBytes) / static_cast<double>(kMaxChunkRows));
    }
    return buffered;
  }

  StatusOr<int64_t> Skip(int64_t max_rows) override {
    int64_t skipped = 0;
    // Records must be found to be counted, so skipping a CSV file reads it; only the cells are
    // spared.
    for (; skipped < max_rows; ++skipped, ++row_) {
      PEPNET_ASSIGN_OR_RETURN(const auto record, scanner_.Next(row_));
      if (!record.has_value()) break;
    }
    counts_->passed_rows += skipped;
    return skipped;
  }

  int64_t known_rows() const override { return -1; }
  int64_t RowsTogether() const override { return kMaxChunkRows; }
  const std::shared_ptr<arrow::Schema>& schema() const override { return columns_->schema; }

 private:
  const std::shared_ptr<ReadCounts> counts_;  // shared with the rows it holds
  const std::shared_ptr<CsvColumns> columns_ =
      std::make_shared<CsvColumns>();  // fixed after Open(); shared with them, too
  RecordScanner scanner_;
  int64_t row_ = 0;           // number of the next row
  double bytes_per_row_ = 0;  // room to make for the next rows to hold
};

Status CheckFormat(const FileFormat& format) {
  if (format.with_header || !format.field_names.empty()) return absl::OkStatus();
  return InvalidInput(
      "the columns of the CSV files have no names: set data_config.with_header to true, or list "
      "all columns in data_config.input_fields");
}

}  // namespace

StatusOr<std::unique_ptr<RowReader>> OpenCsvReader(const std::string& path,
                                                   const FileFormat& format,
                                                   const std::vector<std::string>& columns,
                                                   std::shared_ptr<ReadCounts> counts) {
  PEPNET_RETURN_IF_ERROR(CheckFormat(format));
  auto reader = std::make_unique<CsvReader>(path, format, std::move(counts));
  PEPNET_RETURN_IF_ERROR(reader->Open(columns));
  return reader;
}

StatusOr<std::vector<std::string>> ListCsvColumns(const std::string& path,
                                                  const FileFormat& format) {
  PEPNET_RETURN_IF_ERROR(CheckFormat(format));
  if (!format.with_header) return format.field_names;
  RecordScanner scanner(path, format.delimiter);
  PEPNET_RETURN_IF_ERROR(scanner.Open());
  return ReadHeader(path, format.delimiter, &scanner);
}

template <>
const FormatReader& ReaderOfFormat<DatasetType::kCsv>() {
  static constexpr FormatReader kReader = {OpenCsvReader, ListCsvColumns, nullptr};
  return kReader;
}

}  // namespace pepnet

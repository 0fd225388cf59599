#include "worker/data/files/parquet_reader.h"

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <parquet/arrow/reader.h>
#include <parquet/column_page.h>
#include <parquet/column_reader.h>
#include <parquet/file_reader.h>
#include <parquet/metadata.h>
#include <parquet/properties.h>
#include <parquet/schema.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <string_view>

#include "common/base/text.h"

// arrow::Type has many more values than the ones a column may have.
#pragma GCC diagnostic ignored "-Wswitch-enum"

namespace pepnet {
namespace {

// Rows decoded at once within a row group: as many as keep their columns in the cache, and the
// memory that Arrow decodes them to in its allocator. Lists are long: sixty of twenty ids take 10
// KB a row, and a whole group of such rows would come from the system, page by page, each time.
constexpr int64_t kMostDecodedRows = 65536, kFewestDecodedRows = 512;
constexpr int64_t kDecodedBytes = int64_t{8} << 20;
// The most that texts of the rows decoded at once may take, where a few words of a dictionary stand
// for all of them: a file of some kilobytes can ask for any amount.
constexpr int64_t kMostTextBytes = int64_t{256} << 20;

Status ReadError(const std::string& path, std::string_view cause) {
  // Arrow appends hints in further lines; the first one is the cause.
  cause = cause.substr(0, cause.find('\n'));
  return InvalidInput("cannot read '", path, "' as Parquet: ", std::string(cause));
}

// Runs `function` (returning Status) so that no exception of the Parquet library gets out.
template <typename Function>
Status Guard(const std::string& path, Function function) {
  try {
    return function();
  } catch (const std::exception& error) {
    return ReadError(path, error.what());
  }
}

// The longest word of a dictionary page: for each word its length, in 4 bytes, and its bytes. What
// does not fit is for Arrow to refuse.
int64_t LongestWord(const parquet::DictionaryPage& page) {
  const uint8_t* next = page.data();
  int64_t left = page.size(), longest = 0;
  while (left >= static_cast<int64_t>(sizeof(uint32_t))) {
    // The two subtractions may go below zero where the page is damaged; the loop then ends, and the
    // length that led there is not used.
    uint32_t bytes = 0;
    std::memcpy(&bytes, next, sizeof(bytes));
    left -= static_cast<int64_t>(sizeof(bytes)) + bytes;
    next += sizeof(bytes) + bytes;
    if (left >= 0) longest = std::max<int64_t>(longest, bytes);
  }
  return longest;
}

template <typename Index>
int64_t FirstOutside(const arrow::Array& indices, int64_t end) {
  const auto* values = indices.data()->GetValues<Index>(1);
  const auto inside = [end](Index value) {
    return value >= 0 && static_cast<uint64_t>(value) < static_cast<uint64_t>(end);
  };
  // Most batches are right, and a loop without a branch finds that out fast.
  bool all = true;
  for (int64_t i = 0; i < indices.length(); ++i) all &= inside(values[i]);
  // The slow loop finds the place for the message. Indices below nulls are undefined and may be
  // anything.
  for (int64_t i = 0; !all && i < indices.length(); ++i) {
    if (!inside(values[i]) && !indices.IsNull(i)) return i;
  }
  return -1;
}

int64_t FirstOutside(const arrow::Array& indices, int64_t end) {
  switch (indices.type_id()) {
    case arrow::Type::INT8:
      return FirstOutside<int8_t>(indices, end);
    case arrow::Type::UINT8:
      return FirstOutside<uint8_t>(indices, end);
    case arrow::Type::INT16:
      return FirstOutside<int16_t>(indices, end);
    case arrow::Type::UINT16:
      return FirstOutside<uint16_t>(indices, end);
    case arrow::Type::INT32:
      return FirstOutside<int32_t>(indices, end);
    case arrow::Type::UINT32:
      return FirstOutside<uint32_t>(indices, end);
    case arrow::Type::INT64:
      return FirstOutside<int64_t>(indices, end);
    default:
      return FirstOutside<uint64_t>(indices, end);
  }
}

// Arrow decodes dictionary columns to indices as they stand in the file and does not look at them;
// nobody reads behind the end of a dictionary if all of them lie within it.
Status CheckDictionaries(const arrow::Array& array) {
  switch (array.type_id()) {
    case arrow::Type::DICTIONARY: {
      const auto& column = static_cast<const arrow::DictionaryArray&>(array);
      const int64_t words = column.dictionary()->length();
      if (const int64_t row = FirstOutside(*column.indices(), words); row >= 0) {
        return InvalidInput("cell ", row, " has index ", column.GetValueIndex(row),
                            " of a dictionary of ", words, "; the file is damaged");
      }
      return CheckDictionaries(*column.dictionary());
    }
    case arrow::Type::LIST:
      return CheckDictionaries(*static_cast<const arrow::ListArray&>(array).values());
    case arrow::Type::LARGE_LIST:
      return CheckDictionaries(*static_cast<const arrow::LargeListArray&>(array).values());
    case arrow::Type::FIXED_SIZE_LIST:
      return CheckDictionaries(*static_cast<const arrow::FixedSizeListArray&>(array).values());
    case arrow::Type::MAP: {
      const auto& map = static_cast<const arrow::MapArray&>(array);
      PEPNET_RETURN_IF_ERROR(CheckDictionaries(*map.keys()));
      return CheckDictionaries(*map.items());
    }
    case arrow::Type::STRUCT: {
      for (const auto& field : static_cast<const arrow::StructArray&>(array).fields()) {
        PEPNET_RETURN_IF_ERROR(CheckDictionaries(*field));
      }
      return absl::OkStatus();
    }
    default:
      return absl::OkStatus();
  }
}

class ParquetReader : public RowReader {
 public:
  explicit ParquetReader(const std::string& path, std::shared_ptr<ReadCounts> counts = nullptr)
      : path_(std::make_shared<const std::string>(path)),
        counts_(counts != nullptr ? std::move(counts) : std::make_shared<ReadCounts>()) {}

  Status Open() {
    // The library throws and returns, depending on the place; both end up as one sentence.
    return Guard(*path_, [&]() -> Status {
      auto file = arrow::io::ReadableFile::Open(*path_);
      if (!file.ok()) {
        return absl::NotFoundError(
            absl::StrCat("cannot open '", *path_, "': ", file.status().message()));
      }
      parquet::arrow::FileReaderBuilder builder;
      parquet::ReaderProperties checks;
      checks.set_page_checksum_verification(true);  // where a file has checksums
      file_ = *file;
      if (arrow::Status status = builder.Open(file_, checks); !status.ok()) {
        return ReadError(*path_, status.message());
      }
      parquet::ArrowReaderProperties properties;
      // Arrow gets one thread: the loader has its own, and decoded rows must not depend on a pool
      // of Arrow's.
      properties.set_use_threads(false);
      properties.set_pre_buffer(false);  // would read ahead in threads of Arrow's own
      builder.properties(properties);
      if (arrow::Status status = builder.Build(&reader_); !status.ok()) {
        return ReadError(*path_, status.message());
      }
      if (arrow::Status status = reader_->GetSchema(&file_schema_); !status.ok()) {
        return ReadError(*path_, status.message());
      }
      const auto metadata = reader_->parquet_reader()->metadata();
      for (int group = 0; group < metadata->num_row_groups(); ++group) {
        group_rows_.push_back(metadata->RowGroup(group)->num_rows());
        rows_ += group_rows_.back();
      }
      return absl::OkStatus();
    });
  }

  Status Select(const std::vector<std::string>& columns) {
    return Guard(*path_, [&]() -> Status {
      arrow::FieldVector fields;
      for (const std::string& column : columns) {
        PEPNET_ASSIGN_OR_RETURN(const int field,
                                FindColumn(*path_, file_schema_->field_names(), column));
        fields.push_back(file_schema_->field(field));
      }
      schema_ = arrow::schema(std::move(fields));
      // Parquet counts leaf columns: a list or map column has its own below its name.
      const parquet::SchemaDescriptor* leaves = reader_->parquet_reader()->metadata()->schema();
      for (int leaf = 0; leaf < leaves->num_columns(); ++leaf) {
        const std::string name = leaves->Column(leaf)->path()->ToDotVector().front();
        if (std::find(columns.begin(), columns.end(), name) != columns.end()) {
          leaves_.push_back(leaf);
        }
      }
      rows_at_once_ = RowsAtOnce();
      return absl::OkStatus();
    });
  }

  StatusOr<RowChunk> Read(int64_t max_rows) override {
    // Row groups without rows are skipped.
    while (decoded_ == nullptr && group_ < group_rows_.size()) PEPNET_RETURN_IF_ERROR(Decode());
    if (decoded_ == nullptr) {
      auto empty = arrow::RecordBatch::MakeEmpty(schema_);
      if (!empty.ok()) return ReadError(*path_, empty.status().message());
      return RowChunk{*empty, path_, row_, nullptr};
    }
    // Consecutive reads are slices that share the memory of one decoded piece.
    const int64_t count = std::min(max_rows, decoded_->num_rows() - used_);
    RowChunk chunk{decoded_->Slice(used_, count), path_, row_, nullptr};
    Advance(count);
    return chunk;
  }

  StatusOr<std::shared_ptr<const BufferedRows>> Buffer(int64_t max_rows) override {
    PEPNET_ASSIGN_OR_RETURN(RowChunk chunk, Read(max_rows));
    return BufferDecoded(std::move(chunk));
  }

  int64_t RowsTogether() const override {
    int64_t end = 0;
    for (size_t group = 0; group < group_rows_.size() && end <= row_; ++group) {
      end += group_rows_[group];
    }
    return end - row_;
  }

  StatusOr<int64_t> Skip(int64_t max_rows) override {
    int64_t skipped = 0;
    while (skipped < max_rows && (decoded_ != nullptr || group_ < group_rows_.size())) {
      // A row group that is skipped as a whole is not decoded at all.
      if (decoded_ == nullptr && batches_ == nullptr && group_rows_[group_] <= max_rows - skipped) {
        skipped += group_rows_[group_];
        row_ += group_rows_[group_];
        counts_->passed_rows += group_rows_[group_];
        ++group_;
        continue;
      }
      if (decoded_ == nullptr) {
        PEPNET_RETURN_IF_ERROR(Decode());
        continue;
      }
      const int64_t count = std::min(max_rows - skipped, decoded_->num_rows() - used_);
      Advance(count);
      skipped += count;
    }
    return skipped;
  }

  int64_t known_rows() const override { return rows_; }
  const std::shared_ptr<arrow::Schema>& schema() const override { return schema_; }
  std::vector<std::string> file_columns() const { return file_schema_->field_names(); }
  int64_t largest_row_group() const {
    return group_rows_.empty() ? 0 : *std::max_element(group_rows_.begin(), group_rows_.end());
  }

 private:
  int64_t RowsAtOnce() const {
    constexpr int64_t kValueBytes = 12;  // of a number, with its levels
    const auto metadata = reader_->parquet_reader()->metadata();
    int64_t bytes = 0;
    for (int group = 0; group < metadata->num_row_groups(); ++group) {
      const auto columns = metadata->RowGroup(group);
      // The size is estimated from the number of values: sizes in the footer are those of encoded
      // pages, which say little about what they become.
      for (const int leaf : leaves_) {
        bytes += columns->ColumnChunk(leaf)->num_values() * kValueBytes;
      }
    }
    const int64_t row_bytes = std::max<int64_t>(1, bytes / std::max<int64_t>(1, rows_));
    return std::clamp(kDecodedBytes / row_bytes, kFewestDecodedRows, kMostDecodedRows);
  }
  // The same for the row group under work, where a row's texts are long.
  int64_t RowsAtOnceOfGroup() {
    const auto group = reader_->parquet_reader()->metadata()->RowGroup(static_cast<int>(group_));
    const int64_t rows = std::max<int64_t>(1, group_rows_[group_]);
    // Texts by dictionary are the danger: few bytes in the file, any number in memory.
    const int64_t at_once = std::min(rows_at_once_, rows);
    int64_t row_bytes = 0;
    for (const int leaf : leaves_) {
      const auto column = group->ColumnChunk(leaf);
      if (column->type() != parquet::Type::BYTE_ARRAY || !column->has_dictionary_page()) continue;
      // No word is longer than all of the column, so most groups need no look at it.
      const int64_t words = (column->num_values() + rows - 1) / rows;  // of a row
      if (column->total_uncompressed_size() <
          kMostTextBytes / std::max<int64_t>(1, at_once * words))
        continue;
      if (dictionaries_ == nullptr) {
        parquet::ReaderProperties page_wise;
        page_wise.enable_buffered_stream();  // else the whole column is read for its first page
        dictionaries_ = parquet::ParquetFileReader::Open(file_, page_wise,
                                                         reader_->parquet_reader()->metadata());
      }
      const auto pages =
          dictionaries_->RowGroup(static_cast<int>(group_))->GetColumnPageReader(leaf);
      const std::shared_ptr<parquet::Page> page = pages->NextPage();
      if (page == nullptr || page->type() != parquet::PageType::DICTIONARY_PAGE) continue;
      row_bytes += words * LongestWord(static_cast<const parquet::DictionaryPage&>(*page));
    }
    return std::clamp<int64_t>(kMostTextBytes / std::max<int64_t>(1, row_bytes), 1, rows_at_once_);
  }

  void Advance(int64_t count) {
    row_ += count;
    used_ += count;
    if (used_ == decoded_->num_rows()) decoded_ = nullptr;
  }

  // The next decoded rows of row group group_, or the step to the next group if it has no more.
  Status Decode() {
    return Guard(*path_, [&]() -> Status {
      if (batches_ == nullptr) {
        reader_->set_batch_size(RowsAtOnceOfGroup());
        auto opened = reader_->GetRecordBatchReader({static_cast<int>(group_)}, leaves_);
        if (!opened.ok()) return ReadError(*path_, opened.status().message());
        batches_ = std::move(opened).ValueOrDie();
        const auto group =
            reader_->parquet_reader()->metadata()->RowGroup(static_cast<int>(group_));
        for (const int leaf : leaves_) {
          counts_->bytes += group->ColumnChunk(leaf)->total_compressed_size();
        }
      }
      std::shared_ptr<arrow::RecordBatch> batch;
      if (arrow::Status status = batches_->ReadNext(&batch); !status.ok()) {
        return ReadError(*path_, status.message());
      }
      // The group has ended. The footer promised a number of rows, which positions are computed
      // with, so a group that holds another number is damage (laws L4, L7).
      if (batch == nullptr) {
        int64_t promised = 0;
        for (size_t group = 0; group <= group_; ++group) promised += group_rows_[group];
        if (row_ != promised) {
          return ReadError(*path_, absl::StrCat("row group ", group_, " ends at row ", row_,
                                                " instead of ", promised));
        }
        batches_ = nullptr;
        ++group_;
        return absl::OkStatus();
      }
      if (batch->num_rows() == 0) return absl::OkStatus();
      // Arrow returns the columns in file order. Indices are checked where rows come in, once: what
      // reads the cells afterwards does not look at them.
      arrow::ArrayVector arrays;
      for (const auto& field : schema_->fields()) {
        arrays.push_back(batch->GetColumnByName(field->name()));
        if (const Status inside = CheckDictionaries(*arrays.back()); !inside.ok()) {
          return ReadError(*path_,
                           absl::StrCat("row group ", group_, ", column '",
                                        Printable(field->name(), 200), "': ", inside.message()));
        }
      }
      decoded_ = arrow::RecordBatch::Make(schema_, batch->num_rows(), std::move(arrays));
      counts_->decoded_rows += batch->num_rows();
      used_ = 0;
      return absl::OkStatus();
    });
  }

  // Shared with the chunks, which outlive the reader.
  const std::shared_ptr<const std::string> path_;
  const std::shared_ptr<ReadCounts> counts_;  // shared with whoever asks for them
  std::unique_ptr<parquet::arrow::FileReader> reader_;
  std::shared_ptr<arrow::io::RandomAccessFile> file_;
  // For a look at the first pages; null before the first.
  std::unique_ptr<parquet::ParquetFileReader> dictionaries_;
  std::shared_ptr<arrow::Schema> file_schema_, schema_;
  std::vector<int64_t> group_rows_;
  std::vector<int> leaves_;
  int64_t rows_at_once_ = kMostDecodedRows;
  int64_t rows_ = 0;
  size_t group_ = 0;  // the row group under work
  // Of that group; null before its first row is needed.
  std::unique_ptr<arrow::RecordBatchReader> batches_;
  std::shared_ptr<arrow::RecordBatch> decoded_;  // rows decoded and not all used; null: none
  int64_t used_ = 0;
  int64_t row_ = 0;  // number of the next row
};

}  // namespace

StatusOr<std::unique_ptr<RowReader>> OpenParquetReader(const std::string& path,
                                                       const std::vector<std::string>& columns,
                                                       std::shared_ptr<ReadCounts> counts) {
  auto reader = std::make_unique<ParquetReader>(path, std::move(counts));
  PEPNET_RETURN_IF_ERROR(reader->Open());
  PEPNET_RETURN_IF_ERROR(reader->Select(columns));
  return reader;
}

StatusOr<std::vector<std::string>> ListParquetColumns(const std::string& path) {
  ParquetReader reader(path);
  PEPNET_RETURN_IF_ERROR(reader.Open());
  return reader.file_columns();
}

template <>
const FormatReader& ReaderOfFormat<DatasetType::kParquet>() {
  static constexpr FormatReader kReader = {
      [](const std::string& path, const FileFormat&, const std::vector<std::string>& columns,
         std::shared_ptr<ReadCounts> counts) {
        return OpenParquetReader(path, columns, std::move(counts));
      },
      [](const std::string& path, const FileFormat&) { return ListParquetColumns(path); },
      [](const std::string& path) -> StatusOr<int64_t> {
        ParquetReader reader(path);
        PEPNET_RETURN_IF_ERROR(reader.Open());
        return reader.largest_row_group();
      }};
  return kReader;
}

}  // namespace pepnet

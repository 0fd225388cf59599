#include "worker/data/files/row_reader.h"

#include <algorithm>
#include <cstdlib>
#include <type_traits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "common/base/log_functions.h"

namespace pepnet {
namespace {

class DecodedRows : public BufferedRows {
 public:
  explicit DecodedRows(RowChunk chunk) : chunk_(std::move(chunk)) {}
  int64_t size() const override { return chunk_.rows->num_rows(); }
  StatusOr<Picked> Pick(std::span<const int64_t> rows) const override {
    return Picked{chunk_, {rows.begin(), rows.end()}};
  }

 private:
  const RowChunk chunk_;
};

// ReaderOfFormat<type>() for a type that is known at run time only.
template <int number = 0>
const FormatReader& ReaderOf(DatasetType type) {
  // The kinds are walked at compile time, so that a new format links only with its reader.
  constexpr DatasetType kType = static_cast<DatasetType>(number);
  // Whether the format exists. Asks for a member of its description: with the sanitizer of
  // undefined behaviour GCC compares no address with null in a constant expression.
  if constexpr (requires { typename std::integral_constant<char, *FindType(kType)->name>; }) {
    return type == kType ? ReaderOfFormat<kType>() : ReaderOf<number + 1>(type);
  } else {
    CheckOrDie(false, "unknown file format");
    std::abort();
  }
}

}  // namespace

std::shared_ptr<const BufferedRows> BufferDecoded(RowChunk chunk) {
  return std::make_shared<DecodedRows>(std::move(chunk));
}

StatusOr<std::unique_ptr<RowReader>> OpenRowReader(const std::string& path,
                                                   const FileFormat& format,
                                                   const std::vector<std::string>& columns,
                                                   std::shared_ptr<ReadCounts> counts) {
  if (counts == nullptr) counts = std::make_shared<ReadCounts>();
  return ReaderOf(format.type).open(path, format, columns, std::move(counts));
}

FileFormat FormatOf(const DataConfig& data, DatasetType type) {
  FileFormat format;
  format.type = type;
  format.delimiter = data.delimiter;
  format.with_header = data.with_header;
  for (const InputField& field : data.input_fields) format.field_names.push_back(field.name);
  return format;
}

StatusOr<std::vector<std::string>> ListColumns(const std::string& path, const FileFormat& format) {
  return ReaderOf(format.type).list_columns(path, format);
}

StatusOr<int64_t> LargestRowGroup(const std::string& path, DatasetType type) {
  const FormatReader& reader = ReaderOf(type);
  return reader.largest_group != nullptr ? reader.largest_group(path) : 0;
}

StatusOr<int> FindColumn(const std::string& path, const std::vector<std::string>& columns,
                         const std::string& name) {
  const auto found = std::find(columns.begin(), columns.end(), name);
  if (found == columns.end()) {
    constexpr size_t kShown = 40;
    const size_t shown = std::min(columns.size(), kShown);
    const auto shown_name = [](std::string* out, const std::string& column) {
      const bool plain = !column.empty() && absl::StripAsciiWhitespace(column) == column;
      // Quotes make blanks visible.
      absl::StrAppend(out, plain ? "" : "'", column, plain ? "" : "'");
    };
    const auto blank =
        std::find_if(columns.begin(), columns.end(), [&name](const std::string& column) {
          return absl::StripAsciiWhitespace(column) == absl::string_view(name);
        });
    return InvalidInput(
        "'", path, "' has no column '", name, "'; its columns are ",
        absl::StrJoin(columns.begin(), columns.begin() + shown, ", ", shown_name),
        shown < columns.size() ? absl::StrCat(" and ", columns.size() - shown, " more") : "",
        blank != columns.end()
            ? absl::StrCat("; '", *blank, "' has blanks around it: remove them from the file")
            : "");
  }
  if (std::find(found + 1, columns.end(), name) != columns.end()) {
    return InvalidInput("'", path, "' has more than one column '", name, "'; rename one of them");
  }
  return static_cast<int>(found - columns.begin());
}

}  // namespace pepnet

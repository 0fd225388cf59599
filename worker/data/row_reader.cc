#include "worker/data/row_reader.h"

#include <algorithm>

#include "absl/strings/str_join.h"
#include "worker/data/csv_reader.h"
#include "worker/data/parquet_reader.h"

namespace pepnet {

StatusOr<std::unique_ptr<RowReader>> OpenRowReader(const std::string& path, const FileFormat& format,
                                                   const std::vector<std::string>& columns) {
  return format.type == DatasetType::kParquet ? OpenParquetReader(path, columns) : OpenCsvReader(path, format, columns);
}

StatusOr<std::vector<std::string>> ListColumns(const std::string& path, const FileFormat& format) {
  return format.type == DatasetType::kParquet ? ListParquetColumns(path) : ListCsvColumns(path, format);
}

StatusOr<int> FindColumn(const std::string& path, const std::vector<std::string>& columns, const std::string& name) {
  const auto found = std::find(columns.begin(), columns.end(), name);
  if (found == columns.end()) {
    constexpr size_t kShown = 40;
    const size_t shown = std::min(columns.size(), kShown);
    return InvalidInput("'", path, "' has no column '", name, "'; its columns are ",
                        absl::StrJoin(columns.begin(), columns.begin() + shown, ", "),
                        shown < columns.size() ? absl::StrCat(" and ", columns.size() - shown, " more") : "");
  }
  if (std::find(found + 1, columns.end(), name) != columns.end()) {
    return InvalidInput("'", path, "' has more than one column '", name, "'; rename one of them");
  }
  return static_cast<int>(found - columns.begin());
}

}  // namespace pepnet

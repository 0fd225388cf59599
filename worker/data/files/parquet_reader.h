// Parquet files as Arrow columns of their own types; row groups are decoded one by one, in the
// calling thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "worker/data/files/row_reader.h"

namespace pepnet {

StatusOr<std::unique_ptr<RowReader>> OpenParquetReader(
    const std::string& path, const std::vector<std::string>& columns,
    std::shared_ptr<ReadCounts> counts = nullptr);
StatusOr<std::vector<std::string>> ListParquetColumns(const std::string& path);

}  // namespace pepnet

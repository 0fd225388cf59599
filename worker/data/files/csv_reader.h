// CSV files as text columns (spec 3.6): RFC 4180 quotes, lines end at \n or \r\n, only the empty
// cell is null.
//
// Own code and not Arrow's reader, because a lone \r is data here, a skipped row need not be split
// into cells, and every message has to name row and column. A line without a byte is not a row (as
// in the reference). A quote opens a quoted field only as its first byte; elsewhere it is data. A
// UTF-8 byte order mark is skipped.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "worker/data/files/row_reader.h"

namespace pepnet {

StatusOr<std::unique_ptr<RowReader>> OpenCsvReader(const std::string& path,
                                                   const FileFormat& format,
                                                   const std::vector<std::string>& columns,
                                                   std::shared_ptr<ReadCounts> counts);
StatusOr<std::vector<std::string>> ListCsvColumns(const std::string& path,
                                                  const FileFormat& format);

}  // namespace pepnet

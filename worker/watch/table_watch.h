// Reads the servers' statistics of the tables: which are far too large, and what became of ids that come and go.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/job_config/job_config.h"
#include "worker/watch/warning.h"

namespace pepnet {

// Tables of which training met less than a hundredth of at least 100,000 rows. `rows_seen` by table name.
std::vector<Warning> TableWarnings(const JobConfig& config, const std::map<std::string, int64_t>& rows_seen);
// Sums the "rows" of the servers' statistics (JSON objects).
std::map<std::string, int64_t> RowsOfServers(const std::vector<std::string>& stats);
// A line for each table with a policy says what has become of its ids since the servers started; from the same texts.
std::vector<std::string> DynamicTableLines(const std::vector<std::string>& stats);

}  // namespace pepnet

// Reads the servers' statistics of the tables: which are far too large, and what became of ids that
// come and go.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/job_config/job_config.h"
#include "worker/watch/warning.h"

namespace pepnet {

// Tables of which training met less than a hundredth of at least 100,000 rows. `rows_seen` by table
// name.
std::vector<Warning> TableWarnings(const JobConfig& config,
                                   const std::map<std::string, int64_t>& rows_seen);
// Sums the "rows" of the servers' statistics (JSON objects).
std::map<std::string, int64_t> RowsOfServers(const std::vector<std::string>& stats);

// A table that grows, on all servers together.
struct DynamicTableCounts {
  std::string table;
  bool has_policy = false;
  int64_t rows = 0, candidates = 0;
  // Of its policy, since the servers started (ps/table/row_lifecycle.h).
  int64_t admitted = 0, refused = 0, expired = 0, evicted = 0;
};
// In the order of the config.
std::vector<DynamicTableCounts> DynamicTablesOf(const JobConfig& config,
                                                const std::vector<std::string>& stats);
// Says how far the event time has come, and whether steps would have moved it on by more than the
// config allows; "": rows have none.
std::string EventTimeLine(const JobConfig& config, const std::vector<std::string>& stats);
// Says what has become of the ids since the servers started.
std::string DynamicTableLine(const DynamicTableCounts& counts);

}  // namespace pepnet

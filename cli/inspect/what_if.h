// The answer of `pepnet inspect --what_if`: which rows of a checkpoint a policy would take out, and
// how much they were used.
//
// Threads: no state. Memory: the ranks of one bucket.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/row_policy.h"

namespace pepnet {

// "max_rows=100000,eviction=LFU": fields of dynamic_table (docs/config.md) that limit rows or let
// them expire.
StatusOr<RowPolicy> ParseWhatIf(const std::string& text);

struct WhatIfTable {
  struct Group {
    int64_t rows = 0;
    int64_t named = 0;  // sum of their frequencies: how often steps named them
  };
  std::string table;
  int64_t bytes_per_row = 0;  // at most
  Group all, expired, evicted;
  // By e: 2^(e-1) <= steps since the last that named the row < 2^e; 0: the last step.
  std::map<int, Group> by_age;
  std::map<int, Group> by_frequency;  // by e: 2^(e-1) <= steps that named the row < 2^e; 0: none
};

// Sweeps every bucket of each table (of `table` alone unless it is empty) as of the checkpoint's
// step, and brings it to its share. For ttl_seconds the checkpoint must hold event times.
StatusOr<std::vector<WhatIfTable>> WhatIf(const std::string& directory, const RowPolicy& policy,
                                          const std::string& table);
std::string WhatIfToText(const RowPolicy& policy, const std::vector<WhatIfTable>& tables);
std::string WhatIfToJson(const std::vector<WhatIfTable>& tables);  // one object, one line

}  // namespace pepnet

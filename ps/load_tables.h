// Rows of a server from a checkpoint (common/checkpoint/table_part.h draws the files).
//
// Threads: the caller's, and "pages" (PagesAhead) while it reads a part.
// Failure: the message names table and file; nothing has changed then.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/checkpoint/event_point.h"
#include "ps/server_plan.h"
#include "ps/table/table_shard.h"

namespace pepnet {

struct LoadOptions {
  // false: fresh optimizer state, frequency and last step 0
  bool with_state = true;
  // Table here -> table in the checkpoint; others keep their name.
  std::map<std::string, std::string> table_map;
};

// Empty shards for the tables of `plan`.
std::vector<TableShard> MakeTables(const ServerPlan& plan);

struct LoadedTables {
  std::vector<TableShard> tables;
  // Empty without state: steps that train anew have no times yet.
  std::vector<EventPoint> event_times;
};

// The rows of this server's buckets from a complete checkpoint, whatever number of servers wrote
// it. A table that is not in the checkpoint stays empty where `options` ask for less than
// everything, else it is an error.
StatusOr<LoadedTables> LoadTables(const ServerPlan& plan, const std::string& directory,
                                  const LoadOptions& options);

}  // namespace pepnet

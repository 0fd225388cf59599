// UniqueIds: the distinct ids of a batch, table by table, and where each lookup finds its row among
// them.
//
// Order:   unique ids stand in the order of their first lookup (leaf by leaf, row by row), a
//          function of the batch alone, so that sums over lookups do not depend on how many servers
//          hold the rows (law L3).
// Cost:    one open-addressing probe per lookup, which waits for the memory of no other.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/thread_team.h"
#include "common/job_config/job_config.h"
#include "worker/data/batch.h"

namespace pepnet {

struct UniqueIds {
  std::vector<std::vector<int64_t>> ids;  // by table
  // By leaf: for each id of the feature, index into ids[table].
  std::vector<std::vector<int32_t>> positions;
  // By table: for each of ids[table] 1 where a row with a positive label names it, else 0; empty
  // for tables that count no clicks (RowPolicy). Without tables until MarkClicks().
  std::vector<std::vector<uint8_t>> clicked = {};
};

// Leaves without a table get empty `positions`. `team`: shares out the tables of a large batch; may
// be null.
UniqueIds FindUniqueIds(const JobConfig& config, const Batch& batch, ThreadTeam* team = nullptr);

// Sets ids->clicked where a table counts clicks. `ids` are those of the batch, whose labels have
// been read.
void MarkClicks(const JobConfig& config, const Batch& batch, UniqueIds* ids);

}  // namespace pepnet

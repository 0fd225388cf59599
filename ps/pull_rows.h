// The rows of a pull in a server's tables: copied, or where they are.
//
// Threads: one at a time; with a team each table goes to one thread of it. The team may be null.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "common/base/thread_team.h"
#include "common/net/message.h"
#include "ps/table/table_shard.h"

namespace pepnet {

// With fewer rows a pull or a step is done before anybody of a team is awake.
inline constexpr size_t kRowsForTeam = 16384;

// Floats of the rows of `counts` ids: of a reply, and of the push that follows.
uint64_t GradientFloats(const std::vector<TableShard>& tables, std::span<const uint32_t> counts);

// Copies the rows, or initial values, to GradientFloats() floats at `out`; slots[i] becomes that of
// the i-th id.
void CopyPulledRows(std::vector<TableShard>* tables, const PullBody& pull, std::span<int64_t> slots,
                    float* out, ThreadTeam* team);

// The places of the rows of a pull. A table of fewer bits than float32 has none in its rows: the
// values of all its ids, initial ones too, are copied.
struct RowPointers {
  // By id; those of ids without a row are set by ReadUnseenRows(), those of copies by
  // CopyNarrowRows().
  AlignedBuffer<const float*> rows;
  std::vector<size_t> unseen_floats;  // by table: of the rows that are not there; of copies 0
  std::vector<size_t> copied_floats;  // by table
  size_t all_unseen_floats = 0, all_copied_floats = 0;
};
RowPointers PointToPulledRows(std::vector<TableShard>* tables, const PullBody& pull,
                              std::span<int64_t> slots, ThreadTeam* team);
// Writes the initial values of the ids without a row, all_unseen_floats floats, to `out`, table
// after table, and lets their pointers point there. `slots` as PointToPulledRows() left them.
void ReadUnseenRows(const std::vector<TableShard>& tables, const PullBody& pull,
                    std::span<const int64_t> slots, float* out, RowPointers* pointers,
                    ThreadTeam* team);
// The same for the values that are copied, all_copied_floats floats.
void CopyNarrowRows(const std::vector<TableShard>& tables, const PullBody& pull,
                    std::span<const int64_t> slots, float* out, RowPointers* pointers,
                    ThreadTeam* team);

}  // namespace pepnet

// RowSelection: which rows make up a worker's slice of a batch, as runs within chunks that were
// read from files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "worker/data/files/column_view.h"
#include "worker/data/files/row_reader.h"

namespace pepnet {

struct RowRun {
  int chunk = 0;      // index into RowSelection::chunks
  int64_t begin = 0;  // row within the chunk
  int64_t count = 0;
};

struct RowSelection {
  std::vector<RowChunk> chunks;
  std::vector<RowRun> runs;  // in the order of the batch
  int64_t rows = 0;          // sum of the runs' counts

  void AddRun(int chunk, int64_t begin, int64_t count) {
    rows += count;
    if (!runs.empty() && runs.back().chunk == chunk &&
        runs.back().begin + runs.back().count == begin) {
      runs.back().count += count;
    } else {
      runs.push_back({chunk, begin, count});
    }
  }
};

// Calls visit(chunk index, row within the chunk), which returns Status, for every row in order;
// stops at the first error. `views` are those of the column that is visited, one per chunk: the
// cells of rows that a shuffle picked are brought into the cache ahead of their use.
template <typename Visit>
Status ForEachRow(const RowSelection& selection, const std::vector<ColumnView>& views,
                  Visit visit) {
  constexpr size_t kTextRuns = 12, kCellRuns = 24;  // ahead; runs of a shuffle are single rows
  const auto& runs = selection.runs;
  for (size_t r = 0; r < runs.size(); ++r) {
    if (r + kCellRuns < runs.size()) {
      views[runs[r + kCellRuns].chunk].Prefetch(runs[r + kCellRuns].begin);
    }
    if (r + kTextRuns < runs.size()) {
      views[runs[r + kTextRuns].chunk].PrefetchText(runs[r + kTextRuns].begin);
    }
    for (int64_t row = runs[r].begin; row < runs[r].begin + runs[r].count; ++row) {
      PEPNET_RETURN_IF_ERROR(visit(runs[r].chunk, row));
    }
  }
  return absl::OkStatus();
}

// The same without a column.
template <typename Visit>
Status ForEachRow(const RowSelection& selection, Visit visit) {
  for (const RowRun& run : selection.runs) {
    for (int64_t row = run.begin; row < run.begin + run.count; ++row) {
      PEPNET_RETURN_IF_ERROR(visit(run.chunk, row));
    }
  }
  return absl::OkStatus();
}

// "'train.csv' row 17, column 'x': <cause>"; rows count from 1 in messages.
inline Status AtCell(const RowChunk& chunk, int64_t row, const std::string& column,
                     const Status& cause) {
  return Annotate(cause, absl::StrCat("'", *chunk.path, "' row ", chunk.Number(row) + 1,
                                      ", column '", column, "'"));
}

// Views of column number `column`, one per chunk. An unsupported type is an error that names file
// and column; `nested` as in ColumnView::Make().
StatusOr<std::vector<ColumnView>> ViewColumn(const RowSelection& selection, int column,
                                             bool nested = false);

// "'train.csv' rows 17-24", for messages.
std::string DescribeOrigin(const RowSelection& selection);

}  // namespace pepnet

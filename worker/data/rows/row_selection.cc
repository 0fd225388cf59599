#include "worker/data/rows/row_selection.h"

namespace pepnet {

StatusOr<std::vector<ColumnView>> ViewColumn(const RowSelection& selection, int column,
                                             bool nested) {
  std::vector<ColumnView> views;
  views.reserve(selection.chunks.size());
  for (const RowChunk& chunk : selection.chunks) {
    StatusOr<ColumnView> view = ColumnView::Make(chunk.rows->column(column), nested);
    if (!view.ok()) {
      return Annotate(view.status(), absl::StrCat("'", *chunk.path, "' column '",
                                                  chunk.rows->column_name(column), "'"));
    }
    views.push_back(std::move(view).value());
  }
  return views;
}

std::string DescribeOrigin(const RowSelection& selection) {
  if (selection.rows == 0) return "no rows";
  const RowRun& first = selection.runs.front();
  const RowRun& last = selection.runs.back();
  const RowChunk& first_chunk = selection.chunks[first.chunk];
  const RowChunk& last_chunk = selection.chunks[last.chunk];
  const int64_t from = first_chunk.Number(first.begin) + 1;
  const int64_t to = last_chunk.Number(last.begin + last.count - 1) + 1;
  if (*first_chunk.path != *last_chunk.path) {
    return absl::StrCat("'", *first_chunk.path, "' row ", from, " to '", *last_chunk.path, "' row ",
                        to);
  }
  // Runs that follow one another without a gap, or rows picked by a shuffle.
  const bool in_order = to - from + 1 == selection.rows;
  return absl::StrCat("'", *first_chunk.path, "' rows ", from, in_order ? "-" : " ... ", to);
}

}  // namespace pepnet

// CellColumn: the cells of one feature for the rows of a selection, either those of a column of the
// files or computed ones.
//
// Ownership: refers to the selection, keeps its arrays alive.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "worker/data/rows/row_selection.h"

namespace pepnet {

class CellColumn {
 public:
  // One view per chunk of the selection.
  CellColumn(const RowSelection& selection, std::vector<ColumnView> views)
      : selection_(&selection), views_(std::move(views)) {}
  // Cell i belongs to the i-th row of the selection.
  CellColumn(const RowSelection& selection, ColumnView computed)
      : selection_(&selection), is_computed_(true) {
    views_.push_back(std::move(computed));
  }

  const std::vector<ColumnView>& views() const { return views_; }
  bool is_computed() const { return is_computed_; }
  const RowSelection& selection() const { return *selection_; }
  int64_t rows() const { return selection_->rows; }

  // The cell of a row, as a row of one of the views. `place` counts the rows of the selection.
  struct Cell {
    const ColumnView* view;
    int64_t row;
  };
  Cell At(int chunk, int64_t row, int64_t place) const {
    return is_computed_ ? Cell{&views_[0], place} : Cell{&views_[chunk], row};
  }

  // Calls visit(view, row of the view), which returns Status, for every cell in order; stops at the
  // first error, which gets the file, the row and `name`, the name of the column, in front.
  template <typename Visit>
  Status ForEach(const std::string& name, Visit visit) const {
    int64_t place = 0;
    const auto visit_row = [&](int chunk, int64_t row) {
      const Cell cell = At(chunk, row, place++);
      const Status status = visit(*cell.view, cell.row);
      return status.ok() ? status : AtCell(selection_->chunks[chunk], row, name, status);
    };
    return is_computed_ ? ForEachRow(*selection_, visit_row)
                        : ForEachRow(*selection_, views_, visit_row);
  }

 private:
  const RowSelection* selection_;
  std::vector<ColumnView> views_;
  bool is_computed_ = false;
};

}  // namespace pepnet

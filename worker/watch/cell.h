// Cell: what one feature holds in one row of a batch, to compare rows.
#pragma once

#include <cstdint>
#include <vector>

#include "common/job_config/feature.h"
#include "worker/data/batch.h"

namespace pepnet {

struct Cell {
  std::vector<int64_t> ids;
  std::vector<float> numbers;  // weights or raw values
  bool operator==(const Cell&) const = default;
};

// `feature`: its index; `described`: the feature itself.
inline Cell CellOf(const Batch& batch, const Feature& described, size_t feature, int64_t row) {
  Cell cell;
  const int64_t dim = described.dim;
  const bool is_sequence = described.sequence.has_value();
  if (!batch.values[feature].empty()) {
    const int64_t first = is_sequence ? batch.elements[feature][row] : row;
    const int64_t last = is_sequence ? batch.elements[feature][row + 1] : row + 1;
    cell.numbers.assign(batch.values[feature].data() + first * dim,
                        batch.values[feature].data() + last * dim);
    return cell;
  }
  const IdColumn& column = batch.ids[feature];
  if (column.offsets.empty()) return cell;
  const std::span<const int64_t> ids = batch.RowIds(feature, row);
  cell.ids.assign(ids.begin(), ids.end());
  if (!column.weights.empty()) {
    const auto first = column.weights.begin() + (ids.data() - column.ids.data());
    cell.numbers.assign(first, first + ids.size());
  }
  return cell;
}

}  // namespace pepnet

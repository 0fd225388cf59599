// Sparse optimizers: what one step does to one row of a table (spec 5.2). Pure functions in
// float32; the formulas stand above each of them in sparse_optimizer.cc.
//
// Bits:    no fused multiply-add and a fixed order of every sum, so that a row depends on (row,
//          gradient, lr, update) alone (law L3).
// State:   laid out as common/job_config/sparse_optimizer.h says beside each description.
#pragma once

#include <cstdint>
#include <span>

#include "common/job_config/sparse_optimizer.h"

namespace pepnet {

// One row and its summed gradient. `value` and `gradient` have dim floats, `state`
// SparseStateDim(kind, dim).
struct RowUpdate {
  float* value;
  float* state;
  const float* gradient;
};

// Applies one step to distinct rows of one table. `update` is the number of this table update, from
// 1 (adam's t).
void UpdateRows(const SparseOptimizer& optimizer, double lr, int64_t update, int dim,
                std::span<const RowUpdate> rows);

// State of a row that has never been updated. state.size() is SparseStateDim(kind, dim).
void FillInitialState(const SparseOptimizer& optimizer, std::span<float> state);

}  // namespace pepnet

// From table rows to the vectors of leaves, and back from their gradients to row gradients (spec 3.2, 5.1, 5.2).
//
// A leaf has a vector for each row of the batch, or for each element of a sequence: a bag of ids each. With the lookups
// l of bag b:
//   out[b]  = sum over l: w_l * row[position_l]   (w_l = 1 unless weighted), / count for mean pooling
//   grad[p] = sum over the lookups with position p, in lookup order, leaf by leaf: (w_l / count) * dL/d out[b]
// With gradient_clipping each dL/d out is clamped to [-max_gradient, max_gradient] first, per vector.
#pragma once

#include <vector>

#include "common/base/aligned_buffer.h"
#include "common/job_config/job_config.h"
#include "worker/data/batch.h"
#include "worker/sparse/unique_ids.h"

namespace pepnet {

using FloatBuffers = std::vector<AlignedBuffer<float>>;

// table_rows[t]: ids.ids[t].size() * dim floats. pooled[l]: vectors * dim floats (resized) for every leaf with a table.
void PoolLeaves(const JobConfig& config, const Batch& batch, const UniqueIds& ids, const FloatBuffers& table_rows,
                FloatBuffers* pooled);

// leaf_gradients[l] as pooled[l]; row_gradients[t]: ids.ids[t].size() * dim floats (resized).
void ScatterGradients(const JobConfig& config, const Batch& batch, const UniqueIds& ids,
                      const FloatBuffers& leaf_gradients, FloatBuffers* row_gradients);

// The model reads these, by leaf: pooled vectors where there is a table, else the batch's own values.
std::vector<const float*> LeafPointers(const JobConfig& config, const Batch& batch, const FloatBuffers& pooled);

}  // namespace pepnet

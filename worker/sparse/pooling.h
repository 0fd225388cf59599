// From table rows to the vectors of leaves, and back from their gradients to row gradients (spec
// 3.2, 5.1, 5.2).
//
// A leaf has a vector for each row of the batch, or for each element of a sequence: a bag of ids
// each. With the lookups l of bag b:
//   out[b]  = sum over l: w_l * row[position_l]   (w_l = 1 unless weighted), / count for mean
//             pooling
//   grad[p] = sum over the lookups with position p, in lookup order, leaf by leaf:
//             (w_l / count) * dL/d out[b]
// With gradient_clipping each dL/d out is clamped to [-max_gradient, max_gradient] first, per
// vector.
//
// Threads: a team (may be null) shares the work out; the order of the additions to a float, and so
//          its bits, does not depend on it.
#pragma once

#include <span>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "common/base/thread_team.h"
#include "common/job_config/job_config.h"
#include "worker/data/batch.h"
#include "worker/sparse/pulled_rows.h"
#include "worker/sparse/unique_ids.h"

namespace pepnet {

using FloatBuffers = std::vector<AlignedBuffer<float>>;

// rows.table(t): a row for each of ids.ids[t]. pooled[l]: vectors * dim floats (resized) for every
// leaf with a table.
void PoolLeaves(const JobConfig& config, const Batch& batch, const UniqueIds& ids,
                const PulledRows& rows, FloatBuffers* pooled, ThreadTeam* team = nullptr);

// leaf_gradients[l] as pooled[l]; row_gradients[t]: ids.ids[t].size() * dim floats, which are all
// set.
void ScatterGradients(const JobConfig& config, const Batch& batch, const UniqueIds& ids,
                      const FloatBuffers& leaf_gradients,
                      std::span<const std::span<float>> row_gradients, ThreadTeam* team = nullptr);
// The same; resizes the buffers.
void ScatterGradients(const JobConfig& config, const Batch& batch, const UniqueIds& ids,
                      const FloatBuffers& leaf_gradients, FloatBuffers* row_gradients);

// The model reads these, by leaf: pooled vectors where there is a table, else the batch's own
// values.
std::vector<const float*> LeafPointers(const JobConfig& config, const Batch& batch,
                                       const FloatBuffers& pooled);

}  // namespace pepnet

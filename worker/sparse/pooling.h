// From table rows to pooled feature outputs, and back from their gradients to row gradients (spec 3.2, 5.1, 5.2).
//
//   out[b]  = sum over the lookups l of row b: w_l * row[position_l]   (w_l = 1 unless weighted), / count for mean pooling
//   grad[p] = sum over the lookups with position p, in lookup order, feature by feature: (w_l / count) * dL/d out[b]
// With gradient_clipping each dL/d out is clamped to [-max_gradient, max_gradient] first, per pooled output.
#pragma once

#include <vector>

#include "common/base/aligned_buffer.h"
#include "common/job_config/job_config.h"
#include "worker/data/batch.h"
#include "worker/sparse/unique_ids.h"

namespace pepnet {

using FloatBuffers = std::vector<AlignedBuffer<float>>;

// table_rows[t]: ids.ids[t].size() * dim floats. pooled[f]: rows * dim floats (resized) for every feature with a table in a group.
void PoolFeatures(const JobConfig& config, const Batch& batch, const UniqueIds& ids, const FloatBuffers& table_rows,
                  FloatBuffers* pooled);

// row_gradients[t]: ids.ids[t].size() * dim floats (resized).
void ScatterGradients(const JobConfig& config, const Batch& batch, const UniqueIds& ids,
                      const FloatBuffers& feature_gradients, FloatBuffers* row_gradients);

// What the model reads: pooled outputs for features with a table, the batch's own values for raw features, null otherwise.
std::vector<const float*> FeaturePointers(const JobConfig& config, const Batch& batch, const FloatBuffers& pooled);

}  // namespace pepnet

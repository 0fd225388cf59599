#include "worker/sparse/pooling.h"

#include <algorithm>

namespace pepnet {
namespace {

bool IsLookup(const Feature& feature) { return feature.in_group && feature.table >= 0; }

// Factor of one lookup in its pooled output.
float LookupFactor(const Feature& feature, const IdColumn& column, int32_t lookup, float inverse_count) {
  const float weight = feature.weighted ? column.weights[lookup] : 1.0f;
  return feature.pooling == Pooling::kMean ? weight * inverse_count : weight;
}

}  // namespace

void PoolFeatures(const JobConfig& config, const Batch& batch, const UniqueIds& ids, const FloatBuffers& table_rows,
                  FloatBuffers* pooled) {
  pooled->resize(config.features.size());
  for (size_t f = 0; f < config.features.size(); ++f) {
    const Feature& feature = config.features[f];
    if (!IsLookup(feature)) continue;
    const IdColumn& column = batch.ids[f];
    const std::vector<int32_t>& positions = ids.positions[f];
    const float* rows = table_rows[feature.table].data();
    const int dim = feature.dim;
    AlignedBuffer<float>& out = (*pooled)[f];
    out.ResizeZeroed(batch.rows * dim);
    for (int64_t b = 0; b < batch.rows; ++b) {
      float* target = out.data() + b * dim;
      const int32_t begin = column.offsets[b], end = column.offsets[b + 1];
      const float inverse_count = end > begin ? 1.0f / static_cast<float>(end - begin) : 0.0f;
      for (int32_t lookup = begin; lookup < end; ++lookup) {
        const float* row = rows + int64_t{positions[lookup]} * dim;
        const float factor = LookupFactor(feature, column, lookup, inverse_count);
        for (int d = 0; d < dim; ++d) target[d] += factor * row[d];
      }
    }
  }
}

void ScatterGradients(const JobConfig& config, const Batch& batch, const UniqueIds& ids,
                      const FloatBuffers& feature_gradients, FloatBuffers* row_gradients) {
  row_gradients->resize(config.tables.size());
  for (size_t table = 0; table < config.tables.size(); ++table) {
    (*row_gradients)[table].ResizeZeroed(ids.ids[table].size() * config.tables[table].dim);
  }
  const SparseOptimizer& optimizer = config.train.sparse_optimizer;
  const float limit = static_cast<float>(optimizer.max_gradient);
  for (size_t f = 0; f < config.features.size(); ++f) {
    const Feature& feature = config.features[f];
    if (!IsLookup(feature)) continue;
    const IdColumn& column = batch.ids[f];
    const std::vector<int32_t>& positions = ids.positions[f];
    const int dim = feature.dim;
    float* targets = (*row_gradients)[feature.table].data();
    for (int64_t b = 0; b < batch.rows; ++b) {
      const float* gradient = feature_gradients[f].data() + b * dim;
      const int32_t begin = column.offsets[b], end = column.offsets[b + 1];
      const float inverse_count = end > begin ? 1.0f / static_cast<float>(end - begin) : 0.0f;
      for (int32_t lookup = begin; lookup < end; ++lookup) {
        float* target = targets + int64_t{positions[lookup]} * dim;
        const float factor = LookupFactor(feature, column, lookup, inverse_count);
        if (optimizer.gradient_clipping) {
          for (int d = 0; d < dim; ++d) target[d] += factor * std::clamp(gradient[d], -limit, limit);
        } else {
          for (int d = 0; d < dim; ++d) target[d] += factor * gradient[d];
        }
      }
    }
  }
}

std::vector<const float*> FeaturePointers(const JobConfig& config, const Batch& batch, const FloatBuffers& pooled) {
  std::vector<const float*> pointers(config.features.size(), nullptr);
  for (size_t f = 0; f < config.features.size(); ++f) {
    const Feature& feature = config.features[f];
    if (!feature.in_group) continue;
    pointers[f] = feature.table >= 0 ? pooled[f].data() : batch.values[f].data();
  }
  return pointers;
}

}  // namespace pepnet

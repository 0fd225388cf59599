#include "worker/sparse/pooling.h"

#include <algorithm>
#include <span>

namespace pepnet {
namespace {

// The bags of a leaf begin here among the feature's ids, and the last one ends here. `joined` holds what has to be
// made: a row's bag of a sequence that is pooled whole.
std::span<const int32_t> BagOffsets(const Batch& batch, const Leaf& leaf, std::vector<int32_t>* joined) {
  const std::vector<int32_t>& offsets = batch.ids[leaf.feature].offsets;
  const std::vector<int32_t>& elements = batch.elements.empty() ? offsets : batch.elements[leaf.feature];
  if (leaf.sequence || batch.elements.empty() || elements.empty()) return offsets;
  joined->clear();
  for (const int32_t element : elements) joined->push_back(offsets[element]);
  return *joined;
}

// Factor of one lookup in its pooled output.
float LookupFactor(const Feature& feature, const IdColumn& column, int32_t lookup, float inverse_count) {
  const float weight = feature.weighted ? column.weights[lookup] : 1.0f;
  return feature.pooling == Pooling::kMean ? weight * inverse_count : weight;
}

// Calls visit(bag, lookup, factor) for every lookup of a leaf in order.
template <typename Visit>
void ForEachLookup(const Feature& feature, const IdColumn& column, std::span<const int32_t> bags, Visit visit) {
  for (size_t b = 0; b + 1 < bags.size(); ++b) {
    const int32_t begin = bags[b], end = bags[b + 1];
    const float inverse_count = end > begin ? 1.0f / static_cast<float>(end - begin) : 0.0f;
    for (int32_t lookup = begin; lookup < end; ++lookup) {
      visit(b, lookup, LookupFactor(feature, column, lookup, inverse_count));
    }
  }
}

}  // namespace

void PoolLeaves(const JobConfig& config, const Batch& batch, const UniqueIds& ids, const FloatBuffers& table_rows,
                FloatBuffers* pooled) {
  pooled->resize(config.leaves.size());
  std::vector<int32_t> joined;
  for (size_t l = 0; l < config.leaves.size(); ++l) {
    const Leaf& leaf = config.leaves[l];
    if (leaf.table < 0) continue;
    const std::vector<int32_t>& positions = ids.positions[l];
    const float* rows = table_rows[leaf.table].data();
    const int dim = leaf.dim;
    const std::span<const int32_t> bags = BagOffsets(batch, leaf, &joined);
    AlignedBuffer<float>& out = (*pooled)[l];
    out.ResizeZeroed(bags.empty() ? 0 : (bags.size() - 1) * dim);
    ForEachLookup(config.features[leaf.feature], batch.ids[leaf.feature], bags,
                  [&](size_t bag, int32_t lookup, float factor) {
                    float* const target = out.data() + bag * dim;
                    const float* const row = rows + int64_t{positions[lookup]} * dim;
                    for (int d = 0; d < dim; ++d) target[d] += factor * row[d];
                  });
  }
}

void ScatterGradients(const JobConfig& config, const Batch& batch, const UniqueIds& ids,
                      const FloatBuffers& leaf_gradients, FloatBuffers* row_gradients) {
  row_gradients->resize(config.tables.size());
  for (size_t table = 0; table < config.tables.size(); ++table) {
    (*row_gradients)[table].ResizeZeroed(ids.ids[table].size() * config.tables[table].dim);
  }
  const SparseOptimizer& optimizer = config.train.sparse_optimizer;
  const float limit = static_cast<float>(optimizer.max_gradient);
  std::vector<int32_t> joined;
  for (size_t l = 0; l < config.leaves.size(); ++l) {
    const Leaf& leaf = config.leaves[l];
    if (leaf.table < 0) continue;
    const std::vector<int32_t>& positions = ids.positions[l];
    const int dim = leaf.dim;
    float* const targets = (*row_gradients)[leaf.table].data();
    ForEachLookup(config.features[leaf.feature], batch.ids[leaf.feature], BagOffsets(batch, leaf, &joined),
                  [&](size_t bag, int32_t lookup, float factor) {
                    const float* const gradient = leaf_gradients[l].data() + bag * dim;
                    float* const target = targets + int64_t{positions[lookup]} * dim;
                    if (optimizer.gradient_clipping) {
                      for (int d = 0; d < dim; ++d) target[d] += factor * std::clamp(gradient[d], -limit, limit);
                    } else {
                      for (int d = 0; d < dim; ++d) target[d] += factor * gradient[d];
                    }
                  });
  }
}

std::vector<const float*> LeafPointers(const JobConfig& config, const Batch& batch, const FloatBuffers& pooled) {
  std::vector<const float*> pointers;
  for (size_t l = 0; l < config.leaves.size(); ++l) {
    const Leaf& leaf = config.leaves[l];
    pointers.push_back(leaf.table >= 0 ? pooled[l].data() : batch.values[leaf.feature].data());
  }
  return pointers;
}

}  // namespace pepnet

#include "worker/sparse/pooling.h"

#include <algorithm>
#include <span>

#include "common/base/processor.h"

namespace pepnet {
namespace {

constexpr size_t kLookupsForTeam = 16384;  // fewer are done before anybody else is awake
constexpr size_t kBagLookups = 8192;       // lookups of a share of a leaf, about
constexpr int kLineFloats = 16;            // of a cache line
constexpr int32_t kAhead = 24;             // lookups whose rows are asked for ahead of their use

// The bags of a leaf begin here among the feature's ids, and the last one ends here. `joined` holds
// what has to be made: a row's bag of a sequence that is pooled whole.
std::span<const int32_t> BagOffsets(const Batch& batch, const Leaf& leaf,
                                    std::vector<int32_t>* joined) {
  const std::vector<int32_t>& offsets = batch.ids[leaf.feature].offsets;
  // A batch without sequences leaves `elements` empty. A sequence that is read whole by a pooled
  // leaf has one bag per row: the ids of all of its elements, which stand side by side, so joining
  // the bags is a matter of offsets and no id is copied.
  const std::vector<int32_t>& elements =
      batch.elements.empty() ? offsets : batch.elements[leaf.feature];
  if (leaf.sequence || batch.elements.empty() || elements.empty()) return offsets;
  joined->clear();
  for (const int32_t element : elements) joined->push_back(offsets[element]);
  return *joined;
}

// The lookups of one leaf.
struct Lookups {
  std::span<const int32_t> bags;       // offsets
  std::span<const int32_t> positions;  // among the rows of the table
  const float* weights = nullptr;      // null: all are 1
  bool is_mean = false;

  int32_t end() const { return bags.empty() ? 0 : bags.back(); }
  float InverseCount(size_t bag) const {
    const int32_t count = bags[bag + 1] - bags[bag];
    return count > 0 ? 1.0f / static_cast<float>(count) : 0.0f;
  }
  // Factor of one lookup in its pooled output.
  float Factor(int32_t lookup, float inverse_count) const {
    const float weight = weights != nullptr ? weights[lookup] : 1.0f;
    return is_mean ? weight * inverse_count : weight;
  }
};

Lookups LookupsOf(const JobConfig& config, const Batch& batch, const UniqueIds& ids, size_t l,
                  std::vector<int32_t>* joined) {
  const Leaf& leaf = config.leaves[l];
  const Feature& feature = config.features[leaf.feature];
  return {BagOffsets(batch, leaf, joined), ids.positions[l],
          feature.weighted ? batch.ids[leaf.feature].weights.data() : nullptr,
          feature.pooling == Pooling::kMean};
}

size_t CountLookups(const JobConfig& config, const UniqueIds& ids) {
  size_t lookups = 0;
  for (size_t l = 0; l < config.leaves.size(); ++l) lookups += ids.positions[l].size();
  return lookups;
}

// Bags [first, last) of a leaf; fixed_dim 0: any.
template <int fixed_dim>
PEPNET_SIMD_INLINE void PoolBagsOf(const Lookups& lookups, const float* const* rows, int any_dim,
                                   size_t first, size_t last, float* __restrict out) {
  const int dim = fixed_dim > 0 ? fixed_dim : any_dim;
  // Rows are prefetched past the end of a bag, up to the end of the share: bags are short (often
  // one id) and the rows lie scattered over memory, so looking ahead within a bag would leave the
  // loop to wait for each of them.
  const int32_t end = lookups.bags[last];
  for (size_t b = first; b < last; ++b) {
    const float inverse_count = lookups.InverseCount(b);
    float* __restrict const target = out + b * static_cast<size_t>(dim);
    // A width known at compile time keeps the sum in registers, stored once; else it goes through
    // memory with every lookup.
    float sum[fixed_dim > 0 ? fixed_dim : 1];
    float* __restrict const sums = fixed_dim > 0 ? sum : target;
    for (int d = 0; d < dim; ++d) sums[d] = 0;
    for (int32_t lookup = lookups.bags[b]; lookup < lookups.bags[b + 1]; ++lookup) {
      if (lookup + kAhead < end)
        PrefetchRead(rows[lookups.positions[lookup + kAhead]], dim * sizeof(float));
      const float factor = lookups.Factor(lookup, inverse_count);
      const float* __restrict const row = rows[lookups.positions[lookup]];
      for (int d = 0; d < dim; ++d) sums[d] += factor * row[d];
    }
    if (fixed_dim > 0) {
      for (int d = 0; d < dim; ++d) target[d] = sums[d];
    }
  }
}

PEPNET_SIMD_CLONES
void PoolBags(const Lookups& lookups, const float* const* rows, int dim, size_t first, size_t last,
              float* out) {
  switch (dim) {
    case 4:
      return PoolBagsOf<4>(lookups, rows, dim, first, last, out);
    case 8:
      return PoolBagsOf<8>(lookups, rows, dim, first, last, out);
    case 16:
      return PoolBagsOf<16>(lookups, rows, dim, first, last, out);
    case 32:
      return PoolBagsOf<32>(lookups, rows, dim, first, last, out);
    case 64:
      return PoolBagsOf<64>(lookups, rows, dim, first, last, out);
    default:
      return PoolBagsOf<0>(lookups, rows, dim, first, last, out);
  }
}

// Columns [first, first + width) of the gradients of a table's rows.
struct GradientColumns {
  float* rows = nullptr;
  int dim = 0, first = 0, width = 0;
  bool clips = false;
  float limit = 0;
  // rows before this one have a sum; the first lookup of a row is the one that numbers it
  int32_t set = 0;

  float* At(int32_t position) const { return rows + int64_t{position} * dim + first; }
  // Zeroes rows that no lookup has reached. They exist only where ids stand outside every bag:
  // unique ids are numbered by their first lookup in the same order of leaves, bags and lookups, so
  // a row's first gradient finds `set` at its own position.
  void ZeroBefore(int32_t position) {
    for (; set < position; ++set) std::fill_n(At(set), width, 0.0f);
  }
};

template <int fixed_width>
PEPNET_SIMD_INLINE void ScatterLeafOf(const Lookups& lookups, const float* leaf_gradients,
                                      GradientColumns* columns) {
  const int width = fixed_width > 0 ? fixed_width : columns->width;
  const int32_t end = lookups.end();
  for (size_t b = 0; b + 1 < lookups.bags.size(); ++b) {
    const float inverse_count = lookups.InverseCount(b);
    const float* __restrict const gradient =
        leaf_gradients + b * static_cast<size_t>(columns->dim) + columns->first;
    for (int32_t lookup = lookups.bags[b]; lookup < lookups.bags[b + 1]; ++lookup) {
      if (lookup + kAhead < end) {
        PrefetchWrite(columns->At(lookups.positions[lookup + kAhead]));
      }
      const float factor = lookups.Factor(lookup, inverse_count);
      const int32_t position = lookups.positions[lookup];
      float* __restrict const target = columns->At(position);
      // The buffer is uninitialised (it may be the body of the push itself), so the first gradient
      // of a row is stored and later ones are added, which saves a pass over all rows. "0 +" turns
      // -0 into +0, as adding to a zeroed row would: the bits do not tell the two ways apart.
      if (position >= columns->set) {
        columns->ZeroBefore(position);
        ++columns->set;
        for (int d = 0; d < width; ++d) target[d] = 0.0f + factor * gradient[d];
      } else {
        for (int d = 0; d < width; ++d) target[d] += factor * gradient[d];
      }
    }
  }
}

PEPNET_SIMD_CLONES
void ScatterLeaf(const Lookups& lookups, const float* leaf_gradients, GradientColumns* columns) {
  switch (columns->width) {
    case 4:
      return ScatterLeafOf<4>(lookups, leaf_gradients, columns);
    case 8:
      return ScatterLeafOf<8>(lookups, leaf_gradients, columns);
    case 16:
      return ScatterLeafOf<16>(lookups, leaf_gradients, columns);
    case 32:
      return ScatterLeafOf<32>(lookups, leaf_gradients, columns);
    case 64:
      return ScatterLeafOf<64>(lookups, leaf_gradients, columns);
    default:
      return ScatterLeafOf<0>(lookups, leaf_gradients, columns);
  }
}

}  // namespace

void PoolLeaves(const JobConfig& config, const Batch& batch, const UniqueIds& ids,
                const PulledRows& rows, FloatBuffers* pooled, ThreadTeam* team) {
  struct Share {
    size_t leaf, first, last;  // bags
  };
  pooled->resize(config.leaves.size());
  std::vector<std::vector<int32_t>> joined(config.leaves.size());
  std::vector<Lookups> lookups(config.leaves.size());
  std::vector<Share> shares;
  // Leaves are cut into shares of bags. The cut depends on the number of lookups alone, never on
  // the team, and a bag is summed by one member in lookup order: the bits are those of one thread
  // (law L3).
  for (size_t l = 0; l < config.leaves.size(); ++l) {
    if (config.leaves[l].table < 0) continue;
    lookups[l] = LookupsOf(config, batch, ids, l, &joined[l]);
    const size_t bags = lookups[l].bags.empty() ? 0 : lookups[l].bags.size() - 1;
    (*pooled)[l].Resize(bags * static_cast<size_t>(config.leaves[l].dim));
    if (bags == 0) continue;
    const size_t count = std::clamp<size_t>(lookups[l].positions.size() / kBagLookups, 1, bags);
    for (size_t s = 0; s < count; ++s) {
      shares.push_back({l, bags * s / count, bags * (s + 1) / count});
    }
  }
  if (CountLookups(config, ids) < kLookupsForTeam) team = nullptr;
  ForEachOnTeam(team, shares.size(), [&](int, size_t s) {
    const Share& share = shares[s];
    const Leaf& leaf = config.leaves[share.leaf];
    PoolBags(lookups[share.leaf], rows.table(static_cast<size_t>(leaf.table)).data(), leaf.dim,
             share.first, share.last, (*pooled)[share.leaf].data());
  });
}

void ScatterGradients(const JobConfig& config, const Batch& batch, const UniqueIds& ids,
                      const FloatBuffers& leaf_gradients,
                      std::span<const std::span<float>> row_gradients, ThreadTeam* team) {
  struct Share {
    size_t table;
    int first, width;  // columns
  };
  const SparseOptimizer& optimizer = config.train.sparse_optimizer;
  const float limit = static_cast<float>(optimizer.max_gradient);
  if (CountLookups(config, ids) < kLookupsForTeam) team = nullptr;
  // A share is a table, or some columns of one where there are few tables, and wide ones. A cut by
  // lookups would let two members add to one row; a cut by columns gives every float to one member,
  // which visits all lookups in the order of one thread. So `wanted` may depend on the team without
  // a bit depending on it. Cuts fall on cache lines, so that members do not write to the same line.
  const size_t wanted = team != nullptr ? 4 * static_cast<size_t>(team->size()) : 1;
  std::vector<Share> shares;
  for (size_t t = 0; t < config.tables.size(); ++t) {
    const int dim = config.tables[t].dim;
    const int width = config.tables.size() >= wanted || dim % kLineFloats != 0
                          ? dim
                          : std::max(kLineFloats, dim / 2 / kLineFloats * kLineFloats);
    for (int first = 0; first < dim; first += width) {
      shares.push_back({t, first, std::min(width, dim - first)});
    }
  }
  ForEachOnTeam(team, shares.size(), [&](int, size_t s) {
    const Share& share = shares[s];
    GradientColumns columns{row_gradients[share.table].data(), config.tables[share.table].dim,
                            share.first, share.width};
    // A member has its own scratch space: shares of one table run at the same time.
    std::vector<int32_t> joined;
    AlignedBuffer<float> clipped;
    for (size_t l = 0; l < config.leaves.size(); ++l) {
      if (config.leaves[l].table != static_cast<int>(share.table)) continue;
      const float* gradients = leaf_gradients[l].data();
      // Clipping comes before the factors of the pooling, as in the reference (spec 5.2): the
      // derivative of the pooled vector is clamped, not that of the row.
      if (optimizer.gradient_clipping) {
        clipped.Resize(leaf_gradients[l].size());
        std::transform(leaf_gradients[l].begin(), leaf_gradients[l].end(), clipped.begin(),
                       [limit](float gradient) { return std::clamp(gradient, -limit, limit); });
        gradients = clipped.data();
      }
      ScatterLeaf(LookupsOf(config, batch, ids, l, &joined), gradients, &columns);
    }
    // Rows after the last lookup's are zeroed by the same argument as in ZeroBefore().
    columns.ZeroBefore(static_cast<int32_t>(ids.ids[share.table].size()));
  });
}

void ScatterGradients(const JobConfig& config, const Batch& batch, const UniqueIds& ids,
                      const FloatBuffers& leaf_gradients, FloatBuffers* row_gradients) {
  row_gradients->resize(config.tables.size());
  std::vector<std::span<float>> spans;
  for (size_t table = 0; table < config.tables.size(); ++table) {
    (*row_gradients)[table].Resize(ids.ids[table].size() * config.tables[table].dim);
    spans.push_back((*row_gradients)[table].span());
  }
  ScatterGradients(config, batch, ids, leaf_gradients, spans);
}

std::vector<const float*> LeafPointers(const JobConfig& config, const Batch& batch,
                                       const FloatBuffers& pooled) {
  std::vector<const float*> pointers;
  for (size_t l = 0; l < config.leaves.size(); ++l) {
    const Leaf& leaf = config.leaves[l];
    pointers.push_back(leaf.table >= 0 ? pooled[l].data() : batch.values[leaf.feature].data());
  }
  return pointers;
}

}  // namespace pepnet

#include "worker/watch/row_overlap.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <span>
#include <unordered_map>

#include "absl/strings/str_format.h"
#include "common/base/hash.h"

namespace pepnet {
namespace {

// A warning needs so many sampled training rows among the eval rows, and this share of all sampled
// ones; a few equal rows occur in any data.
constexpr int64_t kLeastHits = 20;
constexpr double kLeastShare = 0.01;

std::string Bytes(const std::vector<uint64_t>& hashes) {
  return {reinterpret_cast<const char*>(hashes.data()), hashes.size() * sizeof(uint64_t)};
}

// The hashes of all workers, each once.
StatusOr<std::vector<uint64_t>> Together(const std::vector<uint64_t>& mine,
                                         Collective* collective) {
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> parts,
                          collective->Allgather(Bytes(mine), "sampled rows"));
  std::vector<uint64_t> all;
  for (const std::string& part : parts) {
    const size_t before = all.size();
    all.resize(before + part.size() / sizeof(uint64_t));
    std::memcpy(all.data() + before, part.data(), (all.size() - before) * sizeof(uint64_t));
  }
  // The hashes are sorted, so that the result depends on the rows and not on who holds them.
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

// Counts how often each of `wanted` is among the rows of all workers.
StatusOr<std::vector<int64_t>> Occurrences(const std::vector<uint64_t>& wanted,
                                           const std::vector<uint64_t>& mine,
                                           Collective* collective) {
  // The wanted hashes go to all workers and the eval rows stay where they are: the sample is small,
  // the rows are not.
  std::unordered_map<uint64_t, size_t> places;
  for (size_t i = 0; i < wanted.size(); ++i) places.emplace(wanted[i], i);
  std::vector<int64_t> counts(wanted.size());
  for (const uint64_t hash : mine) {
    if (const auto place = places.find(hash); place != places.end()) ++counts[place->second];
  }
  PEPNET_RETURN_IF_ERROR(
      collective->AllreduceSum(std::span<int64_t>(counts), "rows that are alike"));
  return counts;
}

// The share of the wanted rows that occur at least so often.
double ShareOf(const std::vector<int64_t>& counts, int64_t least) {
  const auto hits =
      std::count_if(counts.begin(), counts.end(), [&](int64_t count) { return count >= least; });
  return counts.empty() ? 0 : static_cast<double>(hits) / static_cast<double>(counts.size());
}

// A bijection of `word` for a given hash and of the hash for a given word; Mix64() at the end of a
// row spreads the bits. Two rounds of that for each id, as HashCombine() has them, were most of
// what watching a row-bound job cost.
uint64_t Add(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
  return hash ^ (hash >> 32);
}

uint64_t AddFloat(uint64_t hash, float value) { return Add(hash, std::bit_cast<uint32_t>(value)); }

// RowHash() of each of these rows. Feature by feature: the rows do not wait for each other's memory
// then, and a column is walked in its order.
std::vector<uint64_t> RowHashes(const JobConfig& config, const Batch& batch,
                                std::span<const int64_t> rows) {
  std::vector<uint64_t> hashes(rows.size());
  for (size_t f = 0; f < config.features.size(); ++f) {
    const Feature& feature = config.features[f];
    if (!feature.is_read) continue;
    const bool is_sequence = feature.sequence.has_value();
    const bool has_ids = feature.bucketizer != Bucketizer::kNone;
    const IdColumn& column = batch.ids[f];
    const bool is_weighted = !column.weights.empty();
    for (size_t i = 0; i < rows.size(); ++i) {
      const int64_t first = is_sequence ? batch.elements[f][rows[i]] : rows[i];
      const int64_t last = is_sequence ? batch.elements[f][rows[i] + 1] : rows[i] + 1;
      // Lengths are part of the hash: [1, 2], [3] and [1], [2, 3] are different rows.
      uint64_t hash = Add(hashes[i], static_cast<uint64_t>(last - first));
      if (has_ids) {
        const int32_t begin = column.offsets[first], end = column.offsets[last];
        hash = Add(hash, static_cast<uint64_t>(end - begin));
        for (int32_t id = begin; id < end; ++id) {
          hash = Add(hash, static_cast<uint64_t>(column.ids[id]));
          if (is_weighted) hash = AddFloat(hash, column.weights[id]);
        }
      } else {
        for (int64_t v = first * feature.dim; v < last * feature.dim; ++v) {
          hash = AddFloat(hash, batch.values[f][v]);
        }
      }
      hashes[i] = hash;
    }
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    for (const Tower& tower : config.model.towers) {
      hashes[i] = AddFloat(hashes[i], batch.labels[tower.label].values[rows[i]]);
    }
    hashes[i] = Mix64(hashes[i]);
  }
  return hashes;
}

}  // namespace

uint64_t RowHash(const JobConfig& config, const Batch& batch, int64_t row) {
  return RowHashes(config, batch, std::span<const int64_t>(&row, 1))[0];
}

void TrainedRows::Observe(const Batch& batch) {
  const int64_t first = rows_before_ + batch.first_row;
  rows_before_ += batch.global_rows;
  std::vector<int64_t> rows;
  // The loop begins at the first row of this slice whose global number is a multiple of kStride.
  for (int64_t row = (kStride - first % kStride) % kStride;
       row < batch.rows && first + row < kStride * kMost; row += kStride) {
    rows.push_back(row);
  }
  const std::vector<uint64_t> hashes = RowHashes(*config_, batch, rows);
  hashes_.insert(hashes_.end(), hashes.begin(), hashes.end());
}

void RowOverlap::Add(const Batch& batch) {
  const int64_t first = rows_before_ + batch.first_row;
  rows_before_ += batch.global_rows;
  std::vector<int64_t> rows(static_cast<size_t>(batch.rows));
  std::iota(rows.begin(), rows.end(), int64_t{0});
  const std::vector<uint64_t> hashes = RowHashes(*config_, batch, rows);
  for (int64_t row = 0; row < batch.rows; ++row) {
    hashes_.push_back(hashes[row]);
    const int64_t number = first + row;
    if (number % TrainedRows::kStride == 0 && number < TrainedRows::kStride * TrainedRows::kMost) {
      sampled_.push_back(hashes_.back());
    }
  }
}

StatusOr<std::optional<Warning>> RowOverlap::Compare(const TrainedRows& trained,
                                                     Collective* collective) const {
  PEPNET_ASSIGN_OR_RETURN(const std::vector<uint64_t> wanted,
                          Together(trained.hashes(), collective));
  PEPNET_ASSIGN_OR_RETURN(const std::vector<uint64_t> own, Together(sampled_, collective));
  PEPNET_ASSIGN_OR_RETURN(const std::vector<int64_t> hits,
                          Occurrences(wanted, hashes_, collective));
  PEPNET_ASSIGN_OR_RETURN(const std::vector<int64_t> repeats,
                          Occurrences(own, hashes_, collective));
  // An eval row is always found among the eval rows: once is itself, twice is another one.
  const double trained_share = ShareOf(hits, 1), own_share = ShareOf(repeats, 2);
  const bool overlaps = trained_share * static_cast<double>(wanted.size()) >= kLeastHits &&
                        trained_share >= kLeastShare && trained_share >= 2 * own_share &&
                        trained_share >= own_share + kLeastShare;
  if (!overlaps) return std::optional<Warning>();
  return std::optional<Warning>(
      {warning_kinds::kOverlap, "rows",
       absl::StrFormat("%.1f %% of %d training rows looked at stand among the eval rows, with "
                       "equal features and labels "
                       "(by chance it would be about %.1f %%): the metrics will say how well rows "
                       "are remembered, not "
                       "how well new ones are predicted; split the rows by time or by user before "
                       "anything else",
                       100 * trained_share, wanted.size(), 100 * own_share)});
}

}  // namespace pepnet

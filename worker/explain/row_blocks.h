// Rows of a data set that stay in memory, in blocks, and the dealing out of single features among them.
//
// Blocks:  of as many rows as a batch, the last one shorter; block b holds rows [b * size, ...) of the input order. Every
//          worker holds all of them, so that a row can take a feature's values from any other.
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "worker/context/worker_context.h"
#include "worker/data/batch.h"

namespace pepnet {

struct RowBlocks {
  std::vector<Batch> blocks;
  int64_t block_rows = 0;  // of all but the last
  int64_t rows = 0;
};

// The first `most_rows` rows of the input (0: all), labels included. Error: as BatchLoader; domains out of range.
StatusOr<RowBlocks> ReadRowBlocks(const WorkerContext& context, const std::string& input_path, int64_t most_rows);

// The ids or values of one feature in the rows of a batch.
struct FeatureColumn {
  IdColumn ids;
  AlignedBuffer<float> values;
  std::vector<int32_t> elements;

  // Swaps with the feature of the batch.
  void Swap(Batch* batch, size_t feature);
};

// The column that `feature` would have in the rows of block `block` if row r held what row source(r) holds.
FeatureColumn TakeFrom(const RowBlocks& rows, const Feature& described, size_t feature, size_t block,
                       const std::function<int64_t(int64_t)>& source);

}  // namespace pepnet

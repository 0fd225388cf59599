// Rows of a data set that stay in memory, in blocks shared out over the workers, and the dealing
// out of single features among them.
//
// Blocks:  of as many rows as a batch, the last one shorter; block b holds rows [b * size, ...) of
//          the input order. Worker w of W holds blocks w, w + W, ...; worker 0 may hold the first
//          ones beside them.
// Memory:  a W-th of the rows on each worker, and, while a feature is permuted, that feature of
//          all rows, so that a row can take it from any other.
// Threads: one at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/net/collective.h"
#include "worker/context/worker_context.h"
#include "worker/data/batch.h"

namespace pepnet {

struct RowBlocks {
  std::vector<Batch> blocks;  // one that this worker does not hold is empty
  int64_t block_rows = 0;     // of all but the last
  int64_t rows = 0;           // of all blocks

  int64_t RowsOf(size_t block) const {
    return std::min(block_rows, rows - static_cast<int64_t>(block) * block_rows);
  }
};

// The first `most_rows` rows of the input (0: all), labels included; worker 0 also holds the blocks
// with the first `rows_of_first` rows. Every worker reads the whole input. Error: as BatchLoader;
// domains out of range.
StatusOr<RowBlocks> ReadRowBlocks(const WorkerContext& context, const std::string& input_path,
                                  int64_t most_rows, int64_t rows_of_first = 0);

// The ids or values of one feature in the rows of a batch.
struct FeatureColumn {
  IdColumn ids;
  AlignedBuffer<float> values;
  std::vector<int32_t> elements;

  // Swaps with the feature of the batch.
  void Swap(Batch* batch, size_t feature);
};

// One feature of all rows, by block. A collective operation: the workers tell one another the
// blocks that they hold by their number.
StatusOr<std::vector<FeatureColumn>> GatherFeature(const RowBlocks& rows, size_t feature,
                                                   Collective* collective);

// The column that `described` would have in the rows of block `block` if row r held what row
// source(r) holds. `columns`: what GatherFeature() returned.
FeatureColumn TakeFrom(const RowBlocks& rows, const std::vector<FeatureColumn>& columns,
                       const Feature& described, size_t block,
                       const std::function<int64_t(int64_t)>& source);

}  // namespace pepnet

// The window of a shuffle: what a reader permutes, and what a position in shuffled data depends on.
#pragma once

#include <algorithm>
#include <cstdint>

namespace pepnet {

// Rows that a shuffle permutes among themselves, counted from the start of a pass: `buffer_size`
// global batches of `global_batch_size` rows.
inline int64_t ShuffleWindowRows(int64_t global_batch_size, int64_t buffer_size) {
  return global_batch_size * std::max<int64_t>(1, buffer_size);
}

}  // namespace pepnet

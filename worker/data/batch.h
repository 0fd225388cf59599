// Batch: one worker's slice of one global batch, decoded and bucketised, without torch.
//
// Ownership: owns its arrays; moved, not copied.
// Invariants: offsets.size() == rows + 1, or elements + 1 of a sequence feature; offsets.back() ==
//             ids.size(); weights is empty or ids.size() long; every id satisfies 0 <= id <
//             Feature::rows; values hold Feature::dim finite floats for each row, or for each
//             element of a sequence feature.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/base/aligned_buffer.h"

namespace arrow {
class RecordBatch;  // only predict's writer looks inside
}

namespace pepnet {

// Ids of one feature: row i, or element i of a sequence feature, holds ids[offsets[i] ..
// offsets[i+1]).
struct IdColumn {
  std::vector<int64_t> ids;
  std::vector<int32_t> offsets;
  std::vector<float> weights;  // only for weighted features
};

// Values of one label column. Integer columns keep their integers (softmax, domain, indicator);
// every column has floats.
struct LabelColumn {
  std::vector<float> values;
  std::vector<int64_t> integers;  // empty if the column holds non-integers
};

// The position of the stream after a batch, which a checkpoint records (law L4).
struct DataPosition {
  int64_t epoch = 0;  // finished passes
  // Global rows consumed in the current pass; 0 after the last batch of a pass.
  int64_t rows_in_epoch = 0;
};

struct Batch {
  int64_t rows = 0;           // of this worker's slice; 0 is legal
  int64_t first_row = 0;      // index of its first row within the global batch
  int64_t global_rows = 0;    // rows of the global batch
  std::vector<IdColumn> ids;  // by feature index; empty columns for raw features without table
  // by feature index; dim floats a row, or an element, for raw features without table, else empty
  std::vector<AlignedBuffer<float>> values;
  // By feature index: elements [elements[i], elements[i + 1]) of a sequence feature are row i's;
  // empty for others.
  std::vector<std::vector<int32_t>> elements;
  // By index into DataConfig::labels; empty if labels are not read.
  std::vector<LabelColumn> labels;
  std::vector<std::vector<float>> sample_weights;  // by index into DataConfig::sample_weights
  // The latest of its rows, in seconds since 1970; 0: none has one, or it is not read.
  int64_t event_time = 0;
  bool last_in_epoch = false;  // no global batch follows in this pass
  DataPosition position_after;
  // "'train.csv' rows 17-24", for messages; rows count from 1 within their file
  std::string origin;
  // All ids of one row, whether they stand in elements or not.
  std::span<const int64_t> RowIds(size_t feature, int64_t row) const {
    const IdColumn& column = ids[feature];
    const bool is_sequence = !elements.empty() && !elements[feature].empty();
    const int64_t first = is_sequence ? elements[feature][row] : row;
    const int64_t last = is_sequence ? elements[feature][row + 1] : row + 1;
    return {column.ids.data() + column.offsets[first], column.ids.data() + column.offsets[last]};
  }

  // LoaderOptions::reserved_columns of this slice, in that order and with their types in the input
  // (texts from CSV); null without such columns. Shared only because Arrow's types are.
  std::shared_ptr<arrow::RecordBatch> reserved;
};

}  // namespace pepnet

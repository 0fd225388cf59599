// FeatureEncoder: from the cells of a slice to ids and values of every feature (spec 3.2 to 3.4).
//
// Threads:   immutable after Create(); Encode() may run in many threads at once.
// Ownership: copies what it needs of the config.
// Operators: the cells of a feature with one are computed from those of its inputs, and then
//            encoded like any others.
// Failure:   strict; an error names file, row, column, value, what is legal and what to do. The
//            only exception is opt-in: with `clamp_out_of_range` an integer id out of range reads
//            row 0 and is counted.
//
// Choices where the reference is unknown: an empty token inside a list is skipped; a default_value
// of several tokens is split like a cell; a default token of a weighted feature may lack its
// weight, which is then 1; a single default number of a wider raw feature stands for all its
// values; a token "a:b:0.5" is id "a:b" with weight 0.5.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/feature.h"
#include "worker/data/batch.h"
#include "worker/data/derive/cell_deriver.h"
#include "worker/data/encode/encode_counts.h"
#include "worker/data/encode/token_sinks.h"
#include "worker/data/rows/cell_column.h"

namespace pepnet {

class FeatureEncoder {
 public:
  // Error: a default_value that is no legal cell of its feature.
  static StatusOr<std::unique_ptr<FeatureEncoder>> Create(const std::vector<Feature>& features,
                                                          const EncoderOptions& options);

  const EmptyCell& empty_cell(int feature) const { return rules_[feature].empty; }

  // Fills batch->ids, batch->values and batch->elements. `columns`: for each feature in turn, the
  // numbers in the chunks of its ColumnsOf(). `counts` grows by what was replaced.
  Status Encode(const RowSelection& selection, std::span<const int> columns, Batch* batch,
                EncodeCounts* counts) const;

 private:
  FeatureEncoder() = default;
  // The cells of one encoding, by feature.
  struct Columns {
    const RowSelection& selection;
    std::span<const int> numbers;
    std::vector<std::optional<CellColumn>> cells;
  };

  Status EncodeDefault(FeatureRule* rule) const;
  // The cells of a feature, and before them those of the features that it is computed from.
  Status ReadCells(int feature, Columns* columns) const;
  StatusOr<CellColumn> ViewCells(const std::string& column, int number, const Columns& columns,
                                 bool nested) const;
  Status EncodeIds(const FeatureRule& rule, const CellColumn& cells, IdColumn* out,
                   int64_t* clamped, VocabularyCounts* vocabulary) const;
  Status EncodeValues(const FeatureRule& rule, const CellColumn& cells,
                      AlignedBuffer<float>* out) const;

  EncoderOptions options_;
  std::vector<FeatureRule> rules_;                      // by feature index
  std::vector<std::unique_ptr<CellDeriver>> derivers_;  // by feature index; null without operator
  // By feature index, into what Encode() gets as columns.
  std::vector<int> first_columns_;
};

}  // namespace pepnet

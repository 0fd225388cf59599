// FeatureEncoder: from the cells of a slice to ids and values of every feature (spec 3.2 to 3.4).
//
// Threads:   immutable after Create(); Encode() may run in many threads at once.
// Ownership: copies what it needs of the config.
// Failure:   strict; an error names file, row, column, value, what is legal and what to do. The only exception is opt-in:
//            with `clamp_out_of_range` an integer id out of range reads row 0 and is counted.
//
// Choices where the reference is unknown: an empty token inside a list is skipped; a default_value of several tokens is
// split like a cell; a default token of a weighted feature may lack its weight, which is then 1; a single default
// number of a wider raw feature stands for all its values; a token "a:b:0.5" is id "a:b" with weight 0.5.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/feature.h"
#include "worker/data/batch.h"
#include "worker/data/encode/token_sinks.h"
#include "worker/data/rows/row_selection.h"

namespace pepnet {

class FeatureEncoder {
 public:
  // Error: a default_value that is no legal cell of its feature.
  static StatusOr<std::unique_ptr<FeatureEncoder>> Create(const std::vector<Feature>& features,
                                                          const EncoderOptions& options);

  const EmptyCell& empty_cell(int feature) const { return rules_[feature].empty; }

  // Fills batch->ids and batch->values. `columns[f]` is the number of feature f's column in the chunks. `clamped` grows
  // by the ids replaced by row 0.
  Status Encode(const RowSelection& selection, std::span<const int> columns, Batch* batch, int64_t* clamped) const;

 private:
  FeatureEncoder() = default;
  Status EncodeDefault(FeatureRule* rule) const;
  Status EncodeIds(const FeatureRule& rule, const RowSelection& selection, const std::vector<ColumnView>& views,
                   IdColumn* out, int64_t* clamped) const;
  Status EncodeValues(const FeatureRule& rule, const RowSelection& selection, const std::vector<ColumnView>& views,
                      AlignedBuffer<float>* out) const;

  EncoderOptions options_;
  std::vector<FeatureRule> rules_;  // by feature index
};

}  // namespace pepnet

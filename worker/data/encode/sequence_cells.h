// Cells of sequence features (Feature::sequence): from texts, lists, or lists of lists to the ids
// or values of elements.
//
//   text               elements split by Sequence::delimiter, the values of an element by
//                      Feature::separator
//   number             one element of one value
//   list               of texts: an element each, whose values Feature::separator splits; of
//                      numbers: an element each, but in FG_NONE a raw feature takes value_dim of
//                      them for each element
//   list of lists      an element each
//
// An id feature of value_dim 1 has one id an element: the first of its values, or in FG_NONE its
// only one; one of value_dim 0 has all of them.
// Failure: as FeatureEncoder. `elements` gets rows + 1 offsets of elements; ids get offsets by
// element.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "worker/data/batch.h"
#include "worker/data/encode/token_sinks.h"
#include "worker/data/rows/cell_column.h"

namespace pepnet {

// Whether every element is to have one id.
bool ReadsOneId(const Feature& feature);

Status EncodeSequenceIds(const FeatureRule& rule, const EncoderOptions& options,
                         const CellColumn& cells, IdColumn* out, std::vector<int32_t>* elements,
                         int64_t* clamped, VocabularyCounts* vocabulary);

Status EncodeSequenceValues(const FeatureRule& rule, const CellColumn& cells,
                            AlignedBuffer<float>* out, std::vector<int32_t>* elements);

}  // namespace pepnet

// From raw columns to group tensors, inside an ONNX graph: what FeatureEncoder and PoolFeatures do
// for a batch.
//
// Inputs of a feature, all of the same batch:
//   <input>          [batch, <input>_n]  the cell's tokens, padded at the end with anything
//                      int64:  num_buckets (the id), hash_bucket_size (the bucket: hash of the
//                              token modulo rows; a graph cannot hash text), ids of FG_NONE; of a
//                              table that grows any id, with or without a row
//                      string: vocabularies;   double: raw features, with and without boundaries
//   <input>.lengths  [batch] int64       tokens of the cell; 0: the cell is empty and reads the
//                                        feature's default_value
//   <input>.weights  [batch, <input>_n] float, of weighted features
// Inputs of a sequence feature have one axis more:
//   <input>          [batch, <input>_n, <input>_m]  the tokens of each element; of plain values m
//                                                   is value_dim
//   <input>.lengths  [batch] int64                  elements of the cell
//   <input>.counts   [batch, <input>_n] int64       tokens of each element; 0: the element reads
//                                                   the default_value
// <input> is the column's name; where features of different kinds read one column, it is the
// feature's name.
//
// Input that predict refuses (an id out of range, a missing raw value without default) is an error
// of Gather here, or a NaN.
#pragma once

#include <string>
#include <vector>

#include "cli/export/onnx/graph.h"
#include "cli/export/tables/full_table.h"
#include "common/job_config/job_config.h"

namespace pepnet {

class FeatureEncoder;

// The inputs of one feature.
struct OnnxInput {
  int feature = 0;  // index
  std::string name;
  OnnxGraph::Type type = OnnxGraph::Type::kInt64;
};

// Of all features in a group, in config order. Features that share a column share an input.
std::vector<OnnxInput> OnnxInputs(const JobConfig& config);

// A leaf inside the graph.
struct OnnxLeaf {
  // [batch, dim]; of a sequence [batch, n, dim], zeros where there is no element
  OnnxGraph::Value values;
  OnnxGraph::Value lengths;  // of a sequence: [batch] int64, its elements
};

// Declares the inputs and adds what computes each leaf. Tables are asked for once each, one after
// the other.
StatusOr<std::vector<OnnxLeaf>> AddFeatures(const JobConfig& config, const FeatureEncoder& encoder,
                                            const TableSource& tables, OnnxGraph* graph);

// For a feature with boundaries b_1 < ... < b_n and an increasing normalizer g: the smallest
// doubles t_i with g(t_i) >= b_i (infinity if there is none), so that x >= t_i if and only if g(x)
// >= b_i, without rounding of its own.
StatusOr<std::vector<double>> RawThresholds(const Feature& feature);

}  // namespace pepnet

// Leaf: a feature as the network reads it. The tensors of the groups are concatenations of leaves
// and of the outputs of encoders, which read leaves themselves. A leaf's gradient is the sum over
// all places that read it.
//
// A feature has several leaves where it is read from several tables: pooled in a group and position
// by position in a sequence group, or in groups with different embedding_name_suffixes. A feature
// that nothing reads has none.
#pragma once

#include <string>
#include <vector>

namespace pepnet {

struct Leaf {
  int feature = -1;  // index into JobConfig::features
  int table = -1;    // index into JobConfig::tables; -1: the feature's values themselves
  int dim = 0;       // width: the table's, or value_dim of values
  bool sequence =
      // A vector for each element of a sequence feature ([elements, dim]), not one a row ([rows,
      // dim]).
      false;
  // Index into Model::embeddings: groups read the values through it; -1: as they are.
  int embedding = -1;
};

// An encoder reads for each row a query, the same for all positions, and a sequence of positions.
struct SequenceGroup {
  std::string name;
  std::vector<int> query;     // leaves without Leaf::sequence, in the order listed
  std::vector<int> sequence;  // leaves with Leaf::sequence; the first one's lengths are the group's
  int query_width = 0, width = 0;
};

}  // namespace pepnet

// EncodeCounts: what the encoding of cells replaced on its way, so that nothing is replaced without
// a count (law L7).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace pepnet {

// Of a feature with a vocabulary: tokens that were looked up, and those of them that it lacks and
// that were read as its unknown word. Default values of empty cells are not looked up.
// Of a feature with a hash_bucket_size: tokens that were hashed, and those of them that are whole
// numbers with a point ("5.0"), as a table writes whole numbers where one of them is missing.
struct VocabularyCounts {
  int64_t tokens = 0, unknown = 0;
  std::string example;  // the first unknown token, or the first with a point, "" if there is none

  // `later`: of rows that come later, whose example counts less.
  void Add(const VocabularyCounts& later) {
    if (unknown == 0) example = later.example;
    tokens += later.tokens;
    unknown += later.unknown;
  }
};

struct EncodeCounts {
  int64_t clamped = 0;                       // ids out of range that were read as row 0
  std::vector<VocabularyCounts> vocabulary;  // by feature; empty if nothing was encoded

  void Add(const EncodeCounts& later) {
    clamped += later.clamped;
    if (vocabulary.size() < later.vocabulary.size()) vocabulary.resize(later.vocabulary.size());
    for (size_t f = 0; f < later.vocabulary.size(); ++f) vocabulary[f].Add(later.vocabulary[f]);
  }
};

}  // namespace pepnet

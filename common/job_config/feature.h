// Feature: one column of the input and how a cell of it becomes ids or values.
//
// Tables are referred to by their position in JobConfig::tables, features by theirs in JobConfig::features.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace pepnet {

enum class Pooling { kSum, kMean };
enum class FeatureKind { kId, kRaw };

// How a token becomes a row number (spec 3.2, 3.4).
enum class Bucketizer {
  kIdentity,    // the integer itself: num_buckets, and every id in FG_NONE
  kHash,        // string hash modulo rows
  kVocabulary,  // Feature::vocabulary, unknown words -> unknown_id
  kBoundaries,  // number of boundaries <= x
  kNone,        // raw feature without boundaries: values go straight into the group tensor
};

enum class NormalizerKind { kNone, kLog10, kZscore, kMinmax };
struct Normalizer {
  NormalizerKind kind = NormalizerKind::kNone;
  // log10: x > a ? log10(x) : b.   zscore: (x - a) / b.   minmax: (x - a) / (b - a).
  double a = 0, b = 0;
};

struct Feature {
  std::string name;
  // input column it reads: the feature name in FG_NONE, else the name after the colon of `expression`
  std::string column;
  FeatureKind kind = FeatureKind::kId;
  Bucketizer bucketizer = Bucketizer::kIdentity;
  int table = -1;    // index into JobConfig::tables; -1: no table (raw values, or a feature in no group)
  int dim = 0;       // width in a group tensor: embedding_dim, or value_dim of a raw feature without table
  int64_t rows = 0;  // as Table::rows, also where table == -1 but ids are parsed; 0 for raw values
  bool in_group = false;
  Pooling pooling = Pooling::kSum;
  bool weighted = false;  // tokens are "id:weight"
  int value_dim = 0;      // id features: 0 list allowed, 1 single value. Raw features: values per cell
  std::string separator;  // splits a string cell into tokens
  std::optional<std::string> default_value;  // what an empty cell reads as; nullopt: no id (pooled vector zero)
  // Vocabulary and hash:
  std::map<std::string, int64_t> vocabulary;
  int64_t unknown_id = 0;
  // Raw features:
  std::vector<double> boundaries;
  Normalizer normalizer;
};

struct FeatureGroup {
  std::string name;           // "all", "domain", "uia" after dialect rewriting
  std::vector<int> features;  // order of the columns of the group tensor
  int width = 0;              // sum of the features' dims
};

}  // namespace pepnet

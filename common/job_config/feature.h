// Feature: a column of the input, or an operator over several, and how a cell of it becomes ids or
// values; and the descriptions of the kinds of features, bucketizers and normalizers. How cells are
// encoded is in worker/data/encode/feature_encoder.cc; docs/extending.md shows how a kind is added.
//
// Tables are referred to by their position in JobConfig::tables, features by theirs in
// JobConfig::features.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/expression/expression.h"
#include "common/job_config/dense_embedding.h"
#include "common/job_config/operator.h"
#include "common/job_config/type_table.h"

namespace pepnet {

enum class Pooling { kSum, kMean };

enum class FeatureKind { kId, kRaw };

struct FeatureType {
  const char* name;    // in checkpoints: never changes
  const char* field;   // of config::FeatureConfig
  bool limits_tokens;  // Feature::value_dim > 0 is the largest number of ids of a cell
};

namespace feature_types {

inline constexpr FeatureType kId = {"id", "id_feature", true};
inline constexpr FeatureType kRaw = {"raw", "raw_feature", false};

}  // namespace feature_types

constexpr const FeatureType* FindType(FeatureKind kind) {
  switch (kind) {
    case FeatureKind::kId:
      return &feature_types::kId;
    case FeatureKind::kRaw:
      return &feature_types::kRaw;
  }
  return nullptr;
}

// The way from a token to a row number (spec 3.2, 3.4).
enum class Bucketizer {
  kIdentity,    // the integer itself: num_buckets, and every id in FG_NONE
  kHash,        // string hash modulo rows
  kVocabulary,  // Feature::vocabulary, unknown words -> unknown_id
  kBoundaries,  // number of boundaries <= x
  kNone,        // raw feature without boundaries: values go straight into the group tensor
};

// The form of a token in an ONNX model, which encodes ids itself as far as a graph can.
enum class OnnxTokens {
  kIds,     // int64: finished ids
  kWords,   // string: looked up in Feature::vocabulary
  kReals,   // double: compared with Feature::boundaries
  kValues,  // double: Feature::dim values, without table
};

struct BucketizerType {
  const char* name;       // in checkpoints: never changes
  const char* card_name;  // in export.json and the model card
  OnnxTokens onnx;
  std::string (*onnx_comment)(int64_t rows);
};

namespace bucketizer_types {

inline constexpr BucketizerType kIdentity = {"identity", "id", OnnxTokens::kIds, [](int64_t rows) {
                                               return absl::StrCat("ids, 0 to ", rows - 1);
                                             }};
inline constexpr BucketizerType kHash = {
    "hash", "hash", OnnxTokens::kIds,
    [](int64_t rows) { return absl::StrCat("buckets: hash of the token modulo ", rows); }};
inline constexpr BucketizerType kVocabulary = {"vocabulary", "vocabulary", OnnxTokens::kWords,
                                               [](int64_t) { return std::string("words"); }};
inline constexpr BucketizerType kBoundaries = {
    "boundaries", "boundaries", OnnxTokens::kReals,
    [](int64_t) { return std::string("values, put into buckets here"); }};
inline constexpr BucketizerType kNone = {"none", "value", OnnxTokens::kValues,
                                         [](int64_t) { return std::string("values"); }};

}  // namespace bucketizer_types

constexpr const BucketizerType* FindType(Bucketizer bucketizer) {
  switch (bucketizer) {
    case Bucketizer::kIdentity:
      return &bucketizer_types::kIdentity;
    case Bucketizer::kHash:
      return &bucketizer_types::kHash;
    case Bucketizer::kVocabulary:
      return &bucketizer_types::kVocabulary;
    case Bucketizer::kBoundaries:
      return &bucketizer_types::kBoundaries;
    case Bucketizer::kNone:
      return &bucketizer_types::kNone;
  }
  return nullptr;
}

enum class NormalizerKind { kNone, kLog10, kZscore, kMinmax, kExpression };
struct Normalizer {
  NormalizerKind kind = NormalizerKind::kNone;
  // log10: x > a ? log10(x) : b.   zscore: (x - a) / b.   minmax: (x - a) / (b - a).
  double a = 0, b = 0;
  Expression expression = {};  // of kExpression, over the variable x
};

struct NormalizerType {
  // In checkpoints, and method=<name> in configs: never changes.
  const char* name;
  const char* arguments[2] = {nullptr, nullptr};      // that are a and b, both required
  std::string (*check)(const Normalizer&) = nullptr;  // why a and b do not fit; "": they do
};

namespace normalizer_types {

inline constexpr NormalizerType kNone = {"none"};
inline constexpr NormalizerType kLog10 = {
    "log10", {"threshold", "default"}, [](const Normalizer& normalizer) {
      return normalizer.a < 0 ? absl::StrCat("needs threshold >= 0, got ", normalizer.a)
                              : std::string();
    }};
inline constexpr NormalizerType kZscore = {
    "zscore", {"mean", "standard_deviation"}, [](const Normalizer& normalizer) {
      return std::string(normalizer.b == 0 ? "needs a standard_deviation other than 0" : "");
    }};
inline constexpr NormalizerType kMinmax = {
    "minmax", {"min", "max"}, [](const Normalizer& normalizer) {
      return std::string(normalizer.a == normalizer.b ? "needs min and max to differ" : "");
    }};
inline constexpr NormalizerType kExpression = {"expression"};

}  // namespace normalizer_types

constexpr const NormalizerType* FindType(NormalizerKind kind) {
  switch (kind) {
    case NormalizerKind::kNone:
      return &normalizer_types::kNone;
    case NormalizerKind::kLog10:
      return &normalizer_types::kLog10;
    case NormalizerKind::kZscore:
      return &normalizer_types::kZscore;
    case NormalizerKind::kMinmax:
      return &normalizer_types::kMinmax;
    case NormalizerKind::kExpression:
      return &normalizer_types::kExpression;
  }
  return nullptr;
}

// A cell of a sequence feature is a list of elements, each of which is what a cell of another
// feature is.
struct Sequence {
  std::string delimiter;  // splits a text cell into elements
  int max_elements = 0;   // only the first ones of a cell are read; 0: all
  // An empty cell is one element that reads as Feature::default_value, and so is an empty element.
  // Else an empty cell has no elements where there is no default_value, and an empty element is an
  // error.
  bool fills_empty = false;
};

struct Feature {
  std::string name;
  // The input column it reads: the feature name in FG_NONE, else the name after the colon of
  // `expression`. With an operator no column is read: it is the feature's name, for messages.
  std::string column;
  std::optional<FeatureOperator> op;  // computes the cells
  FeatureKind kind = FeatureKind::kId;
  Bucketizer bucketizer = Bucketizer::kIdentity;
  // Width in a tensor: embedding_dim, or value_dim of a raw feature without table.
  int dim = 0;
  int64_t rows = 0;      // of its tables; 0 for raw values
  bool is_read = false;  // by a group or a sequence group: it has leaves
  Pooling pooling = Pooling::kSum;
  bool weighted = false;  // tokens are "id:weight"
  // Id features: 0 list allowed, 1 single value. Raw features: values per cell.
  int value_dim = 0;
  std::string separator;  // splits a string cell into tokens
  // The value of an empty cell; nullopt: no id (pooled vector zero).
  std::optional<std::string> default_value;
  // Vocabulary and hash:
  std::map<std::string, int64_t> vocabulary;
  int64_t unknown_id = 0;
  // Raw features:
  std::vector<double> boundaries;
  Normalizer normalizer;
  // Of values without table, no sequence: what groups read them through. Its leaf is set where one
  // does, in Model.
  std::optional<DenseEmbedding> embedding;
  std::optional<Sequence> sequence;
};

// The word of the feature's vocabulary that has this id; null: none has.
inline const std::string* VocabularyWord(const Feature& feature, int64_t id) {
  for (const auto& [word, of_word] : feature.vocabulary) {
    if (of_word == id) return &word;
  }
  return nullptr;
}

// The columns that a feature reads, one after another: its own, or those of its operator's inputs
// that are columns.
inline std::vector<std::string> ColumnsOf(const Feature& feature) {
  if (!feature.op.has_value()) return {feature.column};
  std::vector<std::string> columns;
  for (const OperatorInput& input : feature.op->inputs) {
    if (input.feature < 0) columns.push_back(input.column);
  }
  return columns;
}

}  // namespace pepnet

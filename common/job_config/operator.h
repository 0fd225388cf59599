// FeatureOperator: computes the cells of a feature from columns, its inputs. The result is then
// read as the cells of any other feature are. The operators themselves are in worker/data/derive.
//
// Inputs are referred to by their position in FeatureOperator::inputs, features by theirs in
// JobConfig::features.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/expression/expression.h"

namespace pepnet {

enum class OperatorKind {
  kCombo,
  kLookup,
  kMatch,
  kExpr,
  kOverlap,
  kKvDotProduct,
  kBoolMask,
  kCombine,
  kEditDistance,
  kTokenize
};

struct OperatorType {
  const char* name;   // in checkpoints: never changes
  const char* field;  // of config::FeatureConfig
};

namespace operator_types {

inline constexpr OperatorType kCombo = {"combo", "combo_feature"};
inline constexpr OperatorType kLookup = {"lookup", "lookup_feature"};
inline constexpr OperatorType kMatch = {"match", "match_feature"};
inline constexpr OperatorType kExpr = {"expr", "expr_feature"};
inline constexpr OperatorType kOverlap = {"overlap", "overlap_feature"};
inline constexpr OperatorType kKvDotProduct = {"kv_dot_product", "kv_dot_product"};
inline constexpr OperatorType kBoolMask = {"bool_mask", "bool_mask_feature"};
inline constexpr OperatorType kCombine = {"combine", "combine_feature"};
// The other operator of custom_feature, SeqExpr, is read as kExpr.
inline constexpr OperatorType kEditDistance = {"edit_distance", "custom_feature"};
inline constexpr OperatorType kTokenize = {"tokenize", "tokenize_feature"};

}  // namespace operator_types

constexpr const OperatorType* FindType(OperatorKind kind) {
  switch (kind) {
    case OperatorKind::kCombo:
      return &operator_types::kCombo;
    case OperatorKind::kLookup:
      return &operator_types::kLookup;
    case OperatorKind::kMatch:
      return &operator_types::kMatch;
    case OperatorKind::kExpr:
      return &operator_types::kExpr;
    case OperatorKind::kOverlap:
      return &operator_types::kOverlap;
    case OperatorKind::kKvDotProduct:
      return &operator_types::kKvDotProduct;
    case OperatorKind::kBoolMask:
      return &operator_types::kBoolMask;
    case OperatorKind::kCombine:
      return &operator_types::kCombine;
    case OperatorKind::kEditDistance:
      return &operator_types::kEditDistance;
    case OperatorKind::kTokenize:
      return &operator_types::kTokenize;
  }
  return nullptr;
}

// Makes one number of several.
enum class Combiner { kSum, kMean, kMin, kMax, kCount };

struct CombinerType {
  const char* name;  // in configs and checkpoints: never changes
};

namespace combiner_types {

inline constexpr CombinerType kSum = {"sum"};
inline constexpr CombinerType kMean = {"mean"};
inline constexpr CombinerType kMin = {"min"};
inline constexpr CombinerType kMax = {"max"};
inline constexpr CombinerType kCount = {"count"};

}  // namespace combiner_types

constexpr const CombinerType* FindType(Combiner combiner) {
  switch (combiner) {
    case Combiner::kSum:
      return &combiner_types::kSum;
    case Combiner::kMean:
      return &combiner_types::kMean;
    case Combiner::kMin:
      return &combiner_types::kMin;
    case Combiner::kMax:
      return &combiner_types::kMax;
    case Combiner::kCount:
      return &combiner_types::kCount;
  }
  return nullptr;
}

enum class OverlapMethod { kQueryCommonRatio, kTitleCommonRatio, kIsContain, kIsEqual, kIndexOf };

struct OverlapMethodType {
  const char* name;  // in configs and checkpoints: never changes
};

namespace overlap_method_types {

inline constexpr OverlapMethodType kQueryCommonRatio = {"query_common_ratio"};
inline constexpr OverlapMethodType kTitleCommonRatio = {"title_common_ratio"};
inline constexpr OverlapMethodType kIsContain = {"is_contain"};
inline constexpr OverlapMethodType kIsEqual = {"is_equal"};
inline constexpr OverlapMethodType kIndexOf = {"index_of"};

}  // namespace overlap_method_types

constexpr const OverlapMethodType* FindType(OverlapMethod method) {
  switch (method) {
    case OverlapMethod::kQueryCommonRatio:
      return &overlap_method_types::kQueryCommonRatio;
    case OverlapMethod::kTitleCommonRatio:
      return &overlap_method_types::kTitleCommonRatio;
    case OverlapMethod::kIsContain:
      return &overlap_method_types::kIsContain;
    case OverlapMethod::kIsEqual:
      return &overlap_method_types::kIsEqual;
    case OverlapMethod::kIndexOf:
      return &overlap_method_types::kIndexOf;
  }
  return nullptr;
}

// The way in which a tokenizer cuts a text into words.
enum class WordSplit { kWhitespace, kWhitespaceSplit };

struct WordSplitType {
  const char* name;  // of the pre_tokenizer in tokenizer.json, and in checkpoints: never changes
};

namespace word_split_types {

inline constexpr WordSplitType kWhitespace = {"Whitespace"};            // \w+ and [^\w\s]+
inline constexpr WordSplitType kWhitespaceSplit = {"WhitespaceSplit"};  // \S+

}  // namespace word_split_types

constexpr const WordSplitType* FindType(WordSplit split) {
  switch (split) {
    case WordSplit::kWhitespace:
      return &word_split_types::kWhitespace;
    case WordSplit::kWhitespaceSplit:
      return &word_split_types::kWhitespaceSplit;
  }
  return nullptr;
}

// Changes that the feature makes to a text before the tokenizer sees it; ASCII alone.
struct TextNormalization {
  bool to_upper = false, to_lower = false;  // not both
  bool removes_blanks = false;
  int64_t most_characters = 0;  // a longer text stays as it is; 0: any length
};

// From texts to words (common/tokenizer/word_tokenizer.h); their rows are in Feature::vocabulary.
struct Tokenizer {
  std::optional<TextNormalization> text;
  WordSplit split = WordSplit::kWhitespaceSplit;
  bool lower_case = false;
  // A word that is not in the vocabulary is a token, of Feature::unknown_id.
  bool has_unknown = false;
  std::vector<std::string> added;  // tokens that are cut out wherever they stand
};

struct OperatorInput {
  std::string column;  // unless `feature` is set
  // The feature whose cells are read, an empty one as the feature's default_value; -1: none.
  int feature = -1;
  // Of a sequence: its cells are sequences, too; else the same cell counts for every element.
  bool by_element = false;
};

struct FeatureOperator {
  OperatorKind kind = OperatorKind::kCombo;
  std::vector<OperatorInput> inputs;
  bool gives_tokens = true;  // texts that name rows of a table; false: numbers
  // lookup and match: a token is prefix + key_ + value, each key only if it is shown.
  std::string prefix;
  std::vector<bool> shows_key;              // lookup: of its key; match: of pkey and skey
  std::vector<bool> takes_all;              // match: every pkey, every skey; such a key is no input
  int value_dim = 1;                        // lookup: numbers that a value holds
  std::string value_separator;              // lookup: between them
  std::optional<Combiner> combiner;         // lookup and combine; nullopt: takes all
  std::map<std::string, double> value_map;  // combine; empty: the tokens are numbers
  bool to_integer = false;                  // combine: cuts the number to its whole part
  OverlapMethod method = OverlapMethod::kIsEqual;
  bool by_bytes = false;               // edit_distance: of bytes, else of characters of UTF-8
  Expression formula;                  // expr: its variables are the inputs
  std::optional<double> fill_missing;  // expr
  Tokenizer tokenizer;                 // tokenize
  // tokenize: the feature is a sequence of which each token of the one cell is an element; those of
  // default_text where there is none.
  bool gives_elements = false;
  std::string default_text;
};

}  // namespace pepnet

// From the message of a computed feature to its operator and to the id or raw feature that reads
// what it computes (docs/spec.md 3.11). The FeatureMessage of one (convert_leaves.h) has an
// operator kind.
#pragma once

#include <optional>
#include <string>
#include <variant>

#include "common/base/status.h"
#include "common/config/convert_leaves.h"
#include "common/config/parse/config_source.h"
#include "common/config/values/tokenizer_file.h"
#include "common/job_config/job_config.h"
#include "proto/feature.pb.h"

namespace pepnet {

// An input as configs write it, "side:column"; the side is user, item, context, or, before the name
// of another feature, feature. Nothing: the text is no such input.
struct NamedInput {
  std::string side;
  std::string column;
};
std::optional<NamedInput> SplitInput(const std::string& text);

// The feature that reads the computed cells, with the fields of `from` that have the same names
// there.
using ReadingFeature = std::variant<config::IdFeature, config::RawFeature>;
// `token_rows`: of tokenize_feature, the words of its vocabulary.
ReadingFeature ReadingFeatureOf(const FeatureMessage& from, const DataConfig& data,
                                int64_t token_rows);
// Between the tokens of a tokenize_feature's default_value: a blank, which no word holds.
inline constexpr char kBetweenWords[] = "\n";

// The operator of `from`, for modes that compute (any but FG_NONE). An input of side feature holds
// the other feature's name as its column, and its number must be filled in: see ResolveInputs().
StatusOr<FeatureOperator> ReadOperator(const FeatureMessage& from, const DataConfig& data,
                                       const ConfigSource& source);

// The file that the vocab_file of a TokenizeFeature names, read; `tokenizer` is complete, with what
// the feature says of texts.
StatusOr<TokenizerFile> ReadTokenizer(const config::TokenizeFeature& from, ConfigSource* source);

// Replaces the names of features that are inputs by their numbers. messages: by feature.
// Error: a name that is no feature, a feature whose values are no longer what its cells hold, a
// circle.
Status ResolveInputs(const std::vector<FeatureMessage>& messages, const ConfigSource& source,
                     JobConfig* out);

}  // namespace pepnet

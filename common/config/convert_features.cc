#include <cmath>
#include <limits>
#include <optional>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

#include "common/config/convert.h"
#include "common/config/convert_leaves.h"
#include "common/config/convert_parameters.h"
#include "common/config/values/value_strings.h"
#include "common/config/values/vocabulary.h"

namespace pepnet {
namespace {

constexpr uint64_t kMaxRows = uint64_t{1} << 62;
constexpr uint32_t kMaxDim = 1 << 16;

// What IdFeature and RawFeature share.
template <typename ProtoFeature>
Status ConvertCommon(const ProtoFeature& from, const DataConfig& data, const ConfigSource& source, Feature* feature) {
  if (from.feature_name().empty()) return source.Error(from, "feature_name", "is missing; expected a name");
  feature->name = from.feature_name();
  if (data.fg_mode == FgMode::kNone) {
    feature->column = feature->name;
    feature->separator = data.fg_encoded_multival_sep;
    if (from.has_fg_encoded_default_value() && !from.fg_encoded_default_value().empty()) {
      feature->default_value = from.fg_encoded_default_value();
    }
  } else {
    if (!from.has_expression()) {
      return source.Error(from, "expression", "is missing; expected user:, item: or context: and the input column");
    }
    const std::string& expression = from.expression();
    const size_t colon = expression.find(':');
    const std::string side = expression.substr(0, colon);
    if (colon == std::string::npos || colon + 1 == expression.size() ||
        (side != "user" && side != "item" && side != "context")) {
      return source.Error(from, "expression", "\"", expression,
                          "\"; expected user:, item: or context: and the input column");
    }
    feature->column = expression.substr(colon + 1);
    feature->separator = from.separator();
    if (!from.default_value().empty()) feature->default_value = from.default_value();
  }
  if (feature->separator.empty())
    return source.Error(from, "separator", "is empty; expected the text between two values");
  const std::string pooling = absl::AsciiStrToLower(from.pooling());
  if (pooling != "sum" && pooling != "mean") {
    return source.Error(from, "pooling", "\"", from.pooling(), "\"; expected sum or mean");
  }
  feature->pooling = pooling == "sum" ? Pooling::kSum : Pooling::kMean;
  if (from.data_type() != "FP32") {
    return source.Error(from, "data_type", "\"", from.data_type(), "\" is not supported; expected FP32");
  }
  return absl::OkStatus();
}

Status ConvertId(const config::IdFeature& id, const DataConfig& data, const ConfigSource& source, Feature* feature) {
  PEPNET_RETURN_IF_ERROR(ConvertCommon(id, data, source, feature));
  if (id.embedding_dim() == 0 || id.embedding_dim() > kMaxDim) {
    return source.Error(id, "embedding_dim", id.has_embedding_dim() ? absl::StrCat(id.embedding_dim()) : "is missing",
                        "; expected the width of a row, 1 to ", kMaxDim);
  }
  feature->dim = static_cast<int>(id.embedding_dim());
  if (id.value_dim() > 1) {
    return source.Error(id, "value_dim", id.value_dim(),
                        "; expected 0 (a cell may hold several ids) or 1 (exactly one)");
  }
  feature->value_dim = static_cast<int>(id.value_dim());
  feature->weighted = id.weighted();

  const std::pair<const char*, bool> bucketizers[] = {{"hash_bucket_size", id.has_hash_bucket_size()},
                                                      {"num_buckets", id.has_num_buckets()},
                                                      {"vocab_list", id.vocab_list_size() > 0},
                                                      {"vocab_dict", id.vocab_dict_size() > 0},
                                                      {"vocab_file", id.has_vocab_file()}};
  std::string chosen;
  for (const auto& [name, set] : bucketizers) {
    if (!set) continue;
    if (!chosen.empty()) return source.Error(id, name, chosen, " is set as well; expected exactly one of them");
    chosen = name;
  }
  if (chosen.empty()) {
    return source.Error(id, "", "feature ", id.feature_name(),
                        " does not say how tokens become rows; set one of num_buckets, hash_bucket_size, vocab_list, "
                        "vocab_dict and vocab_file");
  }
  const bool by_vocabulary = chosen.rfind("vocab", 0) == 0;
  if (id.has_default_bucketize_value() && !by_vocabulary) {
    return source.Error(id, "default_bucketize_value", "only applies to vocabularies, but ", chosen,
                        " is set; remove it");
  }
  if (id.has_asset_dir() && chosen != "vocab_file") {
    return source.Error(id, "asset_dir", "only applies to vocab_file, but ", chosen, " is set; remove it");
  }
  if (by_vocabulary) {
    feature->bucketizer = Bucketizer::kVocabulary;
    PEPNET_RETURN_IF_ERROR(BuildVocabulary(id, source, feature));
  } else {
    const uint64_t rows = chosen == "num_buckets" ? id.num_buckets() : id.hash_bucket_size();
    if (rows == 0 || rows > kMaxRows) return source.Error(id, chosen, rows, "; expected 1 to ", kMaxRows, " rows");
    feature->bucketizer = chosen == "num_buckets" ? Bucketizer::kIdentity : Bucketizer::kHash;
    feature->rows = static_cast<int64_t>(rows);
  }
  if (data.fg_mode == FgMode::kNone) {  // the column holds finished ids
    feature->bucketizer = Bucketizer::kIdentity;
    feature->vocabulary.clear();
    feature->unknown_id = 0;
  }
  return absl::OkStatus();
}

Status ConvertBoundaries(const config::RawFeature& raw, const ConfigSource& source, Feature* feature) {
  for (const float boundary : raw.boundaries()) {
    const double value = ShortestDecimal(boundary);
    if (!std::isfinite(value)) return source.Error(raw, "boundaries", value, "; expected numbers");
    if (!feature->boundaries.empty() && value <= feature->boundaries.back()) {
      return source.Error(raw, "boundaries", value, " follows ", feature->boundaries.back(),
                          "; expected strictly increasing numbers");
    }
    feature->boundaries.push_back(value);
  }
  if (raw.embedding_dim() == 0 || raw.embedding_dim() > kMaxDim) {
    return source.Error(raw, "embedding_dim",
                        raw.has_embedding_dim() ? absl::StrCat(raw.embedding_dim()) : "is missing",
                        "; with boundaries, expected the width of a row, 1 to ", kMaxDim);
  }
  feature->dim = static_cast<int>(raw.embedding_dim());
  feature->rows = raw.boundaries_size() + 1;
  feature->bucketizer = Bucketizer::kBoundaries;
  return absl::OkStatus();
}

Status ConvertRaw(const config::RawFeature& raw, const DataConfig& data, ConfigSource* source, Feature* feature) {
  PEPNET_RETURN_IF_ERROR(ConvertCommon(raw, data, *source, feature));
  if (raw.value_dim() == 0 || raw.value_dim() > kMaxDim) {
    return source->Error(raw, "value_dim", raw.value_dim(), "; expected the number of values per cell, 1 to ", kMaxDim);
  }
  feature->value_dim = static_cast<int>(raw.value_dim());
  if (raw.boundaries_size() > 0) {
    PEPNET_RETURN_IF_ERROR(ConvertBoundaries(raw, *source, feature));
  } else {
    feature->bucketizer = Bucketizer::kNone;
    feature->dim = feature->value_dim;
    for (const char* field : {"embedding_dim", "embedding_name", "init_fn"}) {
      if (raw.GetReflection()->HasField(raw, raw.GetDescriptor()->FindFieldByName(field))) {
        source->Note(raw, field, "without effect: a raw feature without boundaries has no table");
      }
    }
  }
  if (raw.has_normalizer() && !raw.normalizer().empty()) {
    const auto normalizer = ParseNormalizer(raw.normalizer());
    if (!normalizer.ok()) return Annotate(normalizer.status(), source->Where(raw, "normalizer"));
    feature->normalizer = *normalizer;
  }
  if (data.fg_mode == FgMode::kNone) {  // the column holds finished ids or values
    if (feature->bucketizer == Bucketizer::kBoundaries) feature->bucketizer = Bucketizer::kIdentity;
    feature->boundaries.clear();
    if (feature->normalizer.kind != NormalizerKind::kNone) {
      source->Note(raw, "normalizer", "without effect in FG_NONE: values are taken as they are");
      feature->normalizer = Normalizer();
    }
  }
  return absl::OkStatus();
}

// The effective config spells out the default, which says nothing.
template <typename ProtoFeature>
bool HasOwnDelimiter(const ProtoFeature& feature) {
  return feature.sequence_delim() != ProtoFeature::default_instance().sequence_delim();
}

// Makes a sequence of a feature that has been converted as a plain one.
template <typename ProtoFeature>
Status MakeSequence(const FeatureMessage& from, const ProtoFeature& feature, const DataConfig& data,
                    const ConfigSource& source, Feature* out) {
  if (out->weighted) return source.Error(feature, "weighted", "true; a sequence cannot be weighted, remove it");
  for (const std::string& field : feature.sequence_fields()) {
    if (from.group == nullptr) {
      return source.Error(feature, "sequence_fields", "only applies to the features of a sequence_feature; remove it");
    }
    if (absl::EndsWith(feature.expression(), ":" + field)) continue;
    return source.Error(feature, "sequence_fields", "\"", field,
                        "\"; expected the column of the expression, the only input of the feature");
  }
  Sequence& sequence = out->sequence.emplace();
  uint32_t length = 0;
  if (from.group != nullptr) {
    const config::SequenceFeature& group = *from.group;
    if (feature.has_sequence_length() || HasOwnDelimiter(feature)) {
      return source.Error(feature, feature.has_sequence_length() ? "sequence_length" : "sequence_delim",
                          "belongs to the sequence_feature; remove it here");
    }
    if (group.sequence_length() == 0) {
      return source.Error(group, "sequence_length", group.has_sequence_length() ? "0" : "is missing",
                          "; expected the largest number of elements, 1 or more");
    }
    length = group.sequence_length();
    sequence.delimiter = group.sequence_delim();
    out->name = absl::StrCat(group.sequence_name(), "__", out->name);
    out->column = absl::StrCat(group.sequence_name(), "__", out->column);
  } else {
    length = feature.sequence_length();
    sequence.delimiter = feature.sequence_delim();
  }
  if (sequence.delimiter.empty()) {
    return source.Error(from.group != nullptr ? static_cast<const google::protobuf::Message&>(*from.group) : feature,
                        "sequence_delim", "is empty; expected the text between two elements");
  }
  if (sequence.delimiter == out->separator) {
    return source.Error(feature, "separator", "\"", out->separator,
                        "\" is the sequence_delim as well; the values of an element need another one");
  }
  if (length > std::numeric_limits<int32_t>::max()) {
    return source.Error(feature, "sequence_length", length, "; expected at most ", std::numeric_limits<int32_t>::max());
  }
  if (data.fg_mode == FgMode::kNone) return absl::OkStatus();  // cells are read whole
  sequence.max_elements = static_cast<int>(length);
  sequence.fills_empty = true;
  return absl::OkStatus();
}

template <typename ProtoFeature>
Status CheckNoSequence(const ProtoFeature& feature, const ConfigSource& source) {
  const char* const field = feature.has_sequence_length()        ? "sequence_length"
                            : HasOwnDelimiter(feature)           ? "sequence_delim"
                            : feature.sequence_fields_size() > 0 ? "sequence_fields"
                                                                 : nullptr;
  if (field == nullptr) return absl::OkStatus();
  return source.Error(feature, field, "only applies to sequences; remove it, or make the feature a sequence_",
                      feature.GetDescriptor() == config::IdFeature::descriptor() ? "id" : "raw", "_feature");
}

Status ConvertFeature(const FeatureMessage& from, const DataConfig& data, ConfigSource* source, Feature* out) {
  if (!from.kind.has_value()) {
    std::vector<std::string> fields;
    for (const FeatureKind known : AllKinds<FeatureKind>()) {
      const std::string field = TypeOf(known).field;
      fields.push_back(absl::StrCat(std::string("aeiou").find(field[0]) != std::string::npos ? "an " : "a ", field));
    }
    return source->Error(*from.message, "", "is empty; expected ", JoinNames(fields, " or "));
  }
  if (from.group != nullptr && from.group->sequence_name().empty()) {
    return source->Error(*from.group, "sequence_name", "is missing; expected a name");
  }
  out->kind = *from.kind;
  switch (*from.kind) {
    case FeatureKind::kId: {
      const auto& id = static_cast<const config::IdFeature&>(*from.message);
      PEPNET_RETURN_IF_ERROR(ConvertId(id, data, *source, out));
      return from.is_sequence ? MakeSequence(from, id, data, *source, out) : CheckNoSequence(id, *source);
    }
    case FeatureKind::kRaw: {
      const auto& raw = static_cast<const config::RawFeature&>(*from.message);
      PEPNET_RETURN_IF_ERROR(ConvertRaw(raw, data, source, out));
      return from.is_sequence ? MakeSequence(from, raw, data, *source, out) : CheckNoSequence(raw, *source);
    }
  }
  return absl::OkStatus();
}

// The feature of one kind that the oneof of `holder` sets, `prefix` before the name of the kind's field.
FeatureMessage MessageIn(const google::protobuf::Message& holder, const std::string& prefix) {
  FeatureMessage found{&holder, std::nullopt, nullptr, !prefix.empty()};
  const google::protobuf::FieldDescriptor* const member = SetMember(holder, "feature");
  if (member == nullptr || !absl::StartsWith(member->name(), prefix)) return found;
  found.kind = FindKind<FeatureKind>(&FeatureType::field, member->name().substr(prefix.size()));
  if (found.kind.has_value()) found.message = &holder.GetReflection()->GetMessage(holder, member);
  return found;
}

FeatureMessage MessageOf(const config::SequenceFeature& group, int feature) {
  FeatureMessage message = MessageIn(group.features(feature), "");
  message.group = &group;
  message.is_sequence = true;
  return message;
}

Status CheckMessage(const FeatureMessage& message, const DataConfig& data, ConfigSource* source) {
  Feature converted;
  PEPNET_RETURN_IF_ERROR(ConvertFeature(message, data, source, &converted));
  return ReadTableFields(*message.message, *source).status();
}

}  // namespace

std::vector<FeatureMessage> FeatureMessages(const config::FeatureConfig& config) {
  std::vector<FeatureMessage> messages;
  if (config.has_sequence_feature()) {
    for (int i = 0; i < config.sequence_feature().features_size(); ++i) {
      messages.push_back(MessageOf(config.sequence_feature(), i));
    }
    return messages;
  }
  FeatureMessage plain = MessageIn(config, "");
  messages.push_back(plain.kind.has_value() ? plain : MessageIn(config, "sequence_"));
  return messages;
}

void FillSequenceDefaults(const DataConfig& data, config::EasyRecConfig* config) {
  const auto fill = [&data](config::IdFeature* id) {
    if (!id->has_value_dim()) id->set_value_dim(1);
    if (data.fg_mode != FgMode::kNone && id->default_value().empty()) id->set_default_value("0");
  };
  for (config::FeatureConfig& feature : *config->mutable_feature_configs()) {
    if (feature.has_sequence_id_feature()) fill(feature.mutable_sequence_id_feature());
    if (!feature.has_sequence_feature()) continue;
    for (config::SeqFeatureConfig& one : *feature.mutable_sequence_feature()->mutable_features()) {
      if (one.has_id_feature()) fill(one.mutable_id_feature());
    }
  }
}

Status ConvertFeatures(const config::EasyRecConfig& config, ConfigSource* source, JobConfig* out) {
  std::set<std::string> names;
  for (const config::FeatureConfig& from : config.feature_configs()) {
    const std::vector<FeatureMessage> messages = FeatureMessages(from);
    if (messages.empty()) {
      return source->Error(from.sequence_feature(), "features", "is missing; expected at least one feature");
    }
    for (const FeatureMessage& message : messages) {
      Feature feature;
      PEPNET_RETURN_IF_ERROR(ConvertFeature(message, out->data, source, &feature));
      if (!names.insert(feature.name).second) {
        return source->Error(*message.message, "feature_name", "\"", feature.name, "\" names two features");
      }
      out->features.push_back(std::move(feature));
    }
  }
  return absl::OkStatus();
}

Status CheckFeature(const config::FeatureConfig& feature, const DataConfig& data, ConfigSource* source) {
  for (const FeatureMessage& message : FeatureMessages(feature)) {
    PEPNET_RETURN_IF_ERROR(CheckMessage(message, data, source));
  }
  return absl::OkStatus();
}

Status CheckFeature(const config::SequenceFeature& group, int feature, const DataConfig& data, ConfigSource* source) {
  return CheckMessage(MessageOf(group, feature), data, source);
}

}  // namespace pepnet

#include <cmath>
#include <limits>
#include <optional>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_join.h"

#include "common/config/convert.h"
#include "common/config/convert_embedding.h"
#include "common/config/convert_leaves.h"
#include "common/config/convert_parameters.h"
#include "common/config/convert_table.h"
#include "common/config/derived_features.h"
#include "common/config/parse/text_parser.h"
#include "common/config/values/value_strings.h"
#include "common/config/values/vocabulary.h"
#include "common/tokenizer/word_tokenizer.h"

namespace pepnet {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// The one column that a feature without operator reads.
template <typename ProtoFeature>
Status ReadColumn(const ProtoFeature& from, const DataConfig& data, const ConfigSource& source,
                  Feature* feature) {
  feature->column = from.feature_name();
  if (data.fg_mode == FgMode::kNone) return absl::OkStatus();
  if (!from.has_expression()) {
    return source.Error(
        from, "expression",
        "is missing; expected user:, item: or context: and the input column (or "
        "data_config.fg_mode: "
        "FG_NONE, if columns are called like their features and hold finished ids)");
  }
  const std::optional<NamedInput> input = SplitInput(from.expression());
  if (!input.has_value() || input->side == "feature") {
    return source.Error(from, "expression", "\"", from.expression(),
                        "\"; expected user:, item: or context: and the input column");
  }
  feature->column = input->column;
  return absl::OkStatus();
}

// The fields that IdFeature and RawFeature share.
template <typename ProtoFeature>
Status ConvertCommon(const ProtoFeature& from, const DataConfig& data, const ConfigSource& source,
                     Feature* feature) {
  if (from.feature_name().empty()) {
    return source.Error(from, "feature_name", "is missing; expected a name");
  }
  feature->name = from.feature_name();
  // Two sets of fields for the same things: fg_encoded_* are of columns with finished ids, the
  // others of raw values.
  if (data.fg_mode == FgMode::kNone) {
    feature->separator = data.fg_encoded_multival_sep;
    if (from.has_fg_encoded_default_value() && !from.fg_encoded_default_value().empty()) {
      feature->default_value = from.fg_encoded_default_value();
    }
  } else {
    feature->separator = from.separator();
    if (!from.default_value().empty()) feature->default_value = from.default_value();
  }
  if (feature->separator.empty()) {
    return source.Error(from, "separator", "is empty; expected the text between two values");
  }
  // The column of a computed feature is made by its operator; the name stands in messages only.
  if (feature->op.has_value()) {
    feature->column = feature->name;
  } else {
    PEPNET_RETURN_IF_ERROR(ReadColumn(from, data, source, feature));
  }
  const std::string pooling = absl::AsciiStrToLower(from.pooling());
  if (pooling != "sum" && pooling != "mean") {
    return source.Error(from, "pooling", "\"", from.pooling(), "\"; expected sum or mean");
  }
  feature->pooling = pooling == "sum" ? Pooling::kSum : Pooling::kMean;
  return absl::OkStatus();
}

Status ConvertId(const config::IdFeature& id, const DataConfig& data, ConfigSource* writable,
                 Feature* feature) {
  const ConfigSource& source = *writable;
  PEPNET_RETURN_IF_ERROR(ConvertCommon(id, data, source, feature));
  PEPNET_ASSIGN_OR_RETURN(feature->dim,
                          ReadEmbeddingDim(id, "expected the width of a row", source));
  if (id.value_dim() > 1) {
    return source.Error(id, "value_dim", id.value_dim(),
                        "; expected 0 (a cell may hold several ids) or 1 (exactly one)");
  }
  feature->value_dim = static_cast<int>(id.value_dim());
  feature->weighted = id.weighted();

  // Some of the fields are repeated, and a oneof holds no such fields; so the schema leaves it to
  // this loop that exactly one of them is set.
  std::string chosen;
  for (const char* name : kIdBucketizers) {
    if (!HasField(id, name)) continue;
    if (!chosen.empty()) {
      return source.Error(id, name, chosen, " is set as well; expected exactly one of them");
    }
    chosen = name;
  }
  if (chosen.empty()) {
    return source.Error(id, "", "feature ", id.feature_name(),
                        " does not say how tokens become rows; set one of num_buckets, "
                        "hash_bucket_size, vocab_list, "
                        "vocab_dict, vocab_file, dynamic_table, zch and dynamicemb");
  }
  const bool by_vocabulary = chosen.rfind("vocab", 0) == 0;
  if (id.has_default_bucketize_value() && !by_vocabulary) {
    return source.Error(id, "default_bucketize_value", "only applies to vocabularies, but ", chosen,
                        " is set; remove it");
  }
  if (id.has_asset_dir() && chosen != "vocab_file") {
    return source.Error(id, "asset_dir", "only applies to vocab_file, but ", chosen,
                        " is set; remove it");
  }
  PEPNET_ASSIGN_OR_RETURN(const std::optional<GrowingTable> growing,
                          ReadGrowingTable(id, writable));
  if (growing.has_value()) {
    feature->bucketizer = Bucketizer::kHash;
    // Ids of a table that grows may be any; rows exist for those that occur.
    feature->rows = kAnyId;
  } else if (by_vocabulary) {
    feature->bucketizer = Bucketizer::kVocabulary;
    PEPNET_RETURN_IF_ERROR(BuildVocabulary(id, source, feature));
  } else {
    const uint64_t rows = chosen == "num_buckets" ? id.num_buckets() : id.hash_bucket_size();
    if (rows == 0 || rows > kMaxRows) {
      return source.Error(id, chosen, rows, "; expected 1 to ", kMaxRows, " rows");
    }
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

// n boundaries cut the numbers into n + 1 intervals, each of which has a row.
Status ConvertBoundaries(const config::RawFeature& raw, const ConfigSource& source,
                         Feature* feature) {
  for (const float boundary : raw.boundaries()) {
    const double value = ShortestDecimal(boundary);
    if (!std::isfinite(value)) return source.Error(raw, "boundaries", value, "; expected numbers");
    if (!feature->boundaries.empty() && value <= feature->boundaries.back()) {
      return source.Error(raw, "boundaries", value, " follows ", feature->boundaries.back(),
                          "; expected strictly increasing numbers");
    }
    feature->boundaries.push_back(value);
  }
  PEPNET_ASSIGN_OR_RETURN(
      feature->dim, ReadEmbeddingDim(raw, "with boundaries, expected the width of a row", source));
  feature->rows = raw.boundaries_size() + 1;
  feature->bucketizer = Bucketizer::kBoundaries;
  return absl::OkStatus();
}

Status ConvertRaw(const config::RawFeature& raw, bool is_sequence, const DataConfig& data,
                  ConfigSource* source, Feature* feature) {
  PEPNET_RETURN_IF_ERROR(ConvertCommon(raw, data, *source, feature));
  if (raw.value_dim() == 0 || raw.value_dim() > kMaxDim) {
    return source->Error(raw, "value_dim", raw.value_dim(),
                         "; expected the number of values per cell, 1 to ", kMaxDim);
  }
  feature->value_dim = static_cast<int>(raw.value_dim());
  const char* const embedding = raw.has_mlp() ? "mlp" : "autodis";
  // A dense embedding makes one vector of a cell; the reference gives sequences of numbers to their
  // encoders as they are, which the note says.
  const bool is_embedded = (raw.has_autodis() || raw.has_mlp()) && !is_sequence;
  if ((raw.has_autodis() || raw.has_mlp()) && is_sequence) {
    source->Note(raw, embedding, "without effect: a sequence of numbers is read as it is");
  }
  if (is_embedded && !raw.trainable()) {
    source->Note(raw, "trainable",
                 absl::StrCat("without effect: it is of tables, and ", embedding, " has none"));
  }
  if (raw.boundaries_size() > 0) {
    if (is_embedded) {
      return source->Error(raw, embedding,
                           "reads values, but the feature has boundaries; remove one of the two");
    }
    PEPNET_RETURN_IF_ERROR(ConvertBoundaries(raw, *source, feature));
  } else {
    feature->bucketizer = Bucketizer::kNone;
    feature->dim = feature->value_dim;
    if (is_embedded) PEPNET_RETURN_IF_ERROR(ConvertEmbedding(raw, *source, feature));
    // These fields speak of a table. Without boundaries there is none, so they change no number.
    for (const char* field : {"embedding_dim", "embedding_name", "init_fn"}) {
      if (is_embedded && std::string_view(field) == "embedding_dim") continue;
      if (!HasField(raw, field)) continue;
      source->Note(raw, field, "without effect: a raw feature without boundaries has no table");
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
  if (out->weighted) {
    return source.Error(feature, "weighted", "true; a sequence cannot be weighted, remove it");
  }
  // sequence_fields name the inputs that hold sequences. A plain feature has one input, so they can
  // only name that.
  for (const std::string& field : feature.sequence_fields()) {
    if (from.group == nullptr) {
      return source.Error(feature, "sequence_fields",
                          "only applies to the features of a sequence_feature; remove it");
    }
    // Operators look at theirs; in FG_NONE there is none, and the column holds what it would give.
    if (from.op.has_value() || absl::EndsWith(feature.expression(), ":" + field)) continue;
    return source.Error(feature, "sequence_fields", "\"", field,
                        "\"; expected the column of the expression, the only input of the feature");
  }
  Sequence& sequence = out->sequence.emplace();
  uint32_t length = 0;
  if (from.group != nullptr) {
    const config::SequenceFeature& group = *from.group;
    if (feature.has_sequence_length() || HasOwnDelimiter(feature)) {
      return source.Error(feature,
                          feature.has_sequence_length() ? "sequence_length" : "sequence_delim",
                          "belongs to the sequence_feature; remove it here");
    }
    if (group.sequence_length() == 0) {
      return source.Error(group, "sequence_length",
                          group.has_sequence_length() ? "0" : "is missing",
                          "; expected the largest number of elements, 1 or more");
    }
    length = group.sequence_length();
    sequence.delimiter = group.sequence_delim();
    out->name = absl::StrCat(group.sequence_name(), data.sequence_joint, out->name);
    // Of an operator: the name.
    out->column = absl::StrCat(group.sequence_name(), data.sequence_joint, out->column);
  } else {
    length = feature.sequence_length();
    sequence.delimiter = feature.sequence_delim();
  }
  if (sequence.delimiter.empty()) {
    return source.Error(from.group != nullptr ? static_cast<const Message&>(*from.group) : feature,
                        "sequence_delim", "is empty; expected the text between two elements");
  }
  // A cell would be split at both at once: elements could not be told from values.
  if (sequence.delimiter == out->separator) {
    return source.Error(
        feature, "separator", "\"", out->separator,
        "\" is the sequence_delim as well; the values of an element need another one");
  }
  if (length > std::numeric_limits<int32_t>::max()) {
    return source.Error(feature, "sequence_length", length, "; expected at most ",
                        std::numeric_limits<int32_t>::max());
  }
  if (data.fg_mode == FgMode::kNone) return absl::OkStatus();  // cells are read whole
  sequence.max_elements = static_cast<int>(length);
  sequence.fills_empty = true;
  return absl::OkStatus();
}

template <typename ProtoFeature>
Status CheckNoSequence(const FeatureMessage& from, const ProtoFeature& feature,
                       const ConfigSource& source) {
  const char* const field = feature.has_sequence_length()        ? "sequence_length"
                            : HasOwnDelimiter(feature)           ? "sequence_delim"
                            : feature.sequence_fields_size() > 0 ? "sequence_fields"
                                                                 : nullptr;
  if (field == nullptr) return absl::OkStatus();
  return source.Error(feature, field,
                      "only applies to sequences; remove it, or make the feature a sequence_",
                      from.op.has_value() ? TypeOf(*from.op).field : TypeOf(*from.kind).field);
}

template <typename ProtoFeature>
Status ConvertSequence(const FeatureMessage& from, const ProtoFeature& feature,
                       const DataConfig& data, const ConfigSource& source, Feature* out) {
  return from.is_sequence ? MakeSequence(from, feature, data, source, out)
                          : CheckNoSequence(from, feature, source);
}

// Of an expression that names another column than the one that is read in FG_NONE.
template <typename ProtoFeature>
void NoteOtherColumn(const FeatureMessage& from, const ProtoFeature& feature,
                     const DataConfig& data, ConfigSource* source) {
  if (data.fg_mode != FgMode::kNone || from.is_sequence || from.op.has_value()) return;
  const std::optional<NamedInput> input = SplitInput(feature.expression());
  if (!input.has_value() || input->column == feature.feature_name()) return;
  source->Note(feature, "expression",
               absl::StrCat("without effect in FG_NONE: the column is called like the feature, ",
                            feature.feature_name(),
                            "; set data_config.fg_mode: FG_DAG if the columns hold raw values"));
}

// One overload per kind of feature: std::visit in ConvertDerived() chooses between them, too.
Status ConvertWhole(const FeatureMessage& from, const config::IdFeature& id, const DataConfig& data,
                    ConfigSource* source, Feature* out) {
  out->kind = FeatureKind::kId;
  PEPNET_RETURN_IF_ERROR(ConvertId(id, data, source, out));
  NoteOtherColumn(from, id, data, source);
  return ConvertSequence(from, id, data, *source, out);
}

Status ConvertWhole(const FeatureMessage& from, const config::RawFeature& raw,
                    const DataConfig& data, ConfigSource* source, Feature* out) {
  out->kind = FeatureKind::kRaw;
  PEPNET_RETURN_IF_ERROR(ConvertRaw(raw, from.is_sequence, data, source, out));
  NoteOtherColumn(from, raw, data, source);
  return ConvertSequence(from, raw, data, *source, out);
}

// Cells of words: tokens of texts, and those of default_value, which is a text, too.
Status SetVocabulary(TokenizerFile file, Feature* out) {
  out->bucketizer = Bucketizer::kVocabulary;
  out->vocabulary = std::move(file.vocabulary);
  out->unknown_id = file.unknown_id;
  out->op->tokenizer = std::move(file.tokenizer);
  if (!out->default_value.has_value()) return absl::OkStatus();
  // The default value is a text like any cell, so it is tokenized now, once; the encoder then
  // splits it at a character that no word holds.
  std::vector<std::string> tokens;
  PEPNET_RETURN_IF_ERROR(
      WordTokenizer(out->op->tokenizer, &out->vocabulary).Append(*out->default_value, &tokens));
  out->default_value.reset();
  if (!tokens.empty()) out->default_value = absl::StrJoin(tokens, kBetweenWords);
  return absl::OkStatus();
}

// A computed feature is an operator, and an id or raw feature that reads what it computes.
Status ConvertDerived(const FeatureMessage& from, const DataConfig& data, ConfigSource* source,
                      Feature* out) {
  // The column of a job in FG_NONE holds what the operator would have computed.
  if (data.fg_mode != FgMode::kNone) {
    PEPNET_ASSIGN_OR_RETURN(out->op, ReadOperator(from, data, *source));
  }
  std::optional<TokenizerFile> tokenizer;
  if (*from.op == OperatorKind::kTokenize) {
    PEPNET_ASSIGN_OR_RETURN(
        tokenizer,
        ReadTokenizer(static_cast<const config::TokenizeFeature&>(*from.message), source));
  }
  const int64_t token_rows =
      tokenizer.has_value() ? static_cast<int64_t>(tokenizer->vocabulary.size()) : 0;
  const ReadingFeature reading = ReadingFeatureOf(from, data, token_rows);
  PEPNET_RETURN_IF_ERROR(std::visit(
      [&](const auto& feature) {
        // Messages about the reading feature, which no config holds, become messages about the
        // computed one.
        const ConfigSource::StandIn stand_in(source, feature, *from.message);
        return ConvertWhole(from, feature, data, source, out);
      },
      reading));
  if (!tokenizer.has_value() || data.fg_mode == FgMode::kNone) return absl::OkStatus();
  return Annotate(SetVocabulary(*std::move(tokenizer), out),
                  source->Where(*from.message, "default_value"));
}

Status ConvertFeature(const FeatureMessage& from, const DataConfig& data, ConfigSource* source,
                      Feature* out) {
  if (from.group != nullptr && from.group->sequence_name().empty() &&
      (from.kind.has_value() || from.op.has_value())) {
    return source->Error(*from.group, "sequence_name", "is missing; expected a name");
  }
  if (from.op.has_value()) return ConvertDerived(from, data, source, out);
  // The list of what could stand here comes from the descriptions, so a new kind is in it.
  if (!from.kind.has_value()) {
    std::vector<std::string> fields;
    for (const FeatureKind known : AllKinds<FeatureKind>()) {
      const std::string field = TypeOf(known).field;
      fields.push_back(absl::StrCat(
          std::string("aeiou").find(field[0]) != std::string::npos ? "an " : "a ", field));
    }
    return source->Error(*from.message, "", "is empty; expected a feature, such as ",
                         JoinNames(fields, " or "));
  }
  switch (*from.kind) {
    case FeatureKind::kId:
      return ConvertWhole(from, static_cast<const config::IdFeature&>(*from.message), data, source,
                          out);
    case FeatureKind::kRaw:
      return ConvertWhole(from, static_cast<const config::RawFeature&>(*from.message), data, source,
                          out);
  }
  return absl::OkStatus();
}

// True if the feature makes a sequence of one text.
bool TokensAreElements(const Message& feature) {
  return feature.GetDescriptor() == config::TokenizeFeature::descriptor() &&
         static_cast<const config::TokenizeFeature&>(feature).tokens_as_sequence();
}

// The feature of a kind or an operator that the oneof of `holder` sets, `prefix` before the name of
// its field.
FeatureMessage MessageIn(const Message& holder, const std::string& prefix) {
  FeatureMessage found;
  found.message = &holder;
  found.is_in_sequence = found.is_sequence = !prefix.empty();
  const FieldDescriptor* const member = SetMember(holder, "feature");
  if (member == nullptr || !absl::StartsWith(member->name(), prefix)) return found;
  const std::string field = member->name().substr(prefix.size());
  found.kind = FindKind<FeatureKind>(&FeatureType::field, field);
  found.op = FindKind<OperatorKind>(&OperatorType::field, field);
  if (found.kind.has_value() || found.op.has_value()) {
    found.message = &holder.GetReflection()->GetMessage(holder, member);
  }
  found.is_sequence = found.is_sequence || TokensAreElements(*found.message);
  return found;
}

// The names in a sequence_feature have no prefix, since all of its features are sequences.
FeatureMessage MessageOf(const config::SequenceFeature& group, int feature) {
  FeatureMessage message = MessageIn(group.features(feature), "");
  message.group = &group;
  message.is_in_sequence = message.is_sequence = true;
  return message;
}

// Converts one feature for its faults alone; the result is thrown away.
Status CheckMessage(const FeatureMessage& message, const DataConfig& data, ConfigSource* source) {
  Feature converted;
  PEPNET_RETURN_IF_ERROR(ConvertFeature(message, data, source, &converted));
  return ReadTableFields(*message.message, converted, source).status();
}

std::string NameOf(const google::protobuf::Message& feature) {
  const auto* const field = feature.GetDescriptor()->FindFieldByName("feature_name");
  return field == nullptr ? "" : feature.GetReflection()->GetString(feature, field);
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
  // "sequence_combo_feature" and "combo_feature" are two fields of one type: the prefix tells
  // whether cells hold elements.
  const FeatureMessage plain = MessageIn(config, "");
  messages.push_back(
      plain.kind.has_value() || plain.op.has_value() ? plain : MessageIn(config, "sequence_"));
  return messages;
}

std::string SequenceJoint(const config::EasyRecConfig& config) {
  // The config does not say which way of naming it uses, so the groups are asked: one usual name
  // decides for the usual way; a name that only the other way explains decides for that.
  std::set<std::string> listed, usual, plain, rtp;
  for (const config::FeatureGroupConfig& group : config.model_config().feature_groups()) {
    listed.insert(group.feature_names().begin(), group.feature_names().end());
    for (const config::SeqGroupConfig& sequences : group.sequence_groups()) {
      listed.insert(sequences.feature_names().begin(), sequences.feature_names().end());
    }
  }
  for (const config::FeatureConfig& feature : config.feature_configs()) {
    for (const FeatureMessage& one : FeatureMessages(feature)) {
      const std::string name = NameOf(*one.message);
      if (one.group == nullptr) {
        plain.insert(name);
        continue;
      }
      usual.insert(absl::StrCat(one.group->sequence_name(), kSequenceJoint, name));
      rtp.insert(absl::StrCat(one.group->sequence_name(), kRtpSequenceJoint, name));
    }
  }
  bool is_rtp = false;
  for (const std::string& name : listed) {
    if (usual.count(name) > 0) return kSequenceJoint;
    is_rtp |= rtp.count(name) > 0 && plain.count(name) == 0;
  }
  return is_rtp ? kRtpSequenceJoint : kSequenceJoint;
}

void FillSequenceDefaults(const DataConfig& data, config::EasyRecConfig* config) {
  const auto fill = [&data](Message* holder) {
    const FieldDescriptor* const member = SetMember(*holder, "feature");
    if (member == nullptr || IsUnsupported(*member->message_type())) return;
    Message* const feature = holder->GetReflection()->MutableMessage(holder, member);
    const auto* const reflection = feature->GetReflection();
    const Descriptor* const type = feature->GetDescriptor();
    // The three types limit the ids of a cell. In a sequence an element has one id unless the
    // config says otherwise, whereas a plain cell may have any number.
    const bool gives_one_id = type == config::IdFeature::descriptor() ||
                              type == config::ComboFeature::descriptor() ||
                              type == config::BoolMaskFeature::descriptor();
    const FieldDescriptor* const value_dim = type->FindFieldByName("value_dim");
    if (gives_one_id && !reflection->HasField(*feature, value_dim)) {
      reflection->SetUInt32(feature, value_dim, 1);
    }
    const FieldDescriptor* const default_value = type->FindFieldByName("default_value");
    if (default_value == nullptr || data.fg_mode == FgMode::kNone) return;
    if (reflection->GetString(*feature, default_value).empty()) {
      reflection->SetString(feature, default_value, "0");
    }
  };
  for (config::FeatureConfig& feature : *config->mutable_feature_configs()) {
    if (feature.has_sequence_feature()) {
      for (config::SeqFeatureConfig& one :
           *feature.mutable_sequence_feature()->mutable_features()) {
        fill(&one);
      }
    } else if (MessageIn(feature, "").is_sequence ||
               MessageIn(feature, "sequence_").message != &feature) {
      fill(&feature);
    }
  }
}

Status ConvertFeatures(const config::EasyRecConfig& config, ConfigSource* source, JobConfig* out) {
  std::set<std::string> names;
  std::vector<FeatureMessage> all;
  for (const config::FeatureConfig& from : config.feature_configs()) {
    const std::vector<FeatureMessage> messages = FeatureMessages(from);
    if (messages.empty()) {
      return source->Error(from.sequence_feature(), "features",
                           "is missing; expected at least one feature");
    }
    for (const FeatureMessage& message : messages) {
      Feature feature;
      PEPNET_RETURN_IF_ERROR(ConvertFeature(message, out->data, source, &feature));
      if (!names.insert(feature.name).second) {
        return source->Error(*message.message, "feature_name", "\"", feature.name,
                             "\" names two features");
      }
      out->features.push_back(std::move(feature));
      all.push_back(message);
    }
  }
  // Inputs are resolved here, where all features have their numbers.
  return ResolveInputs(all, *source, out);
}

Status CheckFeature(const config::FeatureConfig& feature, const DataConfig& data,
                    ConfigSource* source) {
  for (const FeatureMessage& message : FeatureMessages(feature)) {
    PEPNET_RETURN_IF_ERROR(CheckMessage(message, data, source));
  }
  return absl::OkStatus();
}

Status CheckFeature(const config::SequenceFeature& group, int feature, const DataConfig& data,
                    ConfigSource* source) {
  return CheckMessage(MessageOf(group, feature), data, source);
}

}  // namespace pepnet

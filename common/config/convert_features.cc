#include <cmath>
#include <limits>
#include <optional>
#include <set>

#include "absl/strings/ascii.h"

#include "common/config/convert.h"
#include "common/config/convert_parameters.h"
#include "common/config/value_strings.h"
#include "common/config/vocabulary.h"

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

// What a table needs from one of its features.
struct TableRequest {
  std::string embedding_name, init_fn;
  bool trainable;
  const google::protobuf::Message* message;
};

// The message of one feature: what the oneof "feature" holds. Every kind has these fields.
TableRequest RequestOf(const config::FeatureConfig& feature) {
  const google::protobuf::Message& message =
      feature.GetReflection()->GetMessage(feature, SetMember(feature, "feature"));
  const auto* const reflection = message.GetReflection();
  const auto* const descriptor = message.GetDescriptor();
  return {reflection->GetString(message, descriptor->FindFieldByName("embedding_name")),
          reflection->GetString(message, descriptor->FindFieldByName("init_fn")),
          reflection->GetBool(message, descriptor->FindFieldByName("trainable")), &message};
}

Status ConvertFeature(const config::FeatureConfig& from, const DataConfig& data, ConfigSource* source, Feature* out) {
  const google::protobuf::FieldDescriptor* const member = SetMember(from, "feature");
  const std::optional<FeatureKind> kind =
      member == nullptr ? std::nullopt : FindKind<FeatureKind>(&FeatureType::field, member->name());
  if (!kind.has_value()) {
    std::vector<std::string> fields;
    for (const FeatureKind known : AllKinds<FeatureKind>()) {
      const std::string field = TypeOf(known).field;
      fields.push_back(absl::StrCat(std::string("aeiou").find(field[0]) != std::string::npos ? "an " : "a ", field));
    }
    return source->Error(from, "", "is empty; expected ", JoinNames(fields, " or "));
  }
  out->kind = *kind;
  switch (*kind) {
    case FeatureKind::kId:
      return ConvertId(from.id_feature(), data, *source, out);
    case FeatureKind::kRaw:
      return ConvertRaw(from.raw_feature(), data, source, out);
  }
  return absl::OkStatus();
}

StatusOr<Initializer> InitializerOf(const TableRequest& request, const ConfigSource& source) {
  if (request.init_fn.empty()) return Initializer();
  auto parsed = ParseInitializer(request.init_fn);
  if (!parsed.ok()) return Annotate(parsed.status(), source.Where(*request.message, "init_fn"));
  return parsed;
}

bool SameInitializer(const Initializer& x, const Initializer& y) {
  return x.kind == y.kind && (x.kind == InitKind::kDefault || (x.a == y.a && x.b == y.b));
}

}  // namespace

Status ConvertFeatures(const config::EasyRecConfig& config, ConfigSource* source, JobConfig* out) {
  std::set<std::string> names;
  for (const config::FeatureConfig& from : config.feature_configs()) {
    Feature feature;
    PEPNET_RETURN_IF_ERROR(ConvertFeature(from, out->data, source, &feature));
    if (!names.insert(feature.name).second) {
      return source->Error(*RequestOf(from).message, "feature_name", "\"", feature.name, "\" names two features");
    }
    out->features.push_back(std::move(feature));
  }
  return absl::OkStatus();
}

Status CheckFeature(const config::FeatureConfig& feature, const DataConfig& data, ConfigSource* source) {
  Feature converted;
  PEPNET_RETURN_IF_ERROR(ConvertFeature(feature, data, source, &converted));
  return InitializerOf(RequestOf(feature), *source).status();
}

Status ConvertTables(const config::EasyRecConfig& config, const ConfigSource& source, JobConfig* out) {
  std::vector<size_t> first_user;  // by table, the feature that created it
  for (size_t i = 0; i < out->features.size(); ++i) {
    Feature& feature = out->features[i];
    const TableRequest request = RequestOf(config.feature_configs(static_cast<int>(i)));
    PEPNET_ASSIGN_OR_RETURN(const Initializer initializer, InitializerOf(request, source));
    if (!feature.in_group || feature.bucketizer == Bucketizer::kNone) continue;
    const std::string name =
        request.embedding_name.empty() ? absl::StrCat(feature.name, "_emb") : request.embedding_name;
    int found = -1;
    for (size_t t = 0; t < out->tables.size(); ++t) found = out->tables[t].name == name ? static_cast<int>(t) : found;
    feature.table = found >= 0 ? found : static_cast<int>(out->tables.size());
    if (found < 0) {
      out->tables.push_back({name, feature.rows, feature.dim, initializer, request.trainable});
      first_user.push_back(i);
      continue;
    }
    const Table& table = out->tables[found];
    const Feature& first = out->features[first_user[found]];
    const char* differs = table.rows != feature.rows                         ? "rows"
                          : table.dim != feature.dim                         ? "embedding_dim"
                          : first.pooling != feature.pooling                 ? "pooling"
                          : table.trainable != request.trainable             ? "trainable"
                          : !SameInitializer(table.initializer, initializer) ? "init_fn"
                                                                             : nullptr;
    if (differs != nullptr) {
      return source.Error(*request.message, request.embedding_name.empty() ? "feature_name" : "embedding_name",
                          "table \"", name, "\" is shared with feature ", first.name, ", but the two differ in ",
                          differs, " (rows ", table.rows, " and ", feature.rows, ", width ", table.dim, " and ",
                          feature.dim, "); make them equal or give them different embedding_names");
    }
  }
  return absl::OkStatus();
}

}  // namespace pepnet

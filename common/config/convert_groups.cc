#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"

#include "common/config/convert.h"
#include "common/config/convert_leaves.h"
#include "common/config/convert_parameters.h"
#include "common/config/convert_table.h"
#include "common/config/parse/text_parser.h"
#include "common/config/values/value_strings.h"

namespace pepnet {
namespace {

// The leaf that a table was made for.
struct FirstUse {
  int feature;
  std::string suffix;
};

}  // namespace

LeafKey LeafPlan::Add(LeafKey key) {
  // A leaf is a feature as read from one table. Values have no table, so all groups share one leaf
  // of them, and the parts of the key that choose a table are dropped.
  if (features_[key.feature].bucketizer == Bucketizer::kNone) {  // values are the same everywhere
    key.of_sequence_group = false;
    key.suffix.clear();
  }
  places_.emplace(key, -1);
  return key;
}

Status LeafPlan::Build(const config::EasyRecConfig& config, ConfigSource* source, JobConfig* out) {
  std::vector<const google::protobuf::Message*> messages;  // by feature
  for (const config::FeatureConfig& feature : config.feature_configs()) {
    for (const FeatureMessage& one : FeatureMessages(feature)) messages.push_back(one.message);
  }
  // Tables are read for all features first, read by a group or not: a wrong field is an error
  // either way (law L7).
  std::vector<TableFields> fields;
  for (size_t f = 0; f < messages.size(); ++f) {
    PEPNET_ASSIGN_OR_RETURN(fields.emplace_back(),
                            ReadTableFields(*messages[f], out->features[f], source));
  }
  std::vector<FirstUse> first_uses;  // by table
  // The map is ordered, so leaves and tables get the same numbers whatever the order of the groups
  // in the file.
  for (auto& [key, place] : places_) {
    Feature& feature = out->features[key.feature];
    feature.is_read = true;
    place = static_cast<int>(out->leaves.size());
    // A sequence of ids that a plain group reads is pooled over the whole row; in a sequence group
    // each element keeps its own vector.
    const bool by_element = feature.sequence.has_value() &&
                            (key.of_sequence_group || feature.bucketizer == Bucketizer::kNone);
    Leaf& leaf = out->leaves.emplace_back(Leaf{key.feature, -1, feature.dim, by_element});
    if (feature.bucketizer == Bucketizer::kNone) continue;
    const TableFields& wanted = fields[key.feature];
    // The names of tables are those of the reference: they are parts of the parameters' names in
    // checkpoints (docs/spec.md section 7) and are hashed into the bucket of every row. `called` is
    // what the config calls the table, for messages.
    std::string name =
        wanted.embedding_name.empty() ? absl::StrCat(feature.name, "_emb") : wanted.embedding_name;
    if (!key.suffix.empty()) absl::StrAppend(&name, "_", key.suffix);
    const std::string called = name;
    if (key.of_sequence_group) name = SequenceTableName(name, feature.dim);
    for (size_t t = 0; t < out->tables.size(); ++t) {
      if (out->tables[t].name == name) leaf.table = static_cast<int>(t);
    }
    if (leaf.table < 0) {
      leaf.table = static_cast<int>(out->tables.size());
      out->tables.push_back({name, feature.rows, feature.dim, wanted.initializer, wanted.trainable,
                             key.of_sequence_group, wanted.expected_rows, wanted.policy,
                             wanted.value_kind});
      first_uses.push_back({key.feature, key.suffix});
      continue;
    }
    const Table& table = out->tables[leaf.table];
    const Feature& first = out->features[first_uses[leaf.table].feature];
    // Two features share a table only if all that it is made from agrees; the first difference is
    // named.
    const char* differs = table.sequence != key.of_sequence_group       ? "kind"
                          : first_uses[leaf.table].suffix != key.suffix ? "embedding_name_suffix"
                          : table.rows != feature.rows                  ? "rows"
                          : table.expected_rows != wanted.expected_rows ? "expected rows"
                          : table.policy != wanted.policy ? "admission, expiry or limits"
                          : table.dim != feature.dim      ? "embedding_dim"
                          : !key.of_sequence_group && first.pooling != feature.pooling ? "pooling"
                          : table.trainable != wanted.trainable                        ? "trainable"
                          : table.value_kind != wanted.value_kind                      ? "data_type"
                          : table.initializer != wanted.initializer                    ? "init_fn"
                                                                                       : nullptr;
    if (differs == nullptr) continue;
    return source->Error(
        *messages[key.feature], wanted.embedding_name.empty() ? "feature_name" : "embedding_name",
        "table \"", called, "\" is shared with feature ", first.name, ", but the two differ in ",
        differs, " (rows ", table.rows, " and ", feature.rows, ", width ", table.dim, " and ",
        feature.dim, "); make them equal or give them different embedding_names");
  }
  return absl::OkStatus();
}

namespace {

// Bounds that only wrong configs reach: the sizes of buffers are products of these numbers.
constexpr int kMaxPositions = 1 << 24;
constexpr int kMaxAttentionWidth = 1 << 16;
// Dropout layers of encoders are numbered from here, behind any network's
// (worker/model/dropout_mask.h).
constexpr int64_t kFirstEncoderLayer = 1 << 20;

// A sequence_group of the config. `query`: leaves of its features that are no sequences;
// `sequence`: of the others. `is_read`: an encoder names it.
struct PlannedSequenceGroup {
  const config::SeqGroupConfig* from = nullptr;
  std::string name;
  std::vector<LeafKey> query, sequence;
  bool is_read = false;
};

// A group of the config while the leaves have no numbers yet.
struct PlannedGroup {
  const config::FeatureGroupConfig* from = nullptr;
  std::vector<LeafKey> leaves;
  std::vector<PlannedSequenceGroup> sequence_groups;
};

// Groups in two passes: Plan() all of them, so that the leaves are known; then Build() each. A
// leaf's number depends on all groups together, because leaves are ordered by key.
class GroupConverter {
 public:
  GroupConverter(ConfigSource* source, JobConfig* job)
      : source_(source), job_(job), plan_(job->features) {
    for (const Feature& feature : job->features) feature_names_.push_back(feature.name);
  }

  // Collects what the group reads. The message must live until Build().
  Status Plan(const config::FeatureGroupConfig& from) {
    if (from.group_type() != config::DEEP) {
      return source_->Error(from, "group_type", config::FeatureGroupType_Name(from.group_type()),
                            " is not supported; expected DEEP");
    }
    PlannedGroup& group = groups_.emplace_back();
    group.from = &from;
    if (from.feature_names_size() == 0 && from.sequence_encoders_size() == 0) {
      return source_->Error(from, "feature_names", "is missing; expected at least one feature");
    }
    PEPNET_ASSIGN_OR_RETURN(const std::vector<int> features,
                            FeaturesOf(from, from.feature_names()));
    for (size_t i = 0; i < features.size(); ++i) {
      const Feature& feature = job_->features[features[i]];
      if (feature.sequence.has_value() && feature.bucketizer == Bucketizer::kNone) {
        return source_->Error(from, "feature_names", "\"", feature.name,
                              "\" is a sequence of numbers, which only a sequence group can read");
      }
      group.leaves.push_back(plan_.Add({features[i], false, from.embedding_name_suffix()}));
    }
    if (from.sequence_groups_size() > 0 && from.sequence_encoders_size() == 0) {
      return source_->Error(from, "sequence_groups",
                            "stand without sequence_encoders, which read them; add those");
    }
    if (from.sequence_encoders_size() > 0 && from.sequence_groups_size() == 0) {
      return source_->Error(from, "sequence_encoders",
                            "stand without sequence_groups, which they read; add those");
    }
    for (const config::SeqGroupConfig& one : from.sequence_groups()) {
      PEPNET_RETURN_IF_ERROR(PlanSequenceGroup(one, &group));
    }
    return absl::OkStatus();
  }

  Status MakeLeaves(const config::EasyRecConfig& config) {
    return plan_.Build(config, source_, job_);
  }

  // Makes group `number` in the order of Plan() calls: its width is that of its leaves, then of its
  // encoders' outputs, side by side in this order (docs/spec.md 3.10).
  Status Build(size_t number, FeatureGroup* out) {
    PlannedGroup& group = groups_[number];
    const config::FeatureGroupConfig& from = *group.from;
    out->name = from.group_name();
    out->leaves = Places(group.leaves);
    for (const int leaf : out->leaves) out->width += WidthInGroup(leaf);
    // Encoders number the sequence groups of their own group; the model numbers those of all
    // groups.
    const int first_group = static_cast<int>(job_->model.sequence_groups.size());
    for (const PlannedSequenceGroup& planned : group.sequence_groups) {
      SequenceGroup& made = job_->model.sequence_groups.emplace_back();
      made.name = planned.name;
      made.query = Places(planned.query);
      made.sequence = Places(planned.sequence);
      made.query_width = Width(made.query);
      made.width = Width(made.sequence);
    }
    for (int i = 0; i < from.sequence_encoders_size(); ++i) {
      Encoder encoder;
      encoder.module =
          absl::StrCat("model.embedding_group._group_name_to_seq_encoders.", out->name, ".", i);
      encoder.dropout_layer = next_dropout_layer_;
      PEPNET_RETURN_IF_ERROR(
          ConvertEncoder(from.sequence_encoders(i), &group, first_group, &encoder));
      // Every dropout has a layer number of its own, which keys its random numbers: two of the same
      // number would drop the same elements.
      next_dropout_layer_ += std::max<int64_t>(1, encoder.attn_mlp.hidden_units.size());
      out->encoders.push_back(static_cast<int>(job_->model.encoders.size()));
      out->width += encoder.width;
      job_->model.encoders.push_back(std::move(encoder));
    }
    for (const PlannedSequenceGroup& planned : group.sequence_groups) {
      // A sequence group that no encoder reads would have tables that are pulled for nothing.
      if (planned.is_read) continue;
      return source_->Error(*planned.from, "", "no encoder reads the sequence group \"",
                            planned.name, "\"; name it as the input of one, or remove it");
    }
    return absl::OkStatus();
  }

 private:
  // The features that a group lists, each once.
  StatusOr<std::vector<int>> FeaturesOf(
      const google::protobuf::Message& group,
      const google::protobuf::RepeatedPtrField<std::string>& names) {
    std::vector<int> features;
    std::set<int> seen;
    for (int i = 0; i < names.size(); ++i) {
      const int index = IndexOf(names[i], feature_names_);
      const std::string where = source_->Where(group, "feature_names", i);
      if (index < 0) {
        return InvalidInput(where, ": no feature is named \"", names[i], "\"",
                            Suggestion(names[i], feature_names_));
      }
      if (!seen.insert(index).second) {
        return InvalidInput(where, ": \"", names[i], "\" is listed twice in this group");
      }
      features.push_back(index);
    }
    return features;
  }

  // Sorts the features of a sequence group into query and sequence. A single sequence group may go
  // without a name; it has that of its group.
  Status PlanSequenceGroup(const config::SeqGroupConfig& from, PlannedGroup* group) {
    PlannedSequenceGroup& planned = group->sequence_groups.emplace_back();
    planned.from = &from;
    planned.name = from.group_name();
    if (planned.name.empty()) {
      if (group->from->sequence_groups_size() > 1) {
        return source_->Error(from, "group_name",
                              "is missing; several sequence groups of a group need names");
      }
      planned.name = group->from->group_name();
    }
    if (!sequence_group_names_.insert(planned.name).second) {
      return source_->Error(from, "group_name", "\"", planned.name,
                            "\" names two sequence groups; rename one");
    }
    PEPNET_ASSIGN_OR_RETURN(const std::vector<int> features,
                            FeaturesOf(from, from.feature_names()));
    const std::string& suffix = from.embedding_name_suffix().empty()
                                    ? group->from->embedding_name_suffix()
                                    : from.embedding_name_suffix();
    for (const int feature : features) {
      const bool is_sequence = job_->features[feature].sequence.has_value();
      (is_sequence ? planned.sequence : planned.query)
          .push_back(plan_.Add({feature, true, suffix}));
    }
    if (planned.sequence.empty()) {
      return source_->Error(from, "feature_names",
                            from.feature_names().empty() ? "is missing" : "holds no sequence",
                            "; expected at least one sequence feature");
    }
    return absl::OkStatus();
  }

  std::vector<int> Places(const std::vector<LeafKey>& keys) const {
    std::vector<int> places;
    for (const LeafKey& key : keys) places.push_back(plan_.Find(key));
    return places;
  }

  // A group reads a leaf through its feature's dense embedding, which is made where the first group
  // asks for it.
  int WidthInGroup(int leaf) {
    const std::optional<DenseEmbedding>& embedding =
        job_->features[job_->leaves[leaf].feature].embedding;
    if (!embedding.has_value()) return job_->leaves[leaf].dim;
    if (job_->leaves[leaf].embedding < 0) {
      job_->leaves[leaf].embedding = static_cast<int>(job_->model.embeddings.size());
      job_->model.embeddings.push_back(*embedding);
      job_->model.embeddings.back().leaf = leaf;
    }
    return embedding->width;
  }

  // Sequence groups read plain values, without a dense embedding, hence not WidthInGroup().
  int Width(const std::vector<int>& leaves) const {
    int width = 0;
    for (const int leaf : leaves) width += job_->leaves[leaf].dim;
    return width;
  }

  // The sequence group that the encoder names as its input, or the only one.
  Status FindInput(const google::protobuf::Message& from, PlannedGroup* group, int* input) {
    const auto* const field = from.GetDescriptor()->FindFieldByName("input");
    const std::string name = from.GetReflection()->GetString(from, field);
    std::vector<std::string> names;
    for (const PlannedSequenceGroup& planned : group->sequence_groups) {
      names.push_back(planned.name);
    }
    if (name.empty() && names.size() > 1) {
      return source_->Error(from, "input",
                            "is missing; expected one of the group's sequence groups ",
                            JoinNames(names, " or "));
    }
    *input = name.empty() ? 0 : IndexOf(name, names);
    if (*input < 0) {
      return source_->Error(from, "input", "no sequence group of group \"",
                            group->from->group_name(), "\" is named \"", name, "\"",
                            Suggestion(name, names));
    }
    group->sequence_groups[*input].is_read = true;
    return absl::OkStatus();
  }

  Status CheckQuery(const google::protobuf::Message& from, const SequenceGroup& group,
                    const Encoder& encoder) {
    if (!TypeOf(encoder.kind).needs_query) return absl::OkStatus();
    if (group.query.empty()) {
      return source_->Error(from, "input", "the sequence group \"", group.name,
                            "\" has no query; list a feature in it that is no sequence");
    }
    for (const int leaf : group.query) {
      const Feature& feature = job_->features[job_->leaves[leaf].feature];
      if (!feature.embedding.has_value()) continue;
      return source_->Error(from, "input", "the query of the sequence group \"", group.name,
                            "\" holds ", feature.name, ", which has ",
                            TypeOf(feature.embedding->kind).name,
                            "; expected ids, or numbers without it");
    }
    // simple_attention multiplies query and positions element by element; the other encoders pad a
    // narrower query with zeros (docs/spec.md 3.10).
    const bool same = encoder.kind == EncoderKind::kSimpleAttention;
    if (same ? group.query_width == group.width : group.query_width <= group.width) {
      return absl::OkStatus();
    }
    return source_->Error(from, "input", "the query of the sequence group \"", group.name, "\" is ",
                          group.query_width, " wide, its positions ", group.width,
                          "; expected a query that is ", same ? "as wide" : "no wider");
  }

  Status ConvertMaxLength(const google::protobuf::Message& from, int32_t length, Encoder* out) {
    if (length < 0 || length > kMaxPositions) {
      return source_->Error(from, "max_seq_length", length, "; expected 0 (all positions) to ",
                            kMaxPositions);
    }
    out->max_length = length;
    return absl::OkStatus();
  }

  template <typename From>
  Status ConvertAttentionMlp(const From& from, Encoder* out) {
    if (!from.has_attn_mlp()) {
      return source_->Error(from, "attn_mlp", "is missing; expected the layers of the weights");
    }
    // The MLP is applied to every position of every row, so its activation sees three axes, and
    // masks and norms count positions.
    out->attn_mlp.of_positions = true;
    return ConvertMlp(from.attn_mlp(), *source_, &out->attn_mlp);
  }

  Status ConvertPooling(const config::PoolingEncoder& from, Encoder* out) {
    const std::string pooling = absl::AsciiStrToLower(from.pooling_type());
    if (pooling != "sum" && pooling != "mean") {
      return source_->Error(from, "pooling_type", "\"", from.pooling_type(),
                            "\"; expected sum or mean");
    }
    out->mean = pooling == "mean";
    return ConvertMaxLength(from, from.max_seq_length(), out);
  }

  Status ConvertWindows(const config::MultiWindowDINEncoder& from, Encoder* out) {
    if (from.windows_len().empty()) {
      return source_->Error(from, "windows_len",
                            "is missing; expected the number of positions of each window");
    }
    int64_t sum = 0;
    for (const uint32_t length : from.windows_len()) {
      sum += length;
      if (length == 0 || sum > kMaxPositions) {
        return source_->Error(from, "windows_len", length,
                              "; expected windows of 1 position or more, ", kMaxPositions,
                              " in all at most");
      }
      out->windows.push_back(static_cast<int>(length));
    }
    return ConvertAttentionMlp(from, out);
  }

  Status ConvertSelfAttention(const config::SelfAttentionEncoder& from, Encoder* out) {
    const int width = from.multihead_attn_dim(), heads = from.num_heads();
    if (width < 1 || width > kMaxAttentionWidth) {
      return source_->Error(from, "multihead_attn_dim", width, "; expected 1 to ",
                            kMaxAttentionWidth);
    }
    // Each head has width / heads channels.
    if (heads < 1 || width % heads != 0) {
      return source_->Error(from, "num_heads", heads, "; expected a divisor of multihead_attn_dim ",
                            width);
    }
    out->attention_width = width;
    out->heads = heads;
    PEPNET_RETURN_IF_ERROR(ConvertMaxLength(from, from.max_seq_length(), out));
    // The one ratio goes through the check of a list of ratios, so that its range is written once.
    google::protobuf::RepeatedField<float> ratio;
    ratio.Add(from.dropout());
    std::vector<double> ratios;
    PEPNET_RETURN_IF_ERROR(ConvertDropout(from, "dropout", ratio, 1, *source_, &ratios));
    out->dropout = ratios[0];
    return absl::OkStatus();
  }

  Status ConvertKind(const config::SeqEncoderConfig& from, Encoder* out) {
    switch (out->kind) {
      case EncoderKind::kPooling:
        return ConvertPooling(from.pooling_encoder(), out);
      case EncoderKind::kSimpleAttention:
        return ConvertMaxLength(from.simple_attention(), from.simple_attention().max_seq_length(),
                                out);
      case EncoderKind::kDin:
        PEPNET_RETURN_IF_ERROR(
            ConvertMaxLength(from.din_encoder(), from.din_encoder().max_seq_length(), out));
        return ConvertAttentionMlp(from.din_encoder(), out);
      case EncoderKind::kMultiWindowDin:
        return ConvertWindows(from.multi_window_din_encoder(), out);
      case EncoderKind::kSelfAttention:
        return ConvertSelfAttention(from.self_attention_encoder(), out);
    }
    return absl::OkStatus();
  }

  // The order matters: the input gives the channels, the kind gives the settings, and only both
  // together give the width of the output.
  Status ConvertEncoder(const config::SeqEncoderConfig& from, PlannedGroup* group, int first_group,
                        Encoder* out) {
    const google::protobuf::FieldDescriptor* const member = SetMember(from, "seq_module");
    const std::optional<EncoderKind> kind =
        member == nullptr ? std::nullopt
                          : FindKind<EncoderKind>(&EncoderType::field, member->name());
    if (!kind.has_value()) {
      return source_->Error(from, "", "is empty; expected ",
                            ListOfKinds<EncoderKind>(&EncoderType::field, " or "));
    }
    out->kind = *kind;
    const google::protobuf::Message& message = from.GetReflection()->GetMessage(from, member);
    PEPNET_RETURN_IF_ERROR(FindInput(message, group, &out->sequence_group));
    out->sequence_group += first_group;
    PEPNET_RETURN_IF_ERROR(ConvertKind(from, out));
    const SequenceGroup& input = job_->model.sequence_groups[out->sequence_group];
    PEPNET_RETURN_IF_ERROR(CheckQuery(message, input, *out));
    out->channels = input.width;
    out->width = EncoderOutputWidth(*out, input.width);
    return absl::OkStatus();
  }

  ConfigSource* const source_;
  JobConfig* const job_;
  LeafPlan plan_;
  std::vector<std::string> feature_names_;
  std::set<std::string> sequence_group_names_;
  std::vector<PlannedGroup> groups_;
  int64_t next_dropout_layer_ = kFirstEncoderLayer;
};

}  // namespace

Status ConvertGroups(const config::EasyRecConfig& config, ConfigSource* source, JobConfig* out) {
  const auto& from = config.model_config().feature_groups();
  GroupConverter converter(source, out);
  for (const config::FeatureGroupConfig& group : from) {
    PEPNET_RETURN_IF_ERROR(converter.Plan(group));
  }
  PEPNET_RETURN_IF_ERROR(converter.MakeLeaves(config));
  bool has_main = false;
  // Encoders stand in the order of the groups' roles.
  for (const char* role : {"all", "domain", "uia"}) {
    for (int i = 0; i < from.size(); ++i) {
      if (from[i].group_name() != role) continue;
      FeatureGroup group;
      PEPNET_RETURN_IF_ERROR(converter.Build(i, &group));
      if (group.name == "all") {
        out->model.main = std::move(group);
        has_main = true;
      } else if (group.name == "domain") {
        out->model.domain = std::move(group);
      } else {
        out->model.uia = std::move(group);
      }
    }
  }
  if (!has_main) {
    return source->Error(config.model_config(), "feature_groups",
                         "no group is named \"all\"; it is the main input and required");
  }
  return absl::OkStatus();
}

}  // namespace pepnet

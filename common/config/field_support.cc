#include "common/config/field_support.h"

#include "common/config/parse/text_parser.h"
#include "common/job_config/job_config.h"

// protobuf's CppType has values that the schema does not use.
#pragma GCC diagnostic ignored "-Wswitch-enum"

namespace pepnet {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// kRejected: set to anything but its default it would change numbers, so the config is refused.
// kWithoutEffect: it changes no number here, so it is accepted with a note (decision 0018).
enum class Support { kRejected, kWithoutEffect };

// One line of the table. `message`: the type that has the field, kEvery for all types; `text`: the
// end of the sentence for the user.
struct Rule {
  const char* message;
  const char* field;
  Support support;
  const char* text;
};

constexpr char kEvery[] = "";  // message of fields that every kind of feature has
constexpr char kMasks[] = "is not supported; remove it";
constexpr char kCosts[] = "batches by cost are not supported; remove it and set batch_size";
constexpr char kTimestamps[] =
    "checkpoints by time are not supported; use save_checkpoints_steps or _epochs";
constexpr char kTowersOwn[] = "accepted without effect: the towers' own are used";
constexpr char kPlacedByHash[] =
    "accepted without effect: rows are spread over the servers by hash";
constexpr char kNoEffect[] = "accepted without effect";
constexpr char kAllPairs[] = "accepted without effect: all pairs are counted";
constexpr char kOneKernel[] = "accepted without effect: there is one implementation";

constexpr Rule kRules[] = {
    {"TrainConfig", "is_profiling", Support::kWithoutEffect,
     "accepted without effect: stage times are always logged"},
    {"TrainConfig", "cudnn_allow_tf32", Support::kWithoutEffect, kNoEffect},
    {"TrainConfig", "cuda_matmul_allow_tf32", Support::kWithoutEffect, kNoEffect},
    {"TrainConfig", "grad_scaler", Support::kWithoutEffect,
     "accepted without effect: the gradients of bfloat16 and float32 need no scaling"},
    {"TrainConfig", "global_embedding_constraints", Support::kWithoutEffect, kPlacedByHash},
    {"TrainConfig", "save_checkpoints_timestamp_interval", Support::kRejected, kTimestamps},
    {"TrainConfig", "save_checkpoints_timestamps", Support::kRejected, kTimestamps},
    {"TrainConfig", "save_checkpoints_timestamp_quorum", Support::kRejected, kTimestamps},
    {"GradClipping", "enable_global_grad_clip", Support::kWithoutEffect,
     "accepted without effect: every worker holds the whole dense gradient, so the norm is global "
     "anyway"},
    {"ExportConfig", "mixed_precision", Support::kWithoutEffect,
     "accepted without effect: exports are float32"},
    {"ExportConfig", "cudnn_allow_tf32", Support::kWithoutEffect, kNoEffect},
    {"ExportConfig", "cuda_matmul_allow_tf32", Support::kWithoutEffect, kNoEffect},
    {"DataConfig", "pin_memory", Support::kWithoutEffect, kNoEffect},
    {"DataConfig", "fg_threads", Support::kWithoutEffect,
     "accepted without effect: num_workers reader threads do the work"},
    {"DataConfig", "in_order", Support::kWithoutEffect,
     "accepted without effect: batches always come in order"},
    {"DataConfig", "is_orderby_partition", Support::kWithoutEffect, kNoEffect},
    {"DataConfig", "odps_data_quota_name", Support::kWithoutEffect, kNoEffect},
    {"DataConfig", "odps_data_compression", Support::kWithoutEffect, kNoEffect},
    {"DataConfig", "sample_mask_prob", Support::kRejected, kMasks},
    {"DataConfig", "negative_sample_mask_prob", Support::kRejected, kMasks},
    {"DataConfig", "force_base_data_group", Support::kRejected, kMasks},
    {"DataConfig", "sample_cost_field", Support::kRejected, kCosts},
    {"DataConfig", "batch_cost_size", Support::kRejected, kCosts},
    {kEvery, "fg_value_type", Support::kWithoutEffect,
     "accepted without effect: tokens are read as text"},
    {"ZeroCollisionHash", "threshold_filtering_func", Support::kWithoutEffect,
     "accepted without effect: dynamic_table { admit_after_steps } keeps rare ids out"},
    {"DynamicEmbedding", "init_table", Support::kRejected,
     "is not supported; use fine_tune_checkpoint or pepnet import"},
    {"CustomFeature", "operator_lib_file", Support::kWithoutEffect,
     "accepted without effect: no library is loaded, operator_name says what is computed"},
    {"CustomFeature", "is_op_thread_safe", Support::kWithoutEffect, kNoEffect},
    {kEvery, "embedding_constraints", Support::kWithoutEffect, kPlacedByHash},
    {kEvery, "use_mask", Support::kRejected, kMasks},
    {kEvery, "stub_type", Support::kRejected, kMasks},
    {"TextNormalizer", "stop_char_file", Support::kRejected,
     "is not supported; remove such characters beforehand, in the column"},
    {"SequenceFeature", "sequence_pk", Support::kWithoutEffect, kNoEffect},
    {"DINEncoder", "name", Support::kWithoutEffect, kNoEffect},
    {"SimpleAttention", "name", Support::kWithoutEffect, kNoEffect},
    {"PoolingEncoder", "name", Support::kWithoutEffect, kNoEffect},
    {"MultiWindowDINEncoder", "name", Support::kWithoutEffect, kNoEffect},
    {"SelfAttentionEncoder", "name", Support::kWithoutEffect, kNoEffect},
    {"ModelConfig", "num_class", Support::kWithoutEffect, kTowersOwn},
    {"ModelConfig", "losses", Support::kWithoutEffect, kTowersOwn},
    {"ModelConfig", "metrics", Support::kWithoutEffect, kTowersOwn},
    {"ModelConfig", "train_metrics", Support::kWithoutEffect, kTowersOwn},
    {"ModelConfig", "kernel", Support::kWithoutEffect, kOneKernel},
    {"ModelConfig", "summaries_set", Support::kWithoutEffect,
     "accepted without effect: TensorBoard gets what train_config.tensorboard_summaries names"},
    {"VariationalDropout", "embedding_wise_variational_dropout", Support::kWithoutEffect,
     "accepted without effect, as in the reference: shares are by feature"},
    {"MetricConfig", "recall_at_k", Support::kRejected,
     "ranks candidates, of which a PEPNet has none; the reference refuses it for every tower, too. "
     "Use grouped_auc"},
    {"TrainMetricConfig", "recall_at_k", Support::kWithoutEffect, "accepted, not computed"},
    {"TrainMetricConfig", "xauc", Support::kWithoutEffect, "accepted, not computed"},
    {"XAUC", "sample_ratio", Support::kWithoutEffect, kAllPairs},
    {"XAUC", "max_pairs", Support::kWithoutEffect, kAllPairs},
    {"GroupedXAUC", "max_pairs_per_group", Support::kWithoutEffect, kAllPairs},
    {"SGDOptimizer", "fused", Support::kWithoutEffect, kOneKernel},
    {"AdagradOptimizer", "fused", Support::kWithoutEffect, kOneKernel},
    {"AdamOptimizer", "fused", Support::kWithoutEffect, kOneKernel},
};

// The search is linear, which is fast enough for a few searches per field of a config.
const Rule* FindRule(const FieldDescriptor& field) {
  for (const Rule& rule : kRules) {
    if (field.name() != rule.field) continue;
    if (rule.message == kEvery || field.containing_type()->name() == rule.message) return &rule;
  }
  return nullptr;
}

// True if a set field says what its absence says. Types that no rejected field has count as
// different.
bool HasDefaultValue(const Message& message, const FieldDescriptor& field) {
  if (field.is_repeated() || field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) return false;
  const auto* reflection = message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection->GetBool(message, &field) == field.default_value_bool();
    case FieldDescriptor::CPPTYPE_FLOAT:
      return reflection->GetFloat(message, &field) == field.default_value_float();
    case FieldDescriptor::CPPTYPE_UINT32:
      return reflection->GetUInt32(message, &field) == field.default_value_uint32();
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection->GetUInt64(message, &field) == field.default_value_uint64();
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection->GetString(message, &field) == field.default_value_string();
    default:
      return false;
  }
}

// The value for a message, with a blank behind it; "" for lists and messages, which are too long.
std::string ShownValue(const Message& message, const FieldDescriptor& field) {
  if (field.is_repeated() || field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) return "";
  std::string text;
  google::protobuf::TextFormat::PrintFieldValueToString(message, &field, -1, &text);
  return absl::StrCat(text, " ");
}

// The advice in place of a message that can only be named.
std::string UnsupportedAdvice(const FieldDescriptor& field) {
  const std::string& owner = field.containing_type()->name();
  if (owner == "ModelConfig" && field.containing_oneof() != nullptr) {
    return "this model is not supported; pepnet is";
  }
  if (owner == "LossConfig") {
    return absl::StrCat("this loss is not supported; ",
                        ListOfKinds<LossKind>(&LossType::name, " and "), " are");
  }
  if (owner == "MetricConfig") {
    std::vector<std::string> names;
    for (const MetricKind kind : AllKinds<MetricKind>()) {
      if (!TypeOf(kind).train_only) names.emplace_back(TypeOf(kind).name);
    }
    return absl::StrCat("this metric is not supported; ", JoinNames(names, " and "), " are");
  }
  if (owner == "DataConfig") return "samplers are not supported; remove it";
  return "is not supported; remove it";
}

// Looks at every field that is set, at any depth. A rule wins over Unsupported, so an unsupported
// message may be accepted without effect.
void Check(const Message& message, ConfigSource* source, std::vector<Status>* faults) {
  const auto* reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const bool is_message = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    const Rule* const rule = FindRule(*field);
    if (is_message && IsUnsupported(*field->message_type()) && rule == nullptr) {
      faults->push_back(source->Error(message, field->name(), UnsupportedAdvice(*field)));
      continue;
    }
    if (rule != nullptr) {
      if (rule->support == Support::kWithoutEffect) {
        source->Note(message, field->name(), rule->text);
        continue;  // what stands inside has no effect either
      }
      if (!HasDefaultValue(message, *field)) {
        faults->push_back(
            source->Error(message, field->name(), ShownValue(message, *field), rule->text));
        continue;
      }
    }
    if (!is_message) continue;
    if (!field->is_repeated()) {
      Check(reflection->GetMessage(message, field), source, faults);
      continue;
    }
    for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
      Check(reflection->GetRepeatedMessage(message, field, i), source, faults);
    }
  }
}

}  // namespace

bool HasSupportRule(const FieldDescriptor& field) { return FindRule(field) != nullptr; }

std::vector<Status> FindUnsupportedFields(const Message& message, ConfigSource* source) {
  std::vector<Status> faults;
  Check(message, source, &faults);
  return faults;
}

}  // namespace pepnet

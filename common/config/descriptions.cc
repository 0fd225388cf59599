#include "common/config/descriptions.h"

#include <set>
#include <span>

#include "common/config/field_support.h"
#include "common/config/parse/text_parser.h"
#include "common/job_config/job_config.h"
#include "common/job_config/parameter.h"

namespace pepnet {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

// ReadParameter() reads by form with exactly these getters; another type would abort in protobuf.
FieldDescriptor::CppType TypeOfForm(ParameterInfo::Form form) {
  switch (form) {
    case ParameterInfo::Form::kReal:
      return FieldDescriptor::CPPTYPE_FLOAT;
    case ParameterInfo::Form::kWhole:
      return FieldDescriptor::CPPTYPE_UINT32;
    case ParameterInfo::Form::kSwitch:
      return FieldDescriptor::CPPTYPE_BOOL;
    case ParameterInfo::Form::kChoice:
      return FieldDescriptor::CPPTYPE_ENUM;
    case ParameterInfo::Form::kWord:
      return FieldDescriptor::CPPTYPE_STRING;
  }
  return FieldDescriptor::CPPTYPE_MESSAGE;
}

// A disagreement is a bug of this program, never of a config, hence an internal error.
template <typename... Args>
Status Disagreement(const Args&... text) {
  return absl::InternalError(absl::StrCat("descriptions and schema disagree: ", text...));
}

Status CheckParameter(const Descriptor& message, const ParameterInfo& parameter) {
  const FieldDescriptor* const field = message.FindFieldByName(parameter.name);
  if (field == nullptr) return Disagreement(message.name(), " has no field ", parameter.name);
  if (field->is_repeated() || field->cpp_type() != TypeOfForm(parameter.form)) {
    return Disagreement(message.name(), ".", parameter.name,
                        " has another type than its parameter");
  }
  if (parameter.form != ParameterInfo::Form::kChoice) return absl::OkStatus();
  // Choices are read by name, so the numbers of the enumeration do not matter, but all must occur.
  if (field->enum_type()->value_count() != static_cast<int>(parameter.choices.size())) {
    return Disagreement(field->enum_type()->name(), " has ", field->enum_type()->value_count(),
                        " values, ", parameter.name, " ", parameter.choices.size(), " choices");
  }
  for (const char* choice : parameter.choices) {
    if (field->enum_type()->FindValueByName(choice) == nullptr) {
      return Disagreement(field->enum_type()->name(), " has no value ", choice);
    }
  }
  return absl::OkStatus();
}

// Every parameter is a field of `message`, and every field is a parameter, one of `others`, or
// spoken of in field_support.cc.
template <typename Owner>
Status CheckParameters(const Descriptor& message, std::span<const Parameter<Owner>> parameters,
                       std::set<std::string> others = {}) {
  for (const Parameter<Owner>& parameter : parameters) {
    PEPNET_RETURN_IF_ERROR(CheckParameter(message, parameter));
    others.insert(parameter.name);
  }
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    if (others.count(field.name()) == 0 && !HasSupportRule(field)) {
      return Disagreement(message.name(), ".", field.name(), " is no parameter of its description");
    }
  }
  return absl::OkStatus();
}

// The members of the oneof and the kinds are the same. check(type, message) looks at each pair.
// `all`: every kind but those named `absent` is a member. `others`: members that are no kinds.
template <typename Kind, typename Type, typename Check>
Status CheckKinds(const Descriptor& message, const std::string& oneof,
                  const char* const Type::*field, bool all, const Check& check,
                  const std::set<std::string>& others = {},
                  const std::set<std::string>& absent = {}) {
  std::set<std::string> described;
  for (const Kind kind : AllKinds<Kind>()) {
    const std::string name = TypeOf(kind).*field;
    if (!described.insert(name).second) {
      return Disagreement("two descriptions of ", message.name(), ".", name);
    }
    const FieldDescriptor* const member = message.FindFieldByName(name);
    if (absent.count(name) > 0 && member != nullptr) {
      return Disagreement(message.name(), " has ", name, ", which its description leaves out");
    }
    if (member == nullptr && (!all || absent.count(name) > 0)) continue;
    if (member == nullptr || member->containing_oneof() == nullptr ||
        member->containing_oneof()->name() != oneof) {
      return Disagreement(message.name(), " has no ", oneof, " ", name);
    }
    if (IsUnsupported(*member->message_type())) {
      return Disagreement(message.name(), ".", name,
                          " is described, but Unsupported in the schema");
    }
    PEPNET_RETURN_IF_ERROR(check(TypeOf(kind), *member->message_type()));
  }
  // This is the other direction: a member of the schema that no description knows would be accepted
  // and then silently not used (law L7).
  const auto* const members = message.FindOneofByName(oneof);
  for (int i = 0; i < members->field_count(); ++i) {
    const FieldDescriptor& member = *members->field(i);
    if (IsUnsupported(*member.message_type()) || HasSupportRule(member)) continue;
    if (described.count(member.name()) == 0 && others.count(member.name()) == 0) {
      return Disagreement(message.name(), ".", member.name(),
                          " has no description in common/job_config");
    }
  }
  return absl::OkStatus();
}

// Every oneof of the schema that is read by descriptions, one after the other.
Status CheckAll() {
  const auto parameters = [](const auto& type, const Descriptor& message) {
    return CheckParameters(message, type.parameters);
  };
  PEPNET_RETURN_IF_ERROR(CheckKinds<SparseOptimizerKind>(*config::SparseOptimizer::descriptor(),
                                                         "optimizer", &SparseOptimizerType::field,
                                                         true, parameters));
  for (const Descriptor* message :
       {config::DenseOptimizer::descriptor(), config::PartOptimizer::descriptor()}) {
    PEPNET_RETURN_IF_ERROR(CheckKinds<DenseOptimizerKind>(
        *message, "optimizer", &DenseOptimizerType::field, true, parameters));
  }
  // A type may have a field that names a feature; null: it has none.
  const auto with_feature = [](const auto& type, const char* feature_field,
                               const Descriptor& message) {
    if (feature_field == nullptr) return CheckParameters(message, type.parameters);
    const FieldDescriptor* const field = message.FindFieldByName(feature_field);
    if (field == nullptr || field->cpp_type() != FieldDescriptor::CPPTYPE_STRING) {
      return Disagreement(message.name(), " has no text ", feature_field);
    }
    return CheckParameters(message, type.parameters, {feature_field});
  };
  const auto loss = [&](const LossType& type, const Descriptor& message) {
    return with_feature(type, type.session_field, message);
  };
  PEPNET_RETURN_IF_ERROR(
      CheckKinds<LossKind>(*config::LossConfig::descriptor(), "loss", &LossType::name, true, loss));
  const auto metric = [&](const MetricType& type, const Descriptor& message) {
    return with_feature(type, type.grouping_field, message);
  };
  std::set<std::string> train_only;
  for (const MetricKind kind : AllKinds<MetricKind>()) {
    if (TypeOf(kind).train_only) train_only.insert(TypeOf(kind).name);
  }
  PEPNET_RETURN_IF_ERROR(CheckKinds<MetricKind>(*config::MetricConfig::descriptor(), "metric",
                                                &MetricType::name, true, metric, {}, train_only));
  PEPNET_RETURN_IF_ERROR(CheckKinds<MetricKind>(*config::TrainMetricConfig::descriptor(), "metric",
                                                &MetricType::name, false, metric));
  // Features have converters of their own; what all of them have is what their table is made from.
  const auto feature = [](const auto&, const Descriptor& message) {
    for (const char* name : {"feature_name", "embedding_name", "init_fn", "trainable"}) {
      if (message.FindFieldByName(name) == nullptr) {
        return Disagreement(message.name(), " has no field ", name);
      }
    }
    return absl::OkStatus();
  };
  // Features and operators share one oneof, so each check needs the members of the other as known;
  // kinds and operators occur a second time behind "sequence_".
  std::set<std::string> kinds = {"sequence_feature"}, operators = kinds;
  for (const FeatureKind kind : AllKinds<FeatureKind>()) {
    operators.insert({TypeOf(kind).field, absl::StrCat("sequence_", TypeOf(kind).field)});
    kinds.insert(absl::StrCat("sequence_", TypeOf(kind).field));
  }
  for (const OperatorKind kind : AllKinds<OperatorKind>()) {
    kinds.insert({TypeOf(kind).field, absl::StrCat("sequence_", TypeOf(kind).field)});
    operators.insert(absl::StrCat("sequence_", TypeOf(kind).field));
  }
  for (const Descriptor* message :
       {config::FeatureConfig::descriptor(), config::SeqFeatureConfig::descriptor()}) {
    const bool all = message == config::FeatureConfig::descriptor();
    PEPNET_RETURN_IF_ERROR(
        CheckKinds<FeatureKind>(*message, "feature", &FeatureType::field, all, feature, kinds));
    PEPNET_RETURN_IF_ERROR(CheckKinds<OperatorKind>(*message, "feature", &OperatorType::field, all,
                                                    feature, operators));
  }
  PEPNET_RETURN_IF_ERROR(CheckKinds<EncoderKind>(
      *config::SeqEncoderConfig::descriptor(), "seq_module", &EncoderType::field, true,
      [](const EncoderType&, const Descriptor& message) {
        if (message.FindFieldByName("input") != nullptr) return absl::OkStatus();
        return Disagreement(message.name(), " has no field input");
      }));
  for (const DatasetType type : AllKinds<DatasetType>()) {
    config::DatasetType value;
    if (!config::DatasetType_Parse(TypeOf(type).dataset, &value)) {
      return Disagreement("DatasetType has no value ", TypeOf(type).dataset);
    }
  }
  return absl::OkStatus();
}

}  // namespace

Status CheckDescriptions() {
  static const Status status = CheckAll();  // they cannot change
  return status;
}

}  // namespace pepnet

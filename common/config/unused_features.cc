#include "common/config/unused_features.h"

#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "common/config/convert.h"
#include "common/config/convert_parameters.h"
#include "common/config/field_support.h"
#include "common/config/parse/text_parser.h"

namespace pepnet {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Adds every text of `message`, features' names among them. False if a message in it cannot be
// read. What fields without effect and rejected scalars hold is not looked at.
bool CollectTexts(const Message& message, std::set<std::string>* texts) {
  const auto* reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  bool readable = true;
  for (const FieldDescriptor* field : fields) {
    if (HasSupportRule(*field)) continue;
    const bool is_message = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (is_message && IsUnsupported(*field->message_type())) readable = false;
    const int size = field->is_repeated() ? reflection->FieldSize(message, field) : 1;
    for (int i = 0; i < size; ++i) {
      if (is_message) {
        readable &=
            CollectTexts(field->is_repeated() ? reflection->GetRepeatedMessage(message, field, i)
                                              : reflection->GetMessage(message, field),
                         texts);
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
        texts->insert(field->is_repeated() ? reflection->GetRepeatedString(message, field, i)
                                           : reflection->GetString(message, field));
      }
    }
  }
  return readable;
}

std::string TextField(const Message& message, const std::string& name) {
  const FieldDescriptor* const field = message.GetDescriptor()->FindFieldByName(name);
  return field == nullptr ? "" : message.GetReflection()->GetString(message, field);
}

// Adds the features that other features read: "feature:<name>". Inputs of unused features count as
// used, too: the order in which features would become unused is not worth following, and keeping
// one more feature changes no number.
void CollectInputs(const config::EasyRecConfig& config, std::set<std::string>* texts) {
  constexpr char kSide[] = "feature:";
  std::set<std::string> inputs;
  for (const config::FeatureConfig& feature : config.feature_configs()) {
    CollectTexts(feature, &inputs);
  }
  for (const std::string& input : inputs) {
    if (absl::StartsWith(input, kSide)) texts->insert(input.substr(sizeof(kSide) - 1));
  }
}

// True if one of the sequence's features stands there by its whole name.
bool NamesOneOf(const std::string& sequence, const std::string& joint,
                const std::set<std::string>& texts) {
  const std::string prefix = sequence + joint;
  const auto next = texts.lower_bound(prefix);
  return !sequence.empty() && next != texts.end() && absl::StartsWith(*next, prefix);
}

// A feature without a name is used: it is to be refused.
bool IsUsed(const Message& feature, const std::string& joint, const std::set<std::string>& texts) {
  const std::string name = TextField(feature, "feature_name"),
                    sequence = TextField(feature, "sequence_name");
  if (!name.empty()) return texts.count(name) > 0;
  // The features of a sequence are named <sequence><joint><feature>.
  return sequence.empty() || texts.count(sequence) > 0 || NamesOneOf(sequence, joint, texts);
}

}  // namespace

void DropUnusedFeatures(ConfigSource* source, config::EasyRecConfig* config) {
  // A feature counts as used if its name stands anywhere in model_config, whatever the field (those
  // without effect aside). That may keep a feature too many, but never drops one that a field
  // unknown here would read.
  std::set<std::string> texts;
  // A model that cannot be read may use any feature, so then nothing is dropped.
  if (!config->model_config().has_pepnet() || !CollectTexts(config->model_config(), &texts)) return;
  CollectInputs(*config, &texts);
  texts.insert(config->eval_config().slice_by().begin(), config->eval_config().slice_by().end());
  // Each unused feature is converted on trial. One without a fault stays, since it does no harm,
  // and the notes of the trial go with `trial`.
  ConfigSource trial = *source;  // takes the notes on what is left out
  DataConfig data;
  const bool has_data = ConvertData(config->data_config(), &trial, &data).ok();
  data.sequence_joint = SequenceJoint(*config);
  const auto fault_of = [&](const Message& feature, const auto& check) {
    const std::vector<Status> faults = FindUnsupportedFields(feature, &trial);
    return !faults.empty() ? faults.front() : has_data ? check() : absl::OkStatus();
  };
  const auto note = [&](const Status& fault, const std::string& name) {
    source->AddNote(absl::StrCat(std::string(fault.message()), "; the model does not use ", name,
                                 ", so it is left out"));
  };
  std::vector<int> dropped;
  for (int i = 0; i < config->feature_configs_size(); ++i) {
    const config::FeatureConfig& feature = config->feature_configs(i);
    // The features of a sequence that is used are used one by one.
    if (feature.has_sequence_feature()) {
      config::SequenceFeature* const group =
          config->mutable_feature_configs(i)->mutable_sequence_feature();
      // The loop runs from the end, since removing an element moves those behind it. It is empty
      // where no feature of the sequence is used: the whole entry is then looked at below.
      for (int f = NamesOneOf(group->sequence_name(), data.sequence_joint, texts)
                       ? group->features_size() - 1
                       : -1;
           f >= 0; --f) {
        const FieldDescriptor* const kind = SetMember(group->features(f), "feature");
        if (kind == nullptr) continue;
        const std::string name =
            TextField(group->features(f).GetReflection()->GetMessage(group->features(f), kind),
                      "feature_name");
        const std::string full = absl::StrCat(group->sequence_name(), data.sequence_joint, name);
        if (name.empty() || texts.count(full) > 0) continue;
        const Status fault =
            fault_of(group->features(f), [&] { return CheckFeature(*group, f, data, &trial); });
        if (fault.ok()) continue;
        note(fault, full);
        group->mutable_features()->DeleteSubrange(f, 1);
      }
    }
    const FieldDescriptor* const kind = SetMember(feature, "feature");
    if (kind == nullptr) continue;
    const Message& message = feature.GetReflection()->GetMessage(feature, kind);
    if (IsUsed(message, data.sequence_joint, texts)) continue;
    const Status fault = fault_of(feature, [&] { return CheckFeature(feature, data, &trial); });
    if (fault.ok()) continue;
    const std::string name = TextField(message, "feature_name");
    note(fault, name.empty() ? TextField(message, "sequence_name") : name);
    dropped.push_back(i);
  }
  // The last comes first, since removing an element moves those behind it.
  for (auto i = dropped.rbegin(); i != dropped.rend(); ++i) {
    config->mutable_feature_configs()->DeleteSubrange(*i, 1);
  }
}

}  // namespace pepnet

#include "common/config/effective_text.h"

#include <google/protobuf/text_format.h>

#include <algorithm>
#include <iterator>
#include <string_view>

#include "absl/strings/str_cat.h"

#include "common/config/field_support.h"

namespace pepnet {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Fields that say something by being set, even to their default.
constexpr std::string_view kSpeakBySet[] = {
    "DataConfig.fg_encoded",                 // an older spelling
    "ExportConfig.best_exporter_metric",     // not beside another keep_best
    "ExportConfig.export_format",            // a format that was asked for
    "ExportConfig.metric_larger_is_better",  // not against keep_best
    // With out_task_space_weight: of a tower with task space alone.
    "TaskTower.in_task_space_weight",
    "TaskTower.out_task_space_weight",     //
    "TaskTower.pareto_min_loss_weight",    // has no effect without use_pareto_loss_weight
    "TaskTower.weight",                    // the tower is weighted
    "TrainConfig.save_checkpoints_steps",  // not together with save_checkpoints_epochs
};

bool SpeaksBySet(const FieldDescriptor& field) {
  const std::string name = absl::StrCat(field.containing_type()->name(), ".", field.name());
  return std::find(std::begin(kSpeakBySet), std::end(kSpeakBySet), name) != std::end(kSpeakBySet);
}

// Reflection has one setter per type and none that takes any.
void SetToDefault(const FieldDescriptor* field, Message* message) {
  const Reflection* const reflection = message->GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection->SetInt32(message, field, field->default_value_int32());
    case FieldDescriptor::CPPTYPE_INT64:
      return reflection->SetInt64(message, field, field->default_value_int64());
    case FieldDescriptor::CPPTYPE_UINT32:
      return reflection->SetUInt32(message, field, field->default_value_uint32());
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection->SetUInt64(message, field, field->default_value_uint64());
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection->SetDouble(message, field, field->default_value_double());
    case FieldDescriptor::CPPTYPE_FLOAT:
      return reflection->SetFloat(message, field, field->default_value_float());
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection->SetBool(message, field, field->default_value_bool());
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection->SetEnum(message, field, field->default_value_enum());
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection->SetString(message, field, field->default_value_string());
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return;  // has no default
  }
}

// Descends into messages that are set, and not into absent ones: an absent message often means
// "none" (no clipping, no averages), and its defaults would bring it into being.
void FillDefaults(Message* message) {
  const Reflection* const reflection = message->GetReflection();
  const google::protobuf::Descriptor* const type = message->GetDescriptor();
  for (int f = 0; f < type->field_count(); ++f) {
    const FieldDescriptor* const field = type->field(f);
    if (HasSupportRule(*field)) continue;  // has no effect, or may not be set
    if (field->is_repeated()) {
      if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
      for (int i = 0; i < reflection->FieldSize(*message, field); ++i) {
        FillDefaults(reflection->MutableRepeatedMessage(message, field, i));
      }
    } else if (reflection->HasField(*message, field)) {
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        FillDefaults(reflection->MutableMessage(message, field));
      }
    } else if (field->has_default_value() && field->containing_oneof() == nullptr &&
               !SpeaksBySet(*field)) {
      // A default is spelled out only where that changes nothing: to set a member of a oneof would
      // choose it.
      SetToDefault(field, message);
    }
  }
}

}  // namespace

std::string EffectiveText(const config::EasyRecConfig& config) {
  config::EasyRecConfig effective = config;
  effective.mutable_eval_config();  // what is missing here has defaults all the same
  effective.mutable_export_config();
  FillDefaults(&effective);
  google::protobuf::TextFormat::Printer printer;
  // Names in other scripts stay readable; the parser takes both ways.
  printer.SetUseUtf8StringEscaping(true);
  std::string text;
  printer.PrintToString(effective, &text);
  return text;
}

}  // namespace pepnet

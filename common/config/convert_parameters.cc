#include "common/config/convert_parameters.h"

#include "common/config/values/value_strings.h"

namespace pepnet {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

const FieldDescriptor* SetMember(const Message& message, const std::string& oneof) {
  return message.GetReflection()->GetOneofFieldDescriptor(
      message, message.GetDescriptor()->FindOneofByName(oneof));
}

// Presence goes by name, so that one function serves every kind of feature, optimizer and metric.
bool HasField(const Message& message, const std::string& name) {
  const FieldDescriptor* const field = message.GetDescriptor()->FindFieldByName(name);
  if (field == nullptr) return false;
  const auto* const reflection = message.GetReflection();
  return field->is_repeated() ? reflection->FieldSize(message, field) > 0
                              : reflection->HasField(message, field);
}

// Every parameter is a double on the way, which holds floats, 32-bit numbers, switches and the
// places of choices exactly. An unknown word becomes -1, which no parameter accepts.
Status ReadParameter(const Message& from, const ParameterInfo& parameter,
                     const ConfigSource& source, double* out) {
  const FieldDescriptor* const field = from.GetDescriptor()->FindFieldByName(parameter.name);
  if (field == nullptr) {
    return absl::InternalError(
        absl::StrCat(from.GetDescriptor()->name(), " has no field ", parameter.name));
  }
  const auto* const reflection = from.GetReflection();
  // The value as the user wrote it, for the message; a switch is always accepted.
  std::string shown;
  switch (parameter.form) {
    case ParameterInfo::Form::kReal:
      *out = ShortestDecimal(reflection->GetFloat(from, field));
      shown = absl::StrCat(*out);
      break;
    case ParameterInfo::Form::kWhole:
      *out = reflection->GetUInt32(from, field);
      shown = absl::StrCat(reflection->GetUInt32(from, field));
      break;
    case ParameterInfo::Form::kSwitch:
      *out = reflection->GetBool(from, field) ? 1 : 0;
      break;
    case ParameterInfo::Form::kChoice:
      shown = reflection->GetEnum(from, field)->name();
      *out = -1;
      for (size_t i = 0; i < parameter.choices.size(); ++i) {
        if (shown == parameter.choices[i]) *out = static_cast<double>(i);
      }
      break;
    case ParameterInfo::Form::kWord: {
      const std::string word = reflection->GetString(from, field);
      shown = absl::StrCat("\"", word, "\"");
      *out = -1;
      for (size_t i = 0; i < parameter.choices.size(); ++i) {
        if (word == parameter.choices[i]) *out = static_cast<double>(i);
      }
      break;
    }
  }
  if (parameter.Accepts(*out)) return absl::OkStatus();
  return source.Error(from, parameter.name, shown, "; expected ", parameter.range.expected);
}

}  // namespace pepnet

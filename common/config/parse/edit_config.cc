#include "common/config/parse/edit_config.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/numbers.h"
#include "nlohmann/json.hpp"

#include "common/base/name_watch.h"
#include "common/base/text.h"
#include "common/config/parse/text_parser.h"

// protobuf's CppType has values that the schema does not use.
#pragma GCC diagnostic ignored "-Wswitch-enum"

namespace pepnet {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using Json = nlohmann::ordered_json;

constexpr char kOrigin[] = "--edit_config_json";

struct Step {
  std::string field;
  bool has_selector = false;
  std::string selector;
};

// Splits at dots outside brackets.
StatusOr<std::vector<Step>> ParsePath(const std::string& path) {
  std::vector<Step> steps(1);
  bool inside = false, closed = false;
  for (const char c : path) {
    Step& step = steps.back();
    if (inside && c == ']') {
      inside = false;
      closed = true;
    } else if (inside) {
      step.selector += c;
    } else if (c == '[' && !closed) {
      inside = step.has_selector = true;
    } else if (c == '.') {
      steps.emplace_back();
      closed = false;
    } else if (closed) {
      return InvalidInput("expected \".\" after \"]\"");
    } else {
      step.field += c;
    }
  }
  if (inside) return InvalidInput("\"[\" is not closed");
  for (const Step& step : steps) {
    if (step.field.empty()) return InvalidInput("a field name is empty");
  }
  return steps;
}

StatusOr<const FieldDescriptor*> FindField(const Message& message, const std::string& name) {
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(name);
  if (field != nullptr) return field;
  return InvalidInput(message.GetDescriptor()->name(), " has no field \"", name, "\"",
                      Suggestion(name, FieldNames(*message.GetDescriptor())));
}

// Text of the field that `path` reaches from `message`; "" where a message on the way is unset.
StatusOr<std::string> ReadAsText(const Message& message, const std::string& path) {
  const size_t dot = path.find('.');
  PEPNET_ASSIGN_OR_RETURN(const FieldDescriptor* field, FindField(message, path.substr(0, dot)));
  const Reflection* reflection = message.GetReflection();
  if (field->is_repeated())
    return InvalidInput("\"", field->name(), "\" is repeated; a selector compares single fields");
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    if (dot == std::string::npos)
      return InvalidInput("\"", field->name(), "\" is a message; a selector compares values");
    if (!reflection->HasField(message, field)) return std::string();
    return ReadAsText(reflection->GetMessage(message, field), path.substr(dot + 1));
  }
  if (dot != std::string::npos) return InvalidInput("\"", field->name(), "\" is a value, not a message");
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) return reflection->GetString(message, field);
  std::string text;
  google::protobuf::TextFormat::PrintFieldValueToString(message, field, -1, &text);
  return text;
}

StatusOr<int> ParseIndex(const std::string& text, int size, int if_empty) {
  if (text.empty()) return if_empty;
  int index = 0;
  if (!absl::SimpleAtoi(text, &index)) return InvalidInput("\"", text, "\" is not an index");
  return index < 0 ? index + size : index;
}

// Elements of repeated `field` that the selector names.
StatusOr<std::vector<int>> Select(const Message& message, const FieldDescriptor& field, const std::string& selector) {
  const Reflection* reflection = message.GetReflection();
  const int size = reflection->FieldSize(message, &field);
  std::vector<int> selected;
  if (const size_t equal = selector.find('='); equal != std::string::npos) {
    if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) return InvalidInput("[", selector, "] needs messages");
    std::string value = selector.substr(equal + 1);
    if (value.size() >= 2 && (value.front() == '"' || value.front() == '\'') && value.back() == value.front()) {
      value = value.substr(1, value.size() - 2);
    }
    for (int i = 0; i < size; ++i) {
      PEPNET_ASSIGN_OR_RETURN(const std::string text, ReadAsText(reflection->GetRepeatedMessage(message, &field, i),
                                                                 selector.substr(0, equal)));
      if (text == value) selected.push_back(i);
    }
    if (selected.empty()) return InvalidInput("no element of ", field.name(), " has ", selector);
    return selected;
  }
  int begin = 0, end = 0;
  if (const size_t colon = selector.find(':'); colon != std::string::npos) {
    PEPNET_ASSIGN_OR_RETURN(begin, ParseIndex(selector.substr(0, colon), size, 0));
    PEPNET_ASSIGN_OR_RETURN(end, ParseIndex(selector.substr(colon + 1), size, size));
  } else {
    if (selector.empty()) return InvalidInput("[] selects nothing");
    PEPNET_ASSIGN_OR_RETURN(begin, ParseIndex(selector, size, 0));
    end = begin < size ? begin + 1 : size;
  }
  if (begin < 0 || end > size || begin >= end) {
    return InvalidInput("[", selector, "] is outside ", field.name(), ", which has ", size, " elements");
  }
  for (int i = begin; i < end; ++i) selected.push_back(i);
  return selected;
}

Status Mismatch(const FieldDescriptor& field, const Json& value) {
  const std::string expected = field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE ? "object" : field.cpp_type_name();
  return InvalidInput("value ", Printable(value.dump(), 200), " does not fit ", field.name(), " of type ", expected);
}

// index -1: the singular field; index == size: a new element; else that element.
template <typename T, typename SetSingular, typename SetElement, typename Add>
void Assign(Message* message, const FieldDescriptor& field, int index, T value, SetSingular set, SetElement set_element,
            Add add) {
  const Reflection* reflection = message->GetReflection();
  if (index < 0) {
    (reflection->*set)(message, &field, std::move(value));
  } else if (index < reflection->FieldSize(*message, &field)) {
    (reflection->*set_element)(message, &field, index, std::move(value));
  } else {
    (reflection->*add)(message, &field, std::move(value));
  }
}

Status SetFields(const Json& object, ConfigSource* source, Message* message);

Status SetOne(const Json& value, const FieldDescriptor& field, int index, ConfigSource* source, Message* message) {
  const Reflection* reflection = message->GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      if (!value.is_boolean()) return Mismatch(field, value);
      Assign(message, field, index, value.get<bool>(), &Reflection::SetBool, &Reflection::SetRepeatedBool,
             &Reflection::AddBool);
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_UINT32:
      if (!value.is_number_unsigned() || value.get<uint64_t>() > std::numeric_limits<uint32_t>::max()) {
        return Mismatch(field, value);
      }
      Assign(message, field, index, value.get<uint32_t>(), &Reflection::SetUInt32, &Reflection::SetRepeatedUInt32,
             &Reflection::AddUInt32);
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_UINT64:
      if (!value.is_number_unsigned()) return Mismatch(field, value);
      Assign(message, field, index, value.get<uint64_t>(), &Reflection::SetUInt64, &Reflection::SetRepeatedUInt64,
             &Reflection::AddUInt64);
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_FLOAT:
      if (!value.is_number()) return Mismatch(field, value);
      Assign(message, field, index, static_cast<float>(value.get<double>()), &Reflection::SetFloat,
             &Reflection::SetRepeatedFloat, &Reflection::AddFloat);
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_STRING:
      if (!value.is_string()) return Mismatch(field, value);
      Assign(message, field, index, value.get<std::string>(), &Reflection::SetString, &Reflection::SetRepeatedString,
             &Reflection::AddString);
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_ENUM: {
      const google::protobuf::EnumValueDescriptor* number = nullptr;
      if (value.is_string()) number = field.enum_type()->FindValueByName(value.get<std::string>());
      if (value.is_number_unsigned() && value.get<uint64_t>() < 1000) {
        number = field.enum_type()->FindValueByNumber(value.get<int>());
      }
      if (number == nullptr)
        return InvalidInput("value ", Printable(value.dump(), 200), " is not one of ", field.enum_type()->name());
      Assign(message, field, index, number, &Reflection::SetEnum, &Reflection::SetRepeatedEnum, &Reflection::AddEnum);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      if (!value.is_object()) return Mismatch(field, value);
      Message* child = index < 0 ? reflection->MutableMessage(message, &field)
                       : index < reflection->FieldSize(*message, &field)
                           ? reflection->MutableRepeatedMessage(message, &field, index)
                           : reflection->AddMessage(message, &field);
      source->MarkEdited(*child, kOrigin);
      child->Clear();
      return SetFields(value, source, child);
    }
    default:
      return Mismatch(field, value);  // the schema has no other types
  }
}

// Sets a whole field; a single value for a repeated field is a list of one.
Status SetField(const Json& value, const FieldDescriptor& field, ConfigSource* source, Message* message) {
  source->MarkFieldEdited(*message, field, kOrigin);
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && field.is_repeated()) {
    for (int i = 0; i < message->GetReflection()->FieldSize(*message, &field); ++i) {
      source->MarkEdited(message->GetReflection()->GetRepeatedMessage(*message, &field, i), kOrigin);
    }
  }
  if (value.is_null()) {
    message->GetReflection()->ClearField(message, &field);
    return absl::OkStatus();
  }
  if (!field.is_repeated()) return SetOne(value, field, -1, source, message);
  message->GetReflection()->ClearField(message, &field);
  const Json list = value.is_array() ? value : Json::array({value});
  for (size_t i = 0; i < list.size(); ++i) {
    PEPNET_RETURN_IF_ERROR(SetOne(list[i], field, static_cast<int>(i), source, message));
  }
  return absl::OkStatus();
}

Status SetFields(const Json& object, ConfigSource* source, Message* message) {
  for (const auto& [name, value] : object.items()) {
    PEPNET_ASSIGN_OR_RETURN(const FieldDescriptor* field, FindField(*message, name));
    PEPNET_RETURN_IF_ERROR(SetField(value, *field, source, message));
  }
  return absl::OkStatus();
}

Status Apply(const std::vector<Step>& steps, size_t at, const Json& value, ConfigSource* source, Message* message) {
  const Step& step = steps[at];
  PEPNET_ASSIGN_OR_RETURN(const FieldDescriptor* field, FindField(*message, step.field));
  const Reflection* reflection = message->GetReflection();
  const bool last = at + 1 == steps.size();
  if (!last && field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
    return InvalidInput("\"", step.field, "\" is a value, not a message");
  }
  if (!step.has_selector) {
    if (last) return SetField(value, *field, source, message);
    if (field->is_repeated()) return InvalidInput("\"", step.field, "\" is repeated; write ", step.field, "[0] or [:]");
    return Apply(steps, at + 1, value, source, reflection->MutableMessage(message, field));
  }
  if (!field->is_repeated()) return InvalidInput("\"", step.field, "\" is not repeated; remove [", step.selector, "]");
  PEPNET_ASSIGN_OR_RETURN(const std::vector<int> selected, Select(*message, *field, step.selector));
  for (const int i : selected) {
    if (!last) {
      PEPNET_RETURN_IF_ERROR(
          Apply(steps, at + 1, value, source, reflection->MutableRepeatedMessage(message, field, i)));
    } else {
      source->MarkFieldEdited(*message, *field, kOrigin);
      PEPNET_RETURN_IF_ERROR(SetOne(value, *field, i, source, message));
    }
  }
  return absl::OkStatus();
}

// A name that an object gives twice would lose one of its values.
StatusOr<Json> ParseEdits(const std::string& text) {
  if (const Status flat = CheckJsonDepth(text); !flat.ok()) return InvalidInput(kOrigin, ": ", flat.message());
  NameWatch<Json> watch;
  std::string reason = "it is no object";
  try {
    Json edits = Json::parse(text, watch.Callback());
    if (!watch.duplicate().empty()) {
      return InvalidInput(kOrigin, ": \"", Printable(watch.duplicate(), 200), "\" is given twice");
    }
    if (edits.is_object()) return edits;
  } catch (const Json::exception& error) {
    reason = JsonErrorText(error.what());
  }
  return InvalidInput(kOrigin, ": expected a JSON object such as {\"train_config.num_steps\": 10}, got ",
                      Printable(text, 200), " (", reason, ")");
}

}  // namespace

Status EditConfig(const std::string& edit_config_json, ConfigSource* source, config::EasyRecConfig* config) {
  if (edit_config_json.empty()) return absl::OkStatus();
  PEPNET_ASSIGN_OR_RETURN(const Json edits, ParseEdits(edit_config_json));
  for (const auto& [path, value] : edits.items()) {
    const std::string where = absl::StrCat(kOrigin, ": ", Printable(path, 200));
    const auto steps = ParsePath(path);
    if (!steps.ok()) return Annotate(steps.status(), where);
    PEPNET_RETURN_IF_ERROR(Annotate(Apply(*steps, 0, value, source, config), where));
    source->AddNote(absl::StrCat(where, ": set to ", Printable(value.dump())));
  }
  return absl::OkStatus();
}

}  // namespace pepnet

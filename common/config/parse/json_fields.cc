#include "common/config/parse/json_fields.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
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

// The one sentence for every value of a wrong type.
Status Mismatch(const FieldDescriptor& field, const Json& value) {
  const std::string expected =
      field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE ? "object" : field.cpp_type_name();
  return InvalidInput("value ", Printable(value.dump(), 200), " does not fit ", field.name(),
                      " of type ", expected);
}

// index -1: the singular field; index == size: a new element; else that element.
template <typename T, typename SetSingular, typename SetElement, typename Add>
void Assign(Message* message, const FieldDescriptor& field, int index, T value, SetSingular set,
            SetElement set_element, Add add) {
  const Reflection* reflection = message->GetReflection();
  if (index < 0) {
    (reflection->*set)(message, &field, std::move(value));
  } else if (index < reflection->FieldSize(*message, &field)) {
    (reflection->*set_element)(message, &field, index, std::move(value));
  } else {
    (reflection->*add)(message, &field, std::move(value));
  }
}

// The text of a value for a field that is no text.
std::string Stripped(const Json& value) {
  return std::string(absl::StripAsciiWhitespace(value.get_ref<const std::string&>()));
}

// BoolOf(), WholeNumberOf() and RealOf() give nothing for a value of another type. Texts are taken,
// too: values from a shell arrive as texts, and Python writes True.
std::optional<bool> BoolOf(const Json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (!value.is_string()) return std::nullopt;
  const std::string text = Stripped(value);
  if (text == "true" || text == "True") return true;
  if (text == "false" || text == "False") return false;
  return std::nullopt;
}

std::optional<uint64_t> WholeNumberOf(const Json& value) {
  if (value.is_number_unsigned()) return value.get<uint64_t>();
  uint64_t number = 0;
  if (value.is_string() && absl::SimpleAtoi(Stripped(value), &number)) return number;
  return std::nullopt;
}

std::optional<double> RealOf(const Json& value) {
  if (value.is_number()) return value.get<double>();
  double number = 0;
  if (value.is_string() && absl::SimpleAtod(Stripped(value), &number)) return number;
  return std::nullopt;
}

// The value by name or by number, which protobuf's JSON allows both.
const google::protobuf::EnumValueDescriptor* EnumValueOf(const Json& value,
                                                         const FieldDescriptor& field) {
  const google::protobuf::EnumValueDescriptor* found = nullptr;
  if (value.is_string()) found = field.enum_type()->FindValueByName(Stripped(value));
  if (found != nullptr) return found;
  const std::optional<uint64_t> number = WholeNumberOf(value);
  if (!number.has_value() || *number > std::numeric_limits<int>::max()) return nullptr;
  return field.enum_type()->FindValueByNumber(static_cast<int>(*number));
}

// Keeps the parser's first complaint and keeps the others off the log.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int, google::protobuf::io::ColumnNumber, const std::string& message) override {
    if (text_.empty()) text_ = message;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// Adds what `text` says in protobuf's text format to `message`.
Status MergeText(const std::string& text, const FieldDescriptor& field, Message* message) {
  FirstError error;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  parser.SetRecursionLimit(kMaxJsonDepth);
  if (parser.MergeFromString(text, message)) return absl::OkStatus();
  return InvalidInput("value \"", Printable(text, 200), "\" does not fit ", field.name(), ": ",
                      Printable(error.text(), 200));
}

// vocab_dict is a map in the reference and a list of entries here, which have lines.
bool IsMapEntry(const FieldDescriptor& field) {
  return field.is_repeated() && field.message_type() == config::VocabularyEntry::descriptor();
}

// {"word": 3, "other": 4} as [{"key": "word", "value": 3}, {"key": "other", "value": 4}].
Json EntriesOf(const Json& map) {
  Json entries = Json::array();
  for (const auto& [key, value] : map.items()) entries.push_back({{"key", key}, {"value", value}});
  return entries;
}

// By name, or as protobuf's JSON writes it, in lowerCamelCase.
const FieldDescriptor* FieldOfMember(const Message& message, const std::string& name) {
  const auto* descriptor = message.GetDescriptor();
  if (const FieldDescriptor* field = descriptor->FindFieldByName(name); field != nullptr) {
    return field;
  }
  for (int i = 0; i < descriptor->field_count(); ++i) {
    if (descriptor->field(i)->json_name() == name) return descriptor->field(i);
  }
  return nullptr;
}

}  // namespace

StatusOr<const FieldDescriptor*> FindField(const Message& message, const std::string& name) {
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(name);
  if (field != nullptr) return field;
  return InvalidInput(message.GetDescriptor()->name(), " has no field \"", Printable(name, 200),
                      "\"", Suggestion(name, FieldNames(*message.GetDescriptor())));
}

Status JsonFields::SetMessage(const Json& value, const FieldDescriptor& field, int index,
                              Message* message) const {
  if (!value.is_object() && !value.is_string()) return Mismatch(field, value);
  const Reflection* reflection = message->GetReflection();
  Message* child = index < 0 ? reflection->MutableMessage(message, &field)
                   : index < reflection->FieldSize(*message, &field)
                       ? reflection->MutableRepeatedMessage(message, &field, index)
                       : reflection->AddMessage(message, &field);
  // Lines are forgotten before Clear(), which frees the messages below whose addresses they are
  // kept by.
  if (!origin_.empty()) source_->MarkEdited(*child, origin_);
  child->Clear();
  if (value.is_object()) return SetAll(value, child);
  // Text format has no braces around a whole message; who copies one from a config brings them
  // along.
  std::string text = Stripped(value);
  if (text.size() >= 2 && text.front() == '{' && text.back() == '}') {
    text = text.substr(1, text.size() - 2);
  }
  return MergeText(text, field, child);
}

Status JsonFields::SetOne(const Json& value, const FieldDescriptor& field, int index,
                          Message* message) const {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL: {
      const std::optional<bool> flag = BoolOf(value);
      if (!flag.has_value()) return Mismatch(field, value);
      Assign(message, field, index, *flag, &Reflection::SetBool, &Reflection::SetRepeatedBool,
             &Reflection::AddBool);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_UINT32: {
      const std::optional<uint64_t> number = WholeNumberOf(value);
      if (!number.has_value() || *number > std::numeric_limits<uint32_t>::max()) {
        return Mismatch(field, value);
      }
      Assign(message, field, index, static_cast<uint32_t>(*number), &Reflection::SetUInt32,
             &Reflection::SetRepeatedUInt32, &Reflection::AddUInt32);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_UINT64: {
      const std::optional<uint64_t> number = WholeNumberOf(value);
      if (!number.has_value()) return Mismatch(field, value);
      Assign(message, field, index, *number, &Reflection::SetUInt64, &Reflection::SetRepeatedUInt64,
             &Reflection::AddUInt64);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_FLOAT: {
      const std::optional<double> number = RealOf(value);
      if (!number.has_value()) return Mismatch(field, value);
      Assign(message, field, index, static_cast<float>(*number), &Reflection::SetFloat,
             &Reflection::SetRepeatedFloat, &Reflection::AddFloat);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_STRING:
      if (!value.is_string()) return Mismatch(field, value);
      Assign(message, field, index, value.get<std::string>(), &Reflection::SetString,
             &Reflection::SetRepeatedString, &Reflection::AddString);
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_ENUM: {
      const auto* const number = EnumValueOf(value, field);
      if (number == nullptr) {
        return InvalidInput("value ", Printable(value.dump(), 200), " is not one of ",
                            field.enum_type()->name());
      }
      Assign(message, field, index, number, &Reflection::SetEnum, &Reflection::SetRepeatedEnum,
             &Reflection::AddEnum);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return SetMessage(value, field, index, message);
    default:
      return Mismatch(field, value);  // the schema has no other types
  }
}

Status JsonFields::SetElement(const Json& value, const FieldDescriptor& field, int index,
                              Message* message) const {
  if (!origin_.empty()) source_->MarkFieldEdited(*message, field, origin_);
  return SetOne(value, field, index, message);
}

Status JsonFields::Set(const Json& value, const FieldDescriptor& field, Message* message) const {
  const Reflection* reflection = message->GetReflection();
  const bool is_message = field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
  if (!origin_.empty()) {
    source_->MarkFieldEdited(*message, field, origin_);
    for (int i = 0;
         is_message && field.is_repeated() && i < reflection->FieldSize(*message, &field); ++i) {
      source_->MarkEdited(reflection->GetRepeatedMessage(*message, &field, i), origin_);
    }
  }
  // null unsets, as in protobuf's JSON.
  if (value.is_null()) {
    reflection->ClearField(message, &field);
    return absl::OkStatus();
  }
  if (!field.is_repeated()) return SetOne(value, field, -1, message);
  reflection->ClearField(message, &field);
  // A whole list in text format, such as "[{...}, {...}]", is left to protobuf's parser.
  if (value.is_string() && !Stripped(value).empty() && Stripped(value).front() == '[') {
    return MergeText(absl::StrCat(field.name(), ": ", Stripped(value)), field, message);
  }
  // An object with the members "key" and "value" is one entry, as protobuf writes it; any other
  // object is a map from word to row.
  const bool is_map = is_message && IsMapEntry(field) && value.is_object() &&
                      !(value.size() == 2 && value.contains("key") && value.contains("value"));
  const Json list = is_map ? EntriesOf(value) : value.is_array() ? value : Json::array({value});
  for (size_t i = 0; i < list.size(); ++i) {
    PEPNET_RETURN_IF_ERROR(SetOne(list[i], field, static_cast<int>(i), message));
  }
  return absl::OkStatus();
}

Status JsonFields::SetAll(const Json& object, Message* message) const {
  for (const auto& [name, value] : object.items()) {
    if (const FieldDescriptor* const field = FieldOfMember(*message, name); field != nullptr) {
      PEPNET_RETURN_IF_ERROR(Annotate(Set(value, *field, message), field->name()));
      continue;
    }
    // The message itself is refused later, by name; what stands in it is of no interest.
    if (IsUnsupported(*message->GetDescriptor())) continue;
    if (!ignore_unknown_fields_) return FindField(*message, name).status();
    source_->AddNote(absl::StrCat(source_->name(), ": unknown field \"", Printable(name, 200),
                                  "\" of ", message->GetDescriptor()->name(),
                                  " is ignored, as asked for"));
  }
  return absl::OkStatus();
}

StatusOr<Json> ParseJsonObject(const std::string& text, const std::string& where,
                               const std::string& example) {
  if (const Status flat = CheckJsonDepth(text); !flat.ok()) {
    return InvalidInput(where, ": ", flat.message());
  }
  // The depth is checked before the parser runs, since it recurses; names that occur twice are seen
  // only while it runs, since the object keeps one of them.
  NameWatch<Json> watch;
  std::string reason = "it is no object";
  try {
    Json object = Json::parse(text, watch.Callback());
    // An object that gives a name twice would lose one of its values.
    if (!watch.duplicate().empty()) {
      return InvalidInput(where, ": \"", Printable(watch.duplicate(), 200), "\" is given twice");
    }
    if (object.is_object()) return object;
  } catch (const Json::exception& error) {
    reason = JsonErrorText(error.what());
  }
  return InvalidInput(where, ": expected a JSON object such as ", example, ", got ",
                      Printable(text, 200), " (", reason, ")");
}

}  // namespace pepnet

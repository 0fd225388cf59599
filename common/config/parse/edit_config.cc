#include "common/config/parse/edit_config.h"

#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "nlohmann/json.hpp"

#include "common/base/text.h"
#include "common/config/parse/field_paths.h"
#include "common/config/parse/json_fields.h"
#include "common/job_config/type_table.h"

namespace pepnet {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using Json = nlohmann::ordered_json;

// The flags that changes come from, for messages.
constexpr char kEdit[] = "--edit_config_json", kSet[] = "--set";
constexpr int kMostSuggestions = 3;

struct Step {
  std::string field;
  bool has_selector = false;
  std::string selector;
};

// Splits at dots outside brackets.
StatusOr<std::vector<Step>> ParsePath(const std::string& path) {
  std::vector<Step> steps(1);
  // A selector may hold dots ([id_feature.feature_name=user_id]), so that only dots outside
  // brackets part the steps.
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

// Text of the field that `path` reaches from `message`; "" where a message on the way is unset.
StatusOr<std::string> ReadAsText(const Message& message, const std::string& path) {
  const size_t dot = path.find('.');
  PEPNET_ASSIGN_OR_RETURN(const FieldDescriptor* field, FindField(message, path.substr(0, dot)));
  const Reflection* reflection = message.GetReflection();
  if (field->is_repeated()) {
    return InvalidInput("\"", field->name(), "\" is repeated; a selector compares single fields");
  }
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    if (dot == std::string::npos) {
      return InvalidInput("\"", field->name(), "\" is a message; a selector compares values");
    }
    if (!reflection->HasField(message, field)) return std::string();
    return ReadAsText(reflection->GetMessage(message, field), path.substr(dot + 1));
  }
  if (dot != std::string::npos) {
    return InvalidInput("\"", field->name(), "\" is a value, not a message");
  }
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    return reflection->GetString(message, field);
  }
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

// True if "text <comparison> value" holds: equality of texts, order of numbers. A field that is not
// set is in no order.
StatusOr<bool> Holds(const std::string& text, const std::string& comparison,
                     const std::string& value) {
  if (comparison == "=") return text == value;
  double left = 0, right = 0;
  if (text.empty()) return false;
  if (!absl::SimpleAtod(value, &right)) {
    return InvalidInput("\"", value, "\" behind ", comparison, " is no number");
  }
  if (!absl::SimpleAtod(text, &left)) {
    return InvalidInput("\"", text, "\" is no number, which ", comparison, " needs");
  }
  return comparison == "<"    ? left < right
         : comparison == ">"  ? left > right
         : comparison == "<=" ? left <= right
                              : left >= right;
}

// Elements whose field, reached by a dotted path, compares with a value: "path=value", also with <,
// >, <= and >=.
StatusOr<std::vector<int>> SelectByValue(const Message& message, const FieldDescriptor& field,
                                         const std::string& selector) {
  if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
    return InvalidInput("[", selector, "] needs messages");
  }
  const size_t at = selector.find_first_of("<=>");
  // `at + 1` may be the end of the text, where std::string holds a zero that may be read.
  const size_t length = selector[at] != '=' && selector[at + 1] == '=' ? 2 : 1;
  const std::string path(absl::StripAsciiWhitespace(selector.substr(0, at)));
  std::string value(absl::StripAsciiWhitespace(selector.substr(at + length)));
  if (value.size() >= 2 && (value.front() == '"' || value.front() == '\'') &&
      value.back() == value.front()) {
    value = value.substr(1, value.size() - 2);
  }
  const Reflection* reflection = message.GetReflection();
  std::vector<int> selected;
  for (int i = 0; i < reflection->FieldSize(message, &field); ++i) {
    PEPNET_ASSIGN_OR_RETURN(const std::string text,
                            ReadAsText(reflection->GetRepeatedMessage(message, &field, i), path));
    PEPNET_ASSIGN_OR_RETURN(const bool holds, Holds(text, selector.substr(at, length), value));
    if (holds) selected.push_back(i);
  }
  if (selected.empty()) return InvalidInput("no element of ", field.name(), " has ", selector);
  return selected;
}

// Elements of repeated `field` that the selector names.
StatusOr<std::vector<int>> Select(const Message& message, const FieldDescriptor& field,
                                  const std::string& selector) {
  const Reflection* reflection = message.GetReflection();
  const int size = reflection->FieldSize(message, &field);
  std::vector<int> selected;
  if (selector.find_first_of("<=>") != std::string::npos) {
    return SelectByValue(message, field, selector);
  }
  int begin = 0, end = 0;
  if (const size_t colon = selector.find(':'); colon != std::string::npos) {
    PEPNET_ASSIGN_OR_RETURN(begin, ParseIndex(selector.substr(0, colon), size, 0));
    PEPNET_ASSIGN_OR_RETURN(end, ParseIndex(selector.substr(colon + 1), size, size));
  } else {
    if (selector.empty()) return InvalidInput("[] selects nothing");
    PEPNET_ASSIGN_OR_RETURN(begin, ParseIndex(selector, size, 0));
    // An index beyond the end makes an empty range, which is refused below with the size of the
    // list.
    end = begin < size ? begin + 1 : size;
  }
  if (begin < 0 || end > size || begin >= end) {
    return InvalidInput("[", selector, "] is outside ", field.name(), ", which has ", size,
                        " elements");
  }
  for (int i = begin; i < end; ++i) selected.push_back(i);
  return selected;
}

Status Apply(const std::vector<Step>& steps, size_t at, const Json& value, const JsonFields& fields,
             Message* message) {
  const Step& step = steps[at];
  PEPNET_ASSIGN_OR_RETURN(const FieldDescriptor* field, FindField(*message, step.field));
  const Reflection* reflection = message->GetReflection();
  const bool last = at + 1 == steps.size();
  if (!last && field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
    return InvalidInput("\"", step.field, "\" is a value, not a message");
  }
  if (!step.has_selector) {
    if (last) return fields.Set(value, *field, message);
    if (field->is_repeated()) {
      return InvalidInput("\"", step.field, "\" is repeated; write ", step.field, "[0] or [:]");
    }
    return Apply(steps, at + 1, value, fields, reflection->MutableMessage(message, field));
  }
  if (!field->is_repeated()) {
    return InvalidInput("\"", step.field, "\" is not repeated; remove [", step.selector, "]");
  }
  PEPNET_ASSIGN_OR_RETURN(const std::vector<int> selected, Select(*message, *field, step.selector));
  for (const int i : selected) {
    if (!last) {
      PEPNET_RETURN_IF_ERROR(Apply(steps, at + 1, value, fields,
                                   reflection->MutableRepeatedMessage(message, field, i)));
    } else {
      PEPNET_RETURN_IF_ERROR(fields.SetElement(value, *field, i, message));
    }
  }
  return absl::OkStatus();
}

// Splits `text` at semicolons outside brackets; no blanks around the parts.
std::vector<std::string> SplitAtSemicolons(const std::string& text) {
  std::vector<std::string> parts(1);
  bool inside = false;
  for (const char c : text) {
    if (c == '[') inside = true;
    if (c == ']') inside = false;
    if (c == ';' && !inside) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  for (std::string& part : parts) part = std::string(absl::StripAsciiWhitespace(part));
  return parts;
}

// The path begins with no field of a config, as "num_epochs" does not: tells the whole paths that
// end so.
Status CheckBeginning(const std::string& path, const std::vector<Step>& steps,
                      const config::EasyRecConfig& config) {
  const std::string& first = steps.front().field;
  const StatusOr<const FieldDescriptor*> field = FindField(config, first);
  if (field.ok()) return absl::OkStatus();
  std::vector<std::string> fields;
  for (const Step& step : steps) fields.push_back(step.field);
  std::vector<std::string> meant = PathsThatEndIn(fields, config, kMostSuggestions);
  if (meant.empty()) return field.status();
  for (std::string& one : meant) {
    one = absl::StrCat("\"", one, Printable(path.substr(first.size()), 200), "\"");
  }
  return InvalidInput(config.GetDescriptor()->name(), " has no field \"", Printable(first, 200),
                      "\" (did you mean ", JoinNames(meant, " or "), "?)");
}

Status SetPath(const char* origin, const std::string& path, const Json& value, ConfigSource* source,
               config::EasyRecConfig* config) {
  const std::string where = absl::StrCat(origin, ": ", Printable(path, 200));
  const auto steps = ParsePath(path);
  if (!steps.ok()) return Annotate(steps.status(), where);
  PEPNET_RETURN_IF_ERROR(Annotate(CheckBeginning(path, *steps, *config), where));
  PEPNET_RETURN_IF_ERROR(
      Annotate(Apply(*steps, 0, value, JsonFields(origin, source), config), where));
  source->AddNote(absl::StrCat(where, ": set to ", Printable(value.dump())));
  return absl::OkStatus();
}

// One entry of the JSON object. A name "a;b" sets two fields, to the two parts of a text "1;2".
Status ApplyEntry(const std::string& name, const Json& value, ConfigSource* source,
                  config::EasyRecConfig* config) {
  const std::vector<std::string> paths = SplitAtSemicolons(name);
  std::vector<Json> values = {value};
  if (paths.size() > 1) {
    values.clear();
    if (value.is_string()) {
      for (const std::string& part : SplitAtSemicolons(value.get<std::string>())) {
        values.emplace_back(part);
      }
    }
    if (values.size() != paths.size()) {
      return InvalidInput(kEdit, ": ", Printable(name, 200), ": names ", paths.size(),
                          " fields, but its value ", Printable(value.dump(), 200),
                          " does not; expected a text of ", paths.size(),
                          " values with \";\" between them");
    }
  }
  for (size_t i = 0; i < paths.size(); ++i) {
    PEPNET_RETURN_IF_ERROR(SetPath(kEdit, paths[i], values[i], source, config));
  }
  return absl::OkStatus();
}

}  // namespace

Status EditConfig(const std::string& edit_config_json, ConfigSource* source,
                  config::EasyRecConfig* config) {
  if (edit_config_json.empty()) return absl::OkStatus();
  PEPNET_ASSIGN_OR_RETURN(const Json edits, ParseJsonObject(edit_config_json, kEdit,
                                                            "{\"train_config.num_steps\": 10}"));
  for (const auto& [name, value] : edits.items()) {
    PEPNET_RETURN_IF_ERROR(ApplyEntry(name, value, source, config));
  }
  return absl::OkStatus();
}

Status SetFields(const std::vector<std::string>& assignments, ConfigSource* source,
                 config::EasyRecConfig* config) {
  for (const std::string& assignment : assignments) {
    // The first "=" that is no selector's.
    int depth = 0;
    size_t at = 0;
    for (; at < assignment.size() && (depth > 0 || assignment[at] != '='); ++at) {
      depth += assignment[at] == '[' ? 1 : assignment[at] == ']' ? -1 : 0;
    }
    if (at == 0 || at == assignment.size()) {
      return InvalidInput(kSet, " ", Printable(assignment, 200),
                          ": expected path=value, as in train_config.num_epochs=5");
    }
    const std::string text = assignment.substr(at + 1);
    // Texts need no quotes. Numbers are texts, too, which fields of every type take.
    Json value = text;
    if (!text.empty() && (text[0] == '{' || text[0] == '[' || text[0] == '"')) {
      value = Json::parse(text, nullptr, /*allow_exceptions=*/false);
      if (value.is_discarded()) {
        return InvalidInput(kSet, " ", Printable(assignment, 200), ": ", Printable(text, 200),
                            " is not JSON");
      }
    }
    PEPNET_RETURN_IF_ERROR(SetPath(kSet, assignment.substr(0, at), value, source, config));
  }
  return absl::OkStatus();
}

}  // namespace pepnet

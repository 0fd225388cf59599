#include "common/config/parse/text_parser.h"

#include <google/protobuf/io/tokenizer.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "common/base/text.h"

namespace pepnet {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::TextFormat;

// The same limit holds for the scan of separators and for protobuf's parser, so that the first of
// them reports it with a line.
constexpr int kMaxConfigDepth = 100;

// The text between the n-th pair of double quotes of `message` (from 0), "" if there is none.
std::string Quoted(const std::string& message, int n) {
  size_t begin = 0;
  for (int i = 0;; ++i) {
    begin = message.find('"', begin);
    if (begin == std::string::npos) return "";
    const size_t end = message.find('"', begin + 1);
    if (end == std::string::npos) return "";
    if (i == n) return message.substr(begin + 1, end - begin - 1);
    begin = end + 1;
  }
}

// The enumeration that a field of this name has, anywhere below `type`; null if there is none. The
// parser names the field but not its message, so all messages of the schema are searched; `seen`
// ends circles.
const google::protobuf::EnumDescriptor* FindEnum(const Descriptor& type, const std::string& field,
                                                 std::set<const Descriptor*>* seen) {
  if (!seen->insert(&type).second) return nullptr;
  for (int i = 0; i < type.field_count(); ++i) {
    if (type.field(i)->name() == field && type.field(i)->enum_type() != nullptr) {
      return type.field(i)->enum_type();
    }
  }
  for (int i = 0; i < type.field_count(); ++i) {
    if (type.field(i)->message_type() == nullptr) continue;
    if (const auto* found = FindEnum(*type.field(i)->message_type(), field, seen)) return found;
  }
  return nullptr;
}

// "": no value of a field, but another fault.
struct WrongValue {
  std::string value, text;
};

// Of the parser's complaints about a value of an enumeration or a boolean. It makes them at the
// word behind the value.
WrongValue ExplainValue(const std::string& message) {
  if (message.find("Invalid value for boolean field") == 0) {
    const std::string value = Quoted(message, 1);
    return {value, absl::StrCat("\"", value, "\" is no value of ", Quoted(message, 0),
                                "; expected true or false")};
  }
  if (message.find("Unknown enumeration value of") != 0) return {};
  const std::string value = Quoted(message, 0), field = Quoted(message, 1);
  std::set<const Descriptor*> seen;
  std::vector<std::string> names;
  if (const auto* type = FindEnum(*config::EasyRecConfig::descriptor(), field, &seen)) {
    for (int i = 0; i < type->value_count(); ++i) names.push_back(type->value(i)->name());
  }
  return {value,
          absl::StrCat("\"", value, "\" is no value of ", field, Suggestion(value, names),
                       names.empty() ? "" : "; expected one of ", absl::StrJoin(names, ", "))};
}

// Keeps the parser's complaints in order. With unknown fields allowed, the parser reports each as
// the warning
//     Message type "<type>" has no field named "<field>".
// and goes on, so that one run finds them all.
class Collector : public google::protobuf::io::ErrorCollector {
 public:
  // Borrows both.
  Collector(bool ignore_unknown_fields, const std::string* text, ConfigSource* source)
      : ignore_(ignore_unknown_fields), lines_(absl::StrSplit(*text, '\n')), source_(source) {}

  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override {
    const WrongValue wrong = ExplainValue(message);
    if (wrong.text.empty()) {
      Add(line, column, message);
      return;
    }
    // The parser has read the word behind the value when it complains: the place is looked for
    // backwards.
    const auto [value_line, value_column] = FindBefore(wrong.value, line, column);
    Add(value_line, value_column, wrong.text);
  }

  void AddWarning(int line, google::protobuf::io::ColumnNumber column,
                  const std::string& message) override {
    const Descriptor* type =
        google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(
            Quoted(message, 0));
    // "[foo.bar]: 3", an extension: no message of the schema has any.
    if (message.find("xtension \"") != std::string::npos) {
      const std::string field = absl::StrCat("[", Quoted(message, 0), "]");
      if (ignore_) {
        source_->AddNote(absl::StrCat(source_->name(), ":", line + 1, ": unknown field \"",
                                      Printable(field, 200), "\" is ignored, as asked for"));
      } else {
        Add(line, column, absl::StrCat("unknown field \"", field, "\""));
      }
      return;
    }
    // Other warnings (a deprecated field, say) change nothing and become notes.
    if (type == nullptr || message.find("has no field named") == std::string::npos) {
      source_->AddNote(absl::StrCat(source_->name(), ":", line + 1, ": ", message));
      return;
    }
    if (IsUnsupported(*type)) return;
    const std::string field = Quoted(message, 1);
    if (ignore_) {
      source_->AddNote(absl::StrCat(source_->name(), ":", line + 1, ": unknown field \"", field,
                                    "\" of ", type->name(), " is ignored, as asked for"));
      return;
    }
    Add(line, column,
        absl::StrCat("unknown field \"", field, "\" in ", type->name(),
                     Suggestion(field, FieldNames(*type))));
  }

  const std::vector<std::string>& faults() const { return faults_; }

 private:
  // The last place of `word` before this one; the place itself if it does not.
  std::pair<int, int> FindBefore(const std::string& word, int line, int column) const {
    for (int at = std::min(line, static_cast<int>(lines_.size()) - 1); at >= 0; --at) {
      const absl::string_view text =
          lines_[at].substr(0, at == line ? column : absl::string_view::npos);
      const size_t found = text.rfind(word);
      if (found != absl::string_view::npos) return {at, static_cast<int>(found)};
    }
    return {line, column};
  }

  void Add(int line, int column, const std::string& message) {
    const std::string place =
        line < 0 ? source_->name() : absl::StrCat(source_->name(), ":", line + 1, ":", column + 1);
    faults_.push_back(absl::StrCat(place, ": ", Printable(message)));
  }

  const bool ignore_;
  const std::vector<absl::string_view> lines_;
  ConfigSource* const source_;
  std::vector<std::string> faults_;
};

// The text with a blank for each comma or semicolon behind a field: the parser takes them only
// behind fields that it knows, and would stop at one behind a field that is to be refused by name.
// Columns stay. InvalidArgument where messages or lists stand in each other deeper than
// kMaxConfigDepth: the parser recurses.
StatusOr<std::string> WithoutSeparators(const std::string& text, const std::string& source) {
  std::string result = text;
  std::vector<std::pair<char, int>> open;  // and the line
  char before = '{';                       // the last character that is no blank or comment
  int line = 1;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') ++line;
    if (absl::ascii_isspace(c)) continue;
    if (c == '#') {
      while (i + 1 < text.size() && text[i + 1] != '\n') ++i;
      continue;
    }
    if (c == '"' || c == '\'') {  // ends with the line at the latest
      while (i + 1 < text.size() && text[i + 1] != c && text[i + 1] != '\n') {
        i += text[i + 1] == '\\' ? 2 : 1;
      }
      if (i + 1 < text.size() && text[i + 1] == c) ++i;
    } else if (c == '{' || c == '<' || c == '[') {
      open.emplace_back(c, line);
      if (open.size() > kMaxConfigDepth) {
        return InvalidInput(source, ":", line, ": messages stand in each other deeper than ",
                            kMaxConfigDepth, " levels");
      }
    } else if (c == '}' || c == '>' || c == ']') {
      if (!open.empty()) open.pop_back();
    } else if (static_cast<unsigned char>(c) >= 0x80) {
      const size_t line_begin =
          text.rfind('\n', i) == std::string::npos ? 0 : text.rfind('\n', i) + 1;
      size_t end = i + 1;
      while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) ++end;
      return InvalidInput(
          source, ":", line, ":", i - line_begin + 1, ": the character \"",
          Printable(text.substr(i, end - i)),
          "\" stands outside of quotes; write straight quotes and ASCII punctuation");
    } else if ((c == ',' || c == ';') && (open.empty() || open.back().first != '[')) {
      if (std::string_view("{<,;:").find(before) != std::string_view::npos) {
        return InvalidInput(source, ":", line, ": \"", std::string(1, c), "\" stands where a ",
                            before == ':' ? "value" : "field", " is expected");
      }
      result[i] = ' ';
    }
    before = c;
  }
  if (!open.empty()) {
    return InvalidInput(source, ":", line, ": the file ends inside of what \"",
                        std::string(1, open.back().first), "\" opens in line ", open.back().second);
  }
  return result;
}

// By the optimizer, which stands elsewhere in TorchEasyRec's configs.
bool IsEasyRec(const std::vector<std::string>& faults) {
  return std::any_of(faults.begin(), faults.end(), [](const std::string& fault) {
    return fault.find("unknown field \"optimizer_config\" in TrainConfig") != std::string::npos;
  });
}

}  // namespace

Status ParseText(const std::string& text, bool ignore_unknown_fields, ConfigSource* source,
                 config::EasyRecConfig* config, std::vector<std::string>* all) {
  // Both cases are common, and the parser's own words for them would not say what to do.
  if (text.rfind("\xef\xbb\xbf", 0) == 0) {
    return InvalidInput(source->name(),
                        ":1: the file begins with a byte order mark; save it as UTF-8 without one");
  }
  if (!absl::StripAsciiWhitespace(text).empty() && absl::StripAsciiWhitespace(text)[0] == '{') {
    return InvalidInput(
        source->name(),
        ":1: the file begins with \"{\", as JSON does; the name of a pipeline config in ",
        "JSON ends in .json");
  }
  PEPNET_ASSIGN_OR_RETURN(const std::string separated, WithoutSeparators(text, source->name()));
  Collector collector(ignore_unknown_fields, &separated, source);
  TextFormat::ParseInfoTree tree;
  TextFormat::Parser parser;
  // Unknown fields come as warnings of the Collector and not as errors, which would end the parse
  // at the first: a user sees all of them at once, each with a suggestion.
  parser.AllowUnknownField(true);
  parser.RecordErrorsTo(&collector);
  parser.WriteLocationsTo(&tree);
  parser.SetRecursionLimit(kMaxConfigDepth);
  const bool parsed = parser.ParseFromString(separated, config);
  const std::vector<std::string>& faults = collector.faults();
  if (all != nullptr) *all = faults;
  if (!faults.empty() && IsEasyRec(faults)) {
    return InvalidInput(source->name(),
                        ": this is a config of EasyRec (TensorFlow); convert it with "
                        "tzrec.tools.convert_easyrec_config_to_tzrec_config of TorchEasyRec (",
                        faults[0], ", and ", faults.size() - 1, " more)");
  }
  // Unknown fields alone do not end the work where `all` is wanted: the rest of the config is
  // checked, too.
  if (!faults.empty() && (all == nullptr || !parsed)) {
    if (faults.size() == 1) return InvalidInput(faults[0]);
    return InvalidInput(faults[0], " (and ", faults.size() - 1, " more)");
  }
  if (!parsed) {
    return InvalidInput(source->name(), ": not a pipeline config in protobuf text format");
  }
  source->Record(*config, tree);
  return absl::OkStatus();
}

bool IsUnsupported(const google::protobuf::Descriptor& type) {
  return &type == config::Unsupported::descriptor();
}

std::vector<std::string> FieldNames(const Descriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  return names;
}

}  // namespace pepnet

#include "common/config/text_parser.h"

#include <google/protobuf/io/tokenizer.h>

namespace pepnet {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::TextFormat;

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

// Keeps the parser's complaints in order. With unknown fields allowed, the parser reports each as the warning
//     Message type "<type>" has no field named "<field>".
// and goes on, so that one run finds them all.
class Collector : public google::protobuf::io::ErrorCollector {
 public:
  Collector(bool ignore_unknown_fields, ConfigSource* source) : ignore_(ignore_unknown_fields), source_(source) {}

  void AddError(int line, google::protobuf::io::ColumnNumber column, const std::string& message) override {
    Add(line, column, message);
  }

  void AddWarning(int line, google::protobuf::io::ColumnNumber column, const std::string& message) override {
    const Descriptor* type =
        google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(Quoted(message, 0));
    if (type == nullptr || message.find("has no field named") == std::string::npos) {
      source_->AddNote(absl::StrCat(source_->name(), ":", line + 1, ": ", message));
      return;
    }
    if (type == config::Unsupported::descriptor()) return;
    const std::string field = Quoted(message, 1);
    if (ignore_) {
      source_->AddNote(absl::StrCat(source_->name(), ":", line + 1, ": unknown field \"", field, "\" of ", type->name(),
                                    " is ignored, as asked for"));
      return;
    }
    Add(line, column,
        absl::StrCat("unknown field \"", field, "\" in ", type->name(), Suggestion(field, FieldNames(*type))));
  }

  Status status() const {
    if (count_ == 0) return absl::OkStatus();
    if (count_ == 1) return InvalidInput(first_);
    return InvalidInput(first_, " (and ", count_ - 1, " more)");
  }

 private:
  void Add(int line, int column, const std::string& message) {
    if (count_++ == 0) {
      first_ = line < 0 ? absl::StrCat(source_->name(), ": ", message)
                        : absl::StrCat(source_->name(), ":", line + 1, ":", column + 1, ": ", message);
    }
  }

  const bool ignore_;
  ConfigSource* const source_;
  int count_ = 0;
  std::string first_;
};

}  // namespace

Status ParseText(const std::string& text, bool ignore_unknown_fields, ConfigSource* source,
                 config::EasyRecConfig* config) {
  Collector collector(ignore_unknown_fields, source);
  TextFormat::ParseInfoTree tree;
  TextFormat::Parser parser;
  parser.AllowUnknownField(true);
  parser.RecordErrorsTo(&collector);
  parser.WriteLocationsTo(&tree);
  const bool parsed = parser.ParseFromString(text, config);
  PEPNET_RETURN_IF_ERROR(collector.status());
  if (!parsed) return InvalidInput(source->name(), ": not a pipeline config in protobuf text format");
  source->Record(*config, tree);
  return absl::OkStatus();
}

std::vector<std::string> FieldNames(const Descriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  return names;
}

}  // namespace pepnet

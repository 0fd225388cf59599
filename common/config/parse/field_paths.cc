#include "common/config/parse/field_paths.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

namespace pepnet {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// The deepest field of the schema that a person writes lies less deep; messages contain each other
// without an end.
constexpr int kMaxDepth = 8;

// Whether a message of that type has these fields, each in the one before.
bool HasFields(const Descriptor* type, const std::vector<std::string>& fields) {
  for (const std::string& name : fields) {
    const FieldDescriptor* field = type == nullptr ? nullptr : type->FindFieldByName(name);
    if (field == nullptr) return false;
    type = field->message_type();  // null behind a value
  }
  return true;
}

// Whether another member of the field's oneof is set, which this one would take the place of.
bool Replaces(const Message& message, const FieldDescriptor& field) {
  const Reflection* const reflection = message.GetReflection();
  const auto* const choice = field.containing_oneof();
  return choice != nullptr && reflection->HasOneof(message, choice) &&
         !reflection->HasField(message, &field);
}

class Search {
 public:
  explicit Search(const std::vector<std::string>& fields) : fields_(fields) {}

  // `path` leads to `message` and ends in a dot, `shape` is the same without indices, `unset`
  // counts the messages on the way that are not there.
  void Visit(const Message& message, const std::string& path, const std::string& shape, int depth,
             int unset) {
    const Descriptor* const type = message.GetDescriptor();
    // An element of a list may have given the same.
    if (HasFields(type, fields_) && !Replaces(message, *type->FindFieldByName(fields_.front())) &&
        seen_.insert(shape).second) {
      found_.push_back({unset, depth, path + fields_.front()});
    }
    if (depth == kMaxDepth) return;
    const Reflection* const reflection = message.GetReflection();
    for (int i = 0; i < type->field_count(); ++i) {
      const FieldDescriptor* const field = type->field(i);
      if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || field->is_map()) continue;
      const std::string inside = absl::StrCat(shape, field->name(), ".");
      if (field->is_repeated()) {
        for (int element = 0; element < reflection->FieldSize(message, field); ++element) {
          Visit(reflection->GetRepeatedMessage(message, field, element),
                absl::StrCat(path, field->name(), "[", element, "]."), inside, depth + 1, unset);
        }
        continue;
      }
      if (Replaces(message, *field)) continue;
      const bool there = reflection->HasField(message, field);
      Visit(reflection->GetMessage(message, field), absl::StrCat(path, field->name(), "."), inside,
            depth + 1, unset + (there ? 0 : 1));
    }
  }

  std::vector<std::string> Best(int max_paths) {
    std::stable_sort(found_.begin(), found_.end(), [](const Found& left, const Found& right) {
      return std::pair(left.unset, left.depth) < std::pair(right.unset, right.depth);
    });
    std::vector<std::string> paths;
    for (const Found& found : found_) {
      if (static_cast<int>(paths.size()) < max_paths) paths.push_back(found.path);
    }
    return paths;
  }

 private:
  struct Found {
    int unset, depth;
    std::string path;
  };

  const std::vector<std::string>& fields_;
  std::set<std::string> seen_;
  std::vector<Found> found_;
};

}  // namespace

std::vector<std::string> PathsThatEndIn(const std::vector<std::string>& fields,
                                        const Message& message, int max_paths) {
  Search search(fields);
  search.Visit(message, "", "", 0, 0);
  return search.Best(max_paths);
}

}  // namespace pepnet

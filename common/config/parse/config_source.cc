#include "common/config/parse/config_source.h"

#include <algorithm>
#include <functional>

namespace pepnet {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Calls visit(field, index, sub-message) for every sub-message that is set; index is -1 for
// singular fields.
void ForEachChild(const Message& message,
                  const std::function<void(const FieldDescriptor&, int, const Message&)>& visit) {
  const auto* reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const auto* field : fields) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      visit(*field, -1, reflection->GetMessage(message, field));
      continue;
    }
    for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
      visit(*field, i, reflection->GetRepeatedMessage(message, field, i));
    }
  }
}

}  // namespace

// A message does not know its parent, so the whole config is searched for it. That is slow, but
// runs only for errors and notes.
bool ConfigSource::FindPath(const Message& from, const Message* target,
                            std::vector<const Message*>* messages, std::string* path) const {
  messages->push_back(&from);
  if (&from == target) return true;
  bool found = false;
  ForEachChild(from, [&](const FieldDescriptor& field, int index, const Message& child) {
    if (found) return;
    std::string longer = absl::StrCat(*path, path->empty() ? "" : ".", field.name());
    if (index >= 0) {
      // The position as the file has it: elements before this one may have been dropped since.
      const auto recorded = positions_.find(&child);
      absl::StrAppend(&longer, "[", recorded == positions_.end() ? index : recorded->second, "]");
    }
    if (FindPath(child, target, messages, &longer)) {
      *path = longer;
      found = true;
    }
  });
  if (!found) messages->pop_back();
  return found;
}

// Lines are kept by the address of their message: it is the only identity that conversions, which
// get single messages, can give back. Whoever moves or frees a message must say so (MarkEdited(),
// CopyLines()), or a later message at its address would have its lines.
void ConfigSource::Record(const Message& root,
                          const google::protobuf::TextFormat::ParseInfoTree& tree) {
  Record(root);
  RecordMessage(root, tree, 0);
}

void ConfigSource::Record(const Message& root) {
  root_ = &root;
  RecordPositions(root);
}

void ConfigSource::RecordPositions(const Message& message) {
  ForEachChild(message, [&](const FieldDescriptor&, int index, const Message& child) {
    if (index >= 0) positions_[&child] = index;
    RecordPositions(child);
  });
}

void ConfigSource::RecordMessage(const Message& message,
                                 const google::protobuf::TextFormat::ParseInfoTree& tree,
                                 int line) {
  if (line > 0) message_lines_[&message] = line;
  const auto* reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const auto* field : fields) {
    const int size = field->is_repeated() ? reflection->FieldSize(message, field) : 1;
    std::vector<int>& lines = field_lines_[{&message, field->name()}];
    for (int i = 0; i < size; ++i) {
      // The parser counts from 0.
      lines.push_back(tree.GetLocation(field, field->is_repeated() ? i : -1).line + 1);
    }
  }
  ForEachChild(message, [&](const FieldDescriptor& field, int index, const Message& child) {
    const auto* nested = tree.GetTreeForNested(&field, index);
    const int child_line = tree.GetLocation(&field, index).line + 1;
    if (nested != nullptr) RecordMessage(child, *nested, child_line);
  });
}

// The entries of one message are neighbours in the map, from the empty field name on.
void ConfigSource::MarkEdited(const Message& message, const std::string& origin) {
  for (auto it = field_lines_.lower_bound({&message, ""});
       it != field_lines_.end() && it->first.first == &message;) {
    it = field_lines_.erase(it);
  }
  message_lines_.erase(&message);
  positions_.erase(&message);
  origins_[{&message, ""}] = origin;
  ForEachChild(message, [&](const FieldDescriptor&, int, const Message& child) {
    MarkEdited(child, origin);
  });
}

void ConfigSource::MarkFieldEdited(const Message& message, const FieldDescriptor& field,
                                   const std::string& origin) {
  field_lines_.erase({&message, field.name()});
  origins_[{&message, field.name()}] = origin;
}

void ConfigSource::CopyLines(const Message& from, const Message& to) {
  // The copies are collected first: inserting while going through the map could meet them again.
  std::vector<std::pair<FieldKey, std::vector<int>>> copies;
  for (auto it = field_lines_.lower_bound({&from, ""});
       it != field_lines_.end() && it->first.first == &from; ++it) {
    copies.push_back({{&to, it->first.second}, it->second});
  }
  field_lines_.insert(copies.begin(), copies.end());
  if (auto it = message_lines_.find(&from); it != message_lines_.end()) {
    const int line = it->second;
    message_lines_[&to] = line;
  }
  std::vector<const Message*> from_children, to_children;
  ForEachChild(from, [&](const FieldDescriptor&, int, const Message& child) {
    from_children.push_back(&child);
  });
  ForEachChild(to, [&](const FieldDescriptor&, int, const Message& child) {
    to_children.push_back(&child);
  });
  // Equal content means equal children in equal order; the smaller count is only for safety.
  for (size_t i = 0; i < std::min(from_children.size(), to_children.size()); ++i) {
    CopyLines(*from_children[i], *to_children[i]);
  }
}

// The old name keeps its line, too: nothing asks for it once the field is cleared.
void ConfigSource::RenameField(const Message& message, const std::string& from,
                               const std::string& to) {
  if (auto it = field_lines_.find({&message, from}); it != field_lines_.end()) {
    const std::vector<int> lines = it->second;
    field_lines_[{&message, to}] = lines;
  }
}

ConfigSource::StandIn::StandIn(ConfigSource* source, const Message& copy, const Message& original)
    : source_(*source) {
  Add(copy, original);
}

ConfigSource::StandIn::~StandIn() {
  for (const Message* copy : copies_) source_.originals_.erase(copy);
}

// Walks copy and original side by side, by field names. A message that only the copy has is in no
// config, so messages about it have no path.
void ConfigSource::StandIn::Add(const Message& copy, const Message& original) {
  source_.originals_[&copy] = &original;
  copies_.push_back(&copy);
  ForEachChild(copy, [&](const FieldDescriptor& field, int index, const Message& child) {
    const FieldDescriptor* const same = original.GetDescriptor()->FindFieldByName(field.name());
    if (same == nullptr || same->message_type() != field.message_type()) return;
    const auto* reflection = original.GetReflection();
    if (index < 0) {
      Add(child, reflection->GetMessage(original, same));
    } else if (index < reflection->FieldSize(original, same)) {
      Add(child, reflection->GetRepeatedMessage(original, same, index));
    }
  });
}

const Message& ConfigSource::Original(const Message& message) const {
  const auto found = originals_.find(&message);
  return found == originals_.end() ? message : *found->second;
}

int ConfigSource::Line(const Message& of, const std::string& field, int index) const {
  const Message& message = Original(of);
  // A field that a flag has set has no line in the file, even where it had one before.
  if (origins_.count({&message, field}) != 0) return 0;
  if (auto it = field_lines_.find({&message, field});
      !field.empty() && it != field_lines_.end() && !it->second.empty()) {
    // An edit may have added elements; they have the line of the last one.
    return it->second[std::min<size_t>(index, it->second.size() - 1)];
  }
  if (auto it = message_lines_.find(&message); it != message_lines_.end()) return it->second;
  return 0;
}

std::string ConfigSource::Where(const Message& of, const std::string& field, int index) const {
  const Message& message = Original(of);
  std::vector<const Message*> messages;
  std::string path;
  if (root_ != nullptr) FindPath(*root_, &message, &messages, &path);
  if (!field.empty()) absl::StrAppend(&path, path.empty() ? "" : ".", field);
  std::string origin;
  if (auto it = origins_.find({&message, field}); it != origins_.end()) origin = it->second;
  if (auto it = origins_.find({&message, ""}); origin.empty() && it != origins_.end()) {
    origin = it->second;
  }
  if (!origin.empty()) return absl::StrCat(origin, ": ", path);
  // The closest message around the field that has a line.
  int line = Line(message, field, index);
  for (size_t i = messages.size(); line == 0 && i > 0; --i) line = Line(*messages[i - 1]);
  std::string place = name_;
  if (line > 0) absl::StrAppend(&place, ":", line);
  return path.empty() ? place : absl::StrCat(place, ": ", path);
}

void ConfigSource::Note(const Message& message, const std::string& field, const std::string& text) {
  AddNote(absl::StrCat(Where(message, field), ": ", text));
}

// Trial conversions (unused_features.cc) make the same notes as the real ones.
void ConfigSource::AddNote(std::string note) {
  if (std::find(notes_.begin(), notes_.end(), note) == notes_.end()) {
    notes_.push_back(std::move(note));
  }
}

}  // namespace pepnet

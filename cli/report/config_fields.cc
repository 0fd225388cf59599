#include "cli/report/config_fields.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/text.h"

namespace pepnet {
namespace {

// The fields by which authors of configs tell messages of one kind apart, in order of precedence.
constexpr const char* kIdentities[] = {"feature_name", "group_name", "tower_name", "embedding_name",
                                       "metric"};

// A field with its value, or a message with its fields.
struct Node {
  std::string name, value;
  bool message = false;
  std::vector<std::unique_ptr<Node>> fields;
};

// A text without its quotes; escapes in it stay, since it is only shown and compared.
std::string Unquoted(const std::string& value) {
  const bool quoted = value.size() > 1 && value.front() == '"' && value.back() == '"';
  return quoted ? value.substr(1, value.size() - 2) : value;
}

// The text that tells a message from others of its name; "": nothing does.
std::string IdentityOf(const Node& node, bool looks_inside = true) {
  for (const char* identity : kIdentities) {
    for (const auto& field : node.fields) {
      if (field->name == identity && !field->message) return Unquoted(field->value);
    }
  }
  // feature_configs { id_feature { feature_name: "uid" } }
  if (looks_inside && node.fields.size() == 1 && node.fields[0]->message) {
    return IdentityOf(*node.fields[0], false);
  }
  return "";
}

// `outer`: what tells `node` itself from others of its name.
void Flatten(const Node& node, const std::string& prefix, const std::string& outer,
             std::vector<ConfigField>* fields) {
  std::map<std::string, int> count, next;
  std::map<std::string, size_t> place;  // of a field with several values
  std::set<std::string> used;
  for (const auto& field : node.fields) ++count[field->name];
  for (const auto& field : node.fields) {
    const std::string path = prefix + field->name;
    if (!field->message) {
      // The values of a repeated field are collected at the place of the first.
      const auto [found, is_new] = place.emplace(field->name, fields->size());
      if (is_new) fields->push_back({path, {}});
      (*fields)[found->second].values.push_back(field->value);
      continue;
    }
    const int number = next[field->name]++;
    // A message of a repeated field is called by what its author calls it, such as
    // feature_configs[uid], so that two configs are compared feature by feature whatever their
    // order. Numbers are the last resort.
    std::string label = IdentityOf(*field);
    if (label == outer && count[field->name] == 1) label.clear();  // it has been said
    if (label.empty() && count[field->name] > 1) label = absl::StrCat(number);
    const std::string identity = label;
    if (!label.empty()) label = absl::StrCat("[", label, "]");
    // Two messages may still have one label, such as two groups that are both called "all".
    if (!used.insert(field->name + label).second) absl::StrAppend(&label, "#", number);
    // An empty message says something by being there ("ema {}").
    if (field->fields.empty()) fields->push_back({path + label, {"{}"}});
    Flatten(*field, absl::StrCat(path, label, "."), identity, fields);
  }
}

// A field as the runs have it; no values: the run does not have it.
struct FieldOfRuns {
  std::string path;
  std::vector<std::vector<std::string>> values;
};

// "a.b.c" stands in "a" and "a.b". A label may hold points.
std::vector<std::string> MessagesOf(const std::string& path) {
  std::vector<std::string> messages;
  int brackets = 0;
  for (size_t i = 0; i < path.size(); ++i) {
    brackets += path[i] == '[' ? 1 : path[i] == ']' ? -1 : 0;
    if (path[i] == '.' && brackets == 0) messages.push_back(path.substr(0, i));
  }
  return messages;
}

// The outermost message around a field that some run lacks as a whole; "": all runs have all of
// them.
std::string MissingMessage(const FieldOfRuns& field,
                           const std::vector<std::set<std::string>>& messages) {
  for (const std::string& message : MessagesOf(field.path)) {
    for (const std::set<std::string>& of_run : messages) {
      if (of_run.count(message) == 0) return message;
    }
  }
  return "";
}

// The values of a repeated field that are not common to all runs, behind the number of those that
// are.
std::vector<std::string> WithoutCommon(const std::vector<std::vector<std::string>>& values) {
  std::set<std::string> common(values[0].begin(), values[0].end());
  for (const std::vector<std::string>& of_run : values) {
    const std::set<std::string> here(of_run.begin(), of_run.end());
    std::erase_if(common, [&here](const std::string& value) { return here.count(value) == 0; });
  }
  std::vector<std::string> texts;
  bool any = false;
  for (const std::vector<std::string>& of_run : values) {
    std::vector<std::string> own;
    for (const std::string& value : of_run) {
      if (common.count(value) == 0) own.push_back(value);
    }
    any |= !own.empty();
    if (!common.empty()) own.insert(own.begin(), absl::StrCat(common.size(), " in common"));
    texts.push_back(absl::StrJoin(own, ", "));
  }
  if (any) return texts;
  // The same values in another order, or another number of times.
  for (size_t i = 0; i < values.size(); ++i) texts[i] = absl::StrJoin(values[i], ", ");
  return texts;
}

}  // namespace

StatusOr<std::vector<ConfigField>> FieldsOfConfig(const std::string& text) {
  // The text is that of protobuf's printer: one field or bracket a line, names without quotes. This
  // reader needs no schema, so configs of other versions can be compared, too.
  Node root;
  std::vector<Node*> open = {&root};
  int64_t number = 0;
  for (const absl::string_view raw : absl::StrSplit(text, '\n')) {
    ++number;
    const absl::string_view line = absl::StripAsciiWhitespace(raw);
    if (line.empty() || line[0] == '#') continue;
    // The first colon ends the name; later ones belong to the value.
    const size_t colon = line.find(": ");
    if (line == "}" && open.size() > 1) {
      open.pop_back();
    } else if (absl::EndsWith(line, " {") && line.find_first_of(" :\"") == line.size() - 2) {
      if (open.size() > kMaxJsonDepth) {
        return InvalidInput("line ", number, " stands in more than ", kMaxJsonDepth, " messages");
      }
      open.back()->fields.push_back(std::make_unique<Node>());
      Node* const node = open.back()->fields.back().get();
      node->name = std::string(line.substr(0, line.size() - 2));
      node->message = true;
      open.push_back(node);
    } else if (colon != absl::string_view::npos) {
      open.back()->fields.push_back(std::make_unique<Node>());
      open.back()->fields.back()->name = std::string(line.substr(0, colon));
      open.back()->fields.back()->value = std::string(line.substr(colon + 2));
    } else {
      return InvalidInput("line ", number, " is \"", Printable(std::string(line), 100),
                          "\", expected a field and its value, or a bracket");
    }
  }
  if (open.size() > 1) {
    return InvalidInput("the message ", Printable(open.back()->name, 100), " is not closed");
  }
  std::vector<ConfigField> fields;
  Flatten(root, "", "", &fields);
  return fields;
}

std::vector<ConfigDifference> DifferencesOf(const std::vector<RunRecord>& runs) {
  std::vector<FieldOfRuns> all;
  std::map<std::string, size_t> place;
  std::vector<std::set<std::string>> messages(runs.size());
  for (size_t run = 0; run < runs.size(); ++run) {
    for (const ConfigField& field : runs[run].config_fields) {
      const auto [found, is_new] = place.emplace(field.path, all.size());
      if (is_new) all.push_back({field.path, std::vector<std::vector<std::string>>(runs.size())});
      all[found->second].values[run] = field.values;
      for (const std::string& message : MessagesOf(field.path)) messages[run].insert(message);
    }
  }
  std::vector<ConfigDifference> differences;
  // A feature that only one run has would be a dozen differences; it is one line with the number of
  // its fields.
  std::map<std::string, size_t> whole;  // message that a run lacks -> its line
  for (const FieldOfRuns& field : all) {
    const bool differs =
        std::set<std::vector<std::string>>(field.values.begin(), field.values.end()).size() > 1;
    if (!differs || field.path == "model_dir") continue;
    const std::string missing = MissingMessage(field, messages);
    if (missing.empty()) {
      differences.push_back({field.path, WithoutCommon(field.values)});
      continue;
    }
    const auto [found, is_new] = whole.emplace(missing, differences.size());
    if (!is_new) continue;
    differences.push_back({missing, {}});
    for (size_t run = 0; run < runs.size(); ++run) {
      const auto count = std::count_if(
          runs[run].config_fields.begin(), runs[run].config_fields.end(),
          [&missing](const ConfigField& one) { return absl::StartsWith(one.path, missing + "."); });
      differences.back().values.push_back(
          count == 0 ? "" : absl::StrCat(count, count == 1 ? " field" : " fields"));
    }
  }
  return differences;
}

}  // namespace pepnet

#include "cli/report/json_lines.h"

#include <algorithm>

#include "common/checkpoint/strict_json.h"
#include "common/file/file.h"

namespace pepnet {
namespace {

// The parser is strict: a name that stands twice in an object is damage
// (common/checkpoint/strict_json.h).
StatusOr<nlohmann::json> ParseObject(const std::string& line) {
  PEPNET_ASSIGN_OR_RETURN(nlohmann::json json, ParseStrictJson(line));
  if (!json.is_object()) {
    return absl::DataLossError(absl::StrCat("a JSON ", json.type_name(), ", expected an object"));
  }
  return json;
}

}  // namespace

Status ReadJsonLines(const std::string& path,
                     const std::function<Status(const nlohmann::json&)>& take) {
  if (!PathExists(path)) return absl::OkStatus();
  PEPNET_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  int64_t number = 0;
  for (size_t begin = 0, end = 0; begin < text.size(); begin = end + 1) {
    end = std::min(text.find('\n', begin), text.size());
    ++number;
    if (end == begin) continue;
    const StatusOr<nlohmann::json> json = ParseObject(text.substr(begin, end - begin));
    // The last line alone can lack its line feed. A writer that was killed leaves it so, and
    // resuming cuts it off; it is damage only where a line feed follows.
    const bool is_unfinished = end == text.size();
    if (!json.ok() && is_unfinished) break;
    const Status taken = json.ok() ? take(*json) : json.status();
    if (taken.ok()) continue;
    return absl::DataLossError(
        absl::StrCat(path, " is damaged: line ", number, " is ",
                     json.ok() ? absl::StrCat("not what a training writes: ", taken.message())
                               : absl::StrCat("no JSON object: ", taken.message()),
                     "; restore the file, or take the line out if its figures can be missed"));
  }
  return absl::OkStatus();
}

}  // namespace pepnet

#include "worker/data/history/history_json.h"

#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/base/text.h"

namespace pepnet {
namespace {

constexpr int64_t kVersion = 1;
constexpr int64_t kMost = int64_t{1} << 62;  // of a number; sums of two still fit
constexpr size_t kDigestDigits = 32;

std::string EscapePath(const std::string& path) {
  // JSON is UTF-8, and a path is any bytes. A "%" is escaped in every path, or an escaped one could
  // not be told from one that looks so.
  const bool utf8 = IsUtf8(path);
  if (utf8 && path.find('%') == std::string::npos) return path;
  std::string text;
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '%' || (!utf8 && byte >= 0x80)) {
      absl::StrAppendFormat(&text, "%%%02x", byte);
    } else {
      text += c;
    }
  }
  return text;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

StatusOr<std::string> UnescapePath(const std::string& text) {
  std::string path;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      path += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? HexDigit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? HexDigit(text[i + 2]) : -1;
    if (high < 0 || low < 0) {
      return absl::DataLossError("\"path\" has a % without two hexadecimal digits behind it");
    }
    path += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return path;
}

StatusOr<FileIdentity> FileFromJson(const nlohmann::json& json) {
  FileIdentity file;
  PEPNET_ASSIGN_OR_RETURN(const std::string path, JsonString(json, "path"));
  PEPNET_ASSIGN_OR_RETURN(file.path, UnescapePath(path));
  PEPNET_ASSIGN_OR_RETURN(file.bytes, JsonInteger(json, "bytes", 0, kMost));
  PEPNET_ASSIGN_OR_RETURN(file.digest, JsonString(json, "digest"));
  if (file.digest.size() != kDigestDigits ||
      file.digest.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return absl::DataLossError("\"digest\" is not 32 hexadecimal digits");
  }
  const auto rows = json.find("rows");
  // A count that nobody knows is written as null; a missing member is damage.
  if (rows != json.end() && rows->is_null()) return file;
  PEPNET_ASSIGN_OR_RETURN(file.rows, JsonInteger(json, "rows", 0, kMost));
  return file;
}

}  // namespace

nlohmann::ordered_json FilesToJson(const std::vector<FileIdentity>& files) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const FileIdentity& file : files) {
    nlohmann::ordered_json entry = {{"path", EscapePath(file.path)},
                                    {"bytes", file.bytes},
                                    {"digest", file.digest},
                                    {"rows", nullptr}};
    if (file.rows >= 0) entry["rows"] = file.rows;
    list.push_back(std::move(entry));
  }
  return list;
}

nlohmann::ordered_json HistoryToJson(const DataHistory& history) {
  return {{"version", kVersion},
          {"files", FilesToJson(history.files)},
          {"window_rows", history.window_rows},
          {"first_epoch", history.first_epoch},
          {"restarted_at_step", history.restarted_at_step},
          {"trained", FilesToJson(history.trained)}};
}

StatusOr<std::vector<FileIdentity>> FilesFromJson(const nlohmann::json& json, const char* name) {
  const auto list = json.find(name);
  if (list == json.end() || !list->is_array()) {
    return absl::DataLossError(absl::StrCat("\"", name, "\" is not a list of files"));
  }
  std::vector<FileIdentity> files;
  for (const nlohmann::json& entry : *list) {
    PEPNET_ASSIGN_OR_RETURN(FileIdentity file, FileFromJson(entry));
    files.push_back(std::move(file));
  }
  return files;
}

StatusOr<DataHistory> HistoryFromJson(const nlohmann::json& json) {
  PEPNET_ASSIGN_OR_RETURN(const int64_t version, JsonInteger(json, "version", 0, kMost));
  // Another version is refused rather than guessed at: a history that is misread trains rows twice
  // or never.
  if (version != kVersion) {
    return absl::DataLossError(
        absl::StrCat("\"version\" is ", version, "; this program reads version ", kVersion));
  }
  DataHistory history;
  history.known = true;
  PEPNET_ASSIGN_OR_RETURN(history.files, FilesFromJson(json, "files"));
  PEPNET_ASSIGN_OR_RETURN(history.window_rows, JsonInteger(json, "window_rows", 0, kMost));
  PEPNET_ASSIGN_OR_RETURN(history.first_epoch, JsonInteger(json, "first_epoch", 0, kMost));
  PEPNET_ASSIGN_OR_RETURN(history.restarted_at_step,
                          JsonInteger(json, "restarted_at_step", -1, kMost));
  PEPNET_ASSIGN_OR_RETURN(history.trained, FilesFromJson(json, "trained"));
  return history;
}

}  // namespace pepnet

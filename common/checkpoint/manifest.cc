#include "common/checkpoint/manifest.h"

#include <climits>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "common/base/text.h"
#include "common/checkpoint/strict_json.h"
#include "common/file/crc32c.h"
#include "common/file/file.h"

namespace pepnet {
namespace {

constexpr int kFormatVersion = 1;
constexpr int64_t kMaxStep = int64_t{1} << 62;  // the servers' limit: sums of two still fit

std::string ChecksumTail(uint32_t crc32c) {
  // The length is the same for every checksum, so that a reader finds the tail from the end of the
  // file.
  return absl::StrCat(",\n  \"checksum\": \"", Crc32cToHex(crc32c), "\"\n}\n");
}

// A path that stays within the checkpoint directory, whoever wrote the manifest.
bool IsInnerPath(const std::string& file) {
  // A manifest may come from anywhere; a path with ".." would let it read, or on removal lose,
  // other files.
  const std::filesystem::path path(file);
  if (file.empty() || path.is_absolute() || file.find('\0') != std::string::npos) return false;
  for (const auto& component : path) {
    if (component.empty() || component == "." || component == "..") return false;
  }
  return file.find("//") == std::string::npos;  // another name of the same file
}

Status CheckFileNames(const Manifest& manifest) {
  std::set<std::string> names = {kManifestName};
  const auto check = [&names](const std::string& file) -> Status {
    if (!IsInnerPath(file)) {
      return absl::DataLossError(
          absl::StrCat("file '", Printable(file), "' lies outside the checkpoint"));
    }
    // One file under two entries would be checked against two checksums, and loaded twice.
    if (!names.insert(file).second) {
      return absl::DataLossError(absl::StrCat("file ", file, " is named twice"));
    }
    return absl::OkStatus();
  };
  for (const FileEntry& entry : manifest.files) PEPNET_RETURN_IF_ERROR(check(entry.file));
  std::map<std::string, std::pair<int, int>> widths;
  for (const PartEntry& part : manifest.candidates) {
    PEPNET_RETURN_IF_ERROR(check(part.file));
    if (part.dim != 0 || part.state_dim != 0) {
      return absl::DataLossError(absl::StrCat("candidates of table ", part.table, " have dim ",
                                              part.dim, " and state_dim ", part.state_dim,
                                              ", expected 0"));
    }
  }
  for (const FilterEntry& filter : manifest.filters) PEPNET_RETURN_IF_ERROR(check(filter.file));
  for (const PartEntry& part : manifest.parts) {
    PEPNET_RETURN_IF_ERROR(check(part.file));
    if (part.dim == 0) {
      return absl::DataLossError(
          absl::StrCat("rows of table ", part.table, " have dim 0, expected at least 1"));
    }
    // Each server reports its own part; rows of two widths in one table would be taken apart
    // wrongly.
    const std::pair width(part.dim, part.state_dim);
    if (widths.emplace(part.table, width).first->second != width) {
      return absl::DataLossError(
          absl::StrCat("the parts of table ", part.table, " differ in dim or state_dim"));
    }
  }
  return absl::OkStatus();
}

StatusOr<std::vector<FileEntry>> ParseFiles(const nlohmann::json& root) {
  const auto list = root.find("files");
  if (list == root.end() || !list->is_array()) {
    return absl::DataLossError("\"files\" is missing or not a list");
  }
  std::vector<FileEntry> files;
  for (const auto& item : *list) {
    FileEntry entry;
    PEPNET_ASSIGN_OR_RETURN(entry.file, JsonString(item, "file"));
    PEPNET_ASSIGN_OR_RETURN(entry.bytes, JsonInteger(item, "bytes", 0, INT64_MAX));
    PEPNET_ASSIGN_OR_RETURN(entry.crc32c, JsonCrc32c(item, "crc32c"));
    files.push_back(std::move(entry));
  }
  return files;
}

StatusOr<Manifest> ParseMembers(const nlohmann::json& root) {
  Manifest manifest;
  // The version comes first: in another one, the other members may mean something else.
  PEPNET_ASSIGN_OR_RETURN(const int64_t version, JsonInteger(root, "format_version", 1, INT_MAX));
  if (version != kFormatVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "format_version is ", version, "; this program reads version ", kFormatVersion));
  }
  manifest.format_version = static_cast<int>(version);
  PEPNET_ASSIGN_OR_RETURN(manifest.step, JsonInteger(root, "step", 0, kMaxStep));
  const auto world = root.find("world");
  if (world == root.end()) return absl::DataLossError("\"world\" is missing");
  PEPNET_ASSIGN_OR_RETURN(const int64_t servers, JsonInteger(*world, "servers", 0, INT_MAX));
  PEPNET_ASSIGN_OR_RETURN(const int64_t workers, JsonInteger(*world, "workers", 0, INT_MAX));
  manifest.server_count = static_cast<int>(servers);
  manifest.worker_count = static_cast<int>(workers);
  PEPNET_ASSIGN_OR_RETURN(manifest.batch_size, JsonInteger(*world, "batch_size", 0, INT64_MAX));
  PEPNET_ASSIGN_OR_RETURN(manifest.seed, JsonUnsigned(root, "seed"));
  PEPNET_ASSIGN_OR_RETURN(manifest.shape, JsonString(root, "shape"));
  PEPNET_ASSIGN_OR_RETURN(manifest.string_hash, JsonString(root, "string_hash"));
  PEPNET_ASSIGN_OR_RETURN(manifest.cpu, JsonString(root, "cpu"));
  PEPNET_ASSIGN_OR_RETURN(manifest.files, ParseFiles(root));
  const auto parts = root.find("parts");
  if (parts == root.end()) return absl::DataLossError("\"parts\" is missing");
  // Servers report their parts in this form as well (wire::SaveReply), so that there is one parser.
  PEPNET_ASSIGN_OR_RETURN(manifest.parts, PartEntriesFromJson(parts->dump()));
  if (const auto candidates = root.find("candidates"); candidates != root.end()) {
    PEPNET_ASSIGN_OR_RETURN(manifest.candidates, PartEntriesFromJson(candidates->dump()));
  }
  if (const auto filters = root.find("filters"); filters != root.end()) {
    PEPNET_ASSIGN_OR_RETURN(manifest.filters, FilterEntriesFromJson(filters->dump()));
  }
  if (const auto times = root.find("event_times"); times != root.end()) {
    PEPNET_ASSIGN_OR_RETURN(manifest.event_times, EventPointsFromJson(times->dump()));
    if (!manifest.event_times.empty() && manifest.event_times.back().step > manifest.step) {
      return absl::DataLossError(absl::StrCat("\"event_times\" ends with step ",
                                              manifest.event_times.back().step,
                                              ", expected at most ", manifest.step));
    }
  }
  PEPNET_RETURN_IF_ERROR(CheckFileNames(manifest));
  return manifest;
}

}  // namespace

StatusOr<std::string> ManifestToText(const Manifest& manifest) {
  PEPNET_RETURN_IF_ERROR(CheckFileNames(manifest));
  std::string text = "{";
  // One member per line.
  // The text is put together here and not by a JSON library: the checksum is of its bytes.
  const auto add = [&text](const char* name, const nlohmann::ordered_json& value) -> Status {
    PEPNET_ASSIGN_OR_RETURN(const std::string line, DumpJson(value));
    absl::StrAppend(&text, text.size() > 1 ? "," : "", "\n  \"", name, "\": ", line);
    return absl::OkStatus();
  };
  nlohmann::ordered_json world;
  world["servers"] = manifest.server_count;
  world["workers"] = manifest.worker_count;
  world["batch_size"] = manifest.batch_size;
  nlohmann::ordered_json files = nlohmann::ordered_json::array();
  for (const FileEntry& entry : manifest.files) {
    nlohmann::ordered_json item;
    item["file"] = entry.file;
    item["bytes"] = entry.bytes;
    item["crc32c"] = Crc32cToHex(entry.crc32c);
    files.push_back(std::move(item));
  }
  PEPNET_RETURN_IF_ERROR(add("format_version", kFormatVersion));
  PEPNET_RETURN_IF_ERROR(add("step", manifest.step));
  PEPNET_RETURN_IF_ERROR(add("world", world));
  PEPNET_RETURN_IF_ERROR(add("seed", manifest.seed));
  PEPNET_RETURN_IF_ERROR(add("shape", manifest.shape));
  PEPNET_RETURN_IF_ERROR(add("string_hash", manifest.string_hash));
  PEPNET_RETURN_IF_ERROR(add("cpu", manifest.cpu));
  PEPNET_RETURN_IF_ERROR(add("files", files));
  absl::StrAppend(&text, ",\n  \"parts\": ", PartEntriesToJson(manifest.parts));
  if (!manifest.candidates.empty()) {
    absl::StrAppend(&text, ",\n  \"candidates\": ", PartEntriesToJson(manifest.candidates));
  }
  if (!manifest.filters.empty()) {
    absl::StrAppend(&text, ",\n  \"filters\": ", FilterEntriesToJson(manifest.filters));
  }
  if (!manifest.event_times.empty()) {
    absl::StrAppend(&text, ",\n  \"event_times\": ", EventPointsToJson(manifest.event_times));
  }
  return text + ChecksumTail(ExtendCrc32c(0, text.data(), text.size()));
}

StatusOr<Manifest> ManifestFromText(const std::string& text) {
  // The tail has a fixed form, so that every byte of the file is either summed or known.
  const size_t tail_bytes = ChecksumTail(0).size();
  if (text.size() < tail_bytes) return absl::DataLossError("it is cut short");
  const size_t body_bytes = text.size() - tail_bytes;
  const std::string expected = ChecksumTail(ExtendCrc32c(0, text.data(), body_bytes));
  if (text.compare(body_bytes, tail_bytes, expected) != 0) {
    return absl::DataLossError("its checksum does not fit its contents");
  }
  PEPNET_ASSIGN_OR_RETURN(const nlohmann::json root, ParseStrictJson(text));
  if (!root.is_object()) return absl::DataLossError("it is not a JSON object");
  return ParseMembers(root);
}

StatusOr<Manifest> ReadManifest(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/", kManifestName);
  StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) {
    // A directory without a manifest is a checkpoint that was damaged, not one that is missing.
    if (text.status().code() == absl::StatusCode::kNotFound && IsDirectory(directory)) {
      return absl::DataLossError(
          absl::StrCat(directory, " is damaged or incomplete: ", kManifestName, " is missing"));
    }
    return text.status();
  }
  StatusOr<Manifest> manifest = ManifestFromText(*text);
  if (!manifest.ok()) return Annotate(manifest.status(), path);
  return manifest;
}

}  // namespace pepnet

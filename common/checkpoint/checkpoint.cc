#include "common/checkpoint/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"

#include "common/base/log_functions.h"
#include "common/base/mutant.h"
#include "common/base/partition.h"
#include "common/checkpoint/manifest.h"
#include "common/checkpoint/strict_json.h"
#include "common/file/current_directory.h"
#include "common/file/file.h"

namespace pepnet {
namespace {

constexpr const char* kPrefix = "model.ckpt-";
constexpr const char* kTemporaryPrefix = ".tmp.model.ckpt-";

// "model.ckpt-17" -> 17; nothing for any other name, "model.ckpt-017" included.
std::optional<int64_t> StepOfName(const std::string& name) {
  int64_t step = 0;
  const std::string prefix = kPrefix;
  if (name.compare(0, prefix.size(), prefix) != 0 ||
      !absl::SimpleAtoi(name.substr(prefix.size()), &step) || step < 0 ||
      name != CheckpointName(step)) {
    return std::nullopt;
  }
  return step;
}

// A temporary or removed checkpoint: ".tmp.model.ckpt-17" of this or an earlier version, with
// whatever ends it.
bool IsTemporaryCheckpoint(const std::string& name) {
  // The forms, `rest` being what follows the first ".tmp.":
  //
  //   .tmp.model.ckpt-17                        of an earlier version, half written
  //   .tmp.model.ckpt-17.removed                of an earlier version, half removed
  //   .tmp.model.ckpt-17.tmp.0123456789abcdef   of this version, either of the two
  static constexpr std::string_view kStart = ".tmp.";
  if (name.rfind(kTemporaryPrefix, 0) != 0) return false;
  const std::string rest = name.substr(kStart.size());
  const std::string base = rest.substr(0, rest.find('.', std::string_view(kPrefix).size()));
  if (!StepOfName(base).has_value()) return false;
  return rest == base || rest == base + ".removed" || IsTemporaryNameOf(rest, base);
}

// The first entry of a whole or half checkpoint that no checkpoint has, as a path within it; "" if
// there is none.
std::string ForeignEntry(const std::string& directory) {
  namespace fs = std::filesystem;
  std::error_code error;
  // Links are never followed: what they lead to is not of this program's making, and would be
  // removed.
  if (!fs::is_directory(fs::symlink_status(directory, error))) return ".";
  for (fs::recursive_directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    std::string inner = entry->path().lexically_relative(directory).string();
    const fs::file_type type = entry->symlink_status(error).type();
    const bool in_tables = inner.rfind("tables/", 0) == 0;
    const std::string ending = entry->path().extension().string();
    const bool file = inner == kManifestName || inner == "dense.safetensors" ||
                      inner == "trainer.json" ||
                      (in_tables && (ending == ".arrow" || ending == ".safetensors"));
    if (type == fs::file_type::directory ? inner == "tables" || in_tables
                                         : file && type == fs::file_type::regular) {
      continue;
    }
    return inner;
  }
  return error ? "." : "";
}

// Removes what this program wrote; what holds anything else is kept and named.
Status RemoveOwn(const std::string& directory) {
  const std::string foreign = ForeignEntry(directory);
  if (foreign.empty()) return RemoveTree(directory);
  LogWarning(absl::StrCat(directory, " is kept: it holds ",
                          foreign == "." ? "what is no checkpoint" : foreign,
                          ", which pepnet did not write"));
  return absl::OkStatus();
}

bool IsComplete(const std::string& directory) {
  return PathExists(absl::StrCat(directory, "/", kManifestName));
}

// Every file the manifest names.
std::vector<FileEntry> AllFiles(const Manifest& manifest) {
  std::vector<FileEntry> files = manifest.files;
  for (const auto* parts : {&manifest.parts, &manifest.candidates}) {
    for (const PartEntry& part : *parts) files.push_back({part.file, part.bytes, part.crc32c});
  }
  for (const FilterEntry& filter : manifest.filters) {
    files.push_back({filter.file, filter.bytes, filter.crc32c});
  }
  return files;
}

Status CheckSizes(const std::string& directory, const Manifest& manifest) {
  for (const FileEntry& entry : AllFiles(manifest)) {
    const std::string path = absl::StrCat(directory, "/", entry.file);
    std::error_code error;
    // Sizes cost no reading, so they are compared even where checksums are not (--no_verify).
    const uintmax_t size = std::filesystem::file_size(path, error);
    if (error == std::errc::no_such_file_or_directory) {
      return absl::DataLossError(absl::StrCat(path, ": the file is missing"));
    }
    if (error) return absl::DataLossError(absl::StrCat(path, ": ", error.message()));
    if (size != static_cast<uintmax_t>(entry.bytes)) {
      return absl::DataLossError(
          absl::StrCat(path, ": expected ", entry.bytes, " bytes, found ", size));
    }
  }
  return absl::OkStatus();
}

// Reads a part row by row: order, buckets, digests.
Status VerifyRows(const std::string& directory, const PartEntry& part) {
  const std::string path = absl::StrCat(directory, "/", part.file);
  const uint64_t table_hash = HashName(part.table);
  // The digests of the manifest were made of the rows in memory. Made again of the file, they show
  // damage that happened before the checksum of the file was taken, and rows that stand in another
  // bucket.
  PEPNET_ASSIGN_OR_RETURN(const auto reader, TablePartReader::Open(directory, part));
  std::vector<BucketEntry> found;
  int64_t last_id = 0;
  const auto visit = [&](const RowColumns& rows) -> Status {
    const auto dim = static_cast<size_t>(part.dim), state_dim = static_cast<size_t>(part.state_dim);
    for (size_t i = 0; i < rows.ids.size(); ++i) {
      const int64_t id = rows.ids[i];
      const int bucket = BucketOf(RowHash(table_hash, id));
      if (rows.frequency[i] < 0 || rows.last_step[i] < 0) {
        return absl::DataLossError(absl::StrCat(path, ": id ", id, " has frequency ",
                                                rows.frequency[i], " and last step ",
                                                rows.last_step[i], ", which no training writes"));
      }
      // The order is strict, which also says that no id occurs twice.
      if (!found.empty() && std::pair(found.back().bucket, last_id) >= std::pair(bucket, id)) {
        return absl::DataLossError(
            absl::StrCat(path, ": id ", id, " stands out of order behind id ", last_id));
      }
      last_id = id;
      if (found.empty() || found.back().bucket != bucket) {
        found.push_back({.bucket = bucket, .rows = 0, .digest = {}});
      }
      found.back().rows += 1;
      found.back().digest.Add(DigestOfRow(id, rows.values.subspan(i * dim, dim),
                                          rows.states.subspan(i * state_dim, state_dim),
                                          rows.frequency[i], rows.last_step[i]));
    }
    return absl::OkStatus();
  };
  PEPNET_RETURN_IF_ERROR(reader->Read(0, part.rows, visit));
  if (found.size() != part.buckets.size()) {
    return absl::DataLossError(absl::StrCat(path, ": expected ", part.buckets.size(),
                                            " buckets with rows, found ", found.size()));
  }
  for (size_t i = 0; i < found.size(); ++i) {
    const BucketEntry &expected = part.buckets[i], &actual = found[i];
    if (expected.bucket != actual.bucket || expected.rows != actual.rows ||
        expected.digest != actual.digest) {
      return absl::DataLossError(absl::StrCat(
          path, ": expected bucket ", expected.bucket, " with ", expected.rows, " rows and digest ",
          expected.digest.ToString(), ", found bucket ", actual.bucket, " with ", actual.rows,
          " rows and digest ", actual.digest.ToString()));
    }
  }
  return absl::OkStatus();
}

// Refuses files where a checkpoint has its own that are none of the manifest's: they would be used
// unverified.
Status CheckAllNamed(const std::string& directory, const Manifest& manifest) {
  namespace fs = std::filesystem;
  std::set<std::string> named = {kManifestName};
  for (const FileEntry& entry : AllFiles(manifest)) named.insert(entry.file);
  std::error_code error;
  for (fs::recursive_directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    std::string inner = entry->path().lexically_relative(directory).string();
    const std::string ending = entry->path().extension().string();
    const bool state = inner == "trainer.json" || ending == ".safetensors" || ending == ".arrow";
    if (!state || entry->is_directory(error) || named.count(inner) > 0) continue;
    return absl::DataLossError(
        absl::StrCat(entry->path().string(), ": the manifest does not name this file"));
  }
  if (error) return absl::DataLossError(absl::StrCat(directory, ": ", error.message()));
  return absl::OkStatus();
}

// A server owns its buckets, so no two parts of a table share one.
Status CheckPartsApart(const std::string& directory, const std::vector<PartEntry>& parts) {
  std::map<std::pair<std::string, int>, const PartEntry*> owners;
  for (const PartEntry& part : parts) {
    for (const BucketEntry& bucket : part.buckets) {
      const auto [owner, fresh] = owners.emplace(std::pair(part.table, bucket.bucket), &part);
      if (fresh) continue;
      return absl::DataLossError(absl::StrCat(directory, ": ", owner->second->file, " and ",
                                              part.file, " both hold rows of bucket ",
                                              bucket.bucket, " of table ", part.table));
    }
  }
  return absl::OkStatus();
}

Status WriteAndSync(const std::string& path, const std::string& contents, FileEntry* entry) {
  PEPNET_ASSIGN_OR_RETURN(const auto file, FileWriter::Create(path));
  PEPNET_RETURN_IF_ERROR(file->Append(contents.data(), contents.size()));
  PEPNET_RETURN_IF_ERROR(file->Finish());
  entry->bytes = file->bytes();
  entry->crc32c = file->crc32c();
  return absl::OkStatus();
}

// fsync of every directory that holds a file of the manifest, deepest first.
Status SyncDirectories(const std::string& directory, const Manifest& manifest) {
  // The fsync of a file makes its bytes durable, not its name, which its directory holds.
  std::set<std::string> inner;
  for (const FileEntry& entry : AllFiles(manifest)) {
    for (auto path = std::filesystem::path(entry.file).parent_path(); !path.empty();
         path = path.parent_path()) {
      inner.insert(path.string());
    }
  }
  // "tables/x" sorts behind "tables"
  for (auto path = inner.rbegin(); path != inner.rend(); ++path) {
    PEPNET_RETURN_IF_ERROR(SyncDirectory(absl::StrCat(directory, "/", *path)));
  }
  return SyncDirectory(directory);
}

}  // namespace

std::string CheckpointName(int64_t step) { return absl::StrCat(kPrefix, step); }

StatusOr<CheckpointWriter> CheckpointWriter::Begin(const std::string& model_dir, int64_t step) {
  CheckpointWriter writer;
  writer.model_dir_ = model_dir;
  writer.final_ = absl::StrCat(model_dir, "/", CheckpointName(step));
  writer.temporary_ = TemporaryName(absl::StrCat(model_dir, "/", kTemporaryPrefix, step));
  if (IsComplete(writer.final_)) {
    return absl::AlreadyExistsError(
        absl::StrCat(writer.final_, " exists; a checkpoint is never overwritten"));
  }
  if (PathExists(writer.final_)) {
    // Not of our making (we rename only complete directories), so it is kept, out of the way.
    std::string aside = absl::StrCat(writer.final_, ".damaged");
    for (int number = 2; NameIsTaken(aside); ++number) {
      aside = absl::StrCat(writer.final_, ".damaged-", number);
    }
    LogWarning(
        absl::StrCat(writer.final_, " has no ", kManifestName, "; it is renamed to ", aside));
    PEPNET_RETURN_IF_ERROR(RenameAndSync(writer.final_, aside));
  }
  // Not synced: a directory that a crash takes away again held nothing that counts, and the caller
  // trains meanwhile.
  PEPNET_RETURN_IF_ERROR(MakeDirectories(writer.temporary_));
  return writer;
}

StatusOr<FileEntry> CheckpointWriter::WriteFile(const std::string& name,
                                                const std::string& contents) {
  FileEntry entry{.file = name, .bytes = 0, .crc32c = 0};
  PEPNET_RETURN_IF_ERROR(WriteAndSync(absl::StrCat(temporary_, "/", name), contents, &entry));
  return entry;
}

StatusOr<std::string> CheckpointWriter::Commit(const Manifest& manifest) {
  CheckOrDie(final_ == absl::StrCat(model_dir_, "/", CheckpointName(manifest.step)),
             absl::StrCat("manifest of step ", manifest.step, " for ", final_));
  // The order is the promise of law L6: complete, or not there.
  //
  //   1  every file has the size that its writer reported, and was fsynced by it
  //   2  fsync of the inner directories: the files' names are durable
  //   3  manifest.json, fsynced, and fsync of the temporary directory
  //   4  rename to model.ckpt-N, fsync of model_dir
  //
  // A crash before 4 leaves a temporary directory, which no reader looks at. With 4 before 1 to 3
  // the name could be on disk before the data.
  const bool manifest_first = MutantActive(Mutant::kManifestFirst);
  if (!manifest_first) {
    PEPNET_RETURN_IF_ERROR(CheckSizes(temporary_, manifest));
    PEPNET_RETURN_IF_ERROR(SyncDirectories(temporary_, manifest));
  }
  StatusOr<std::string> text = ManifestToText(manifest);
  if (!text.ok()) return Annotate(text.status(), absl::StrCat("the manifest of ", final_));
  PEPNET_RETURN_IF_ERROR(WriteFile(kManifestName, *text).status());
  PEPNET_RETURN_IF_ERROR(SyncDirectory(temporary_));
  PEPNET_RETURN_IF_ERROR(RenameAndSync(temporary_, final_));
  if (manifest_first) PEPNET_RETURN_IF_ERROR(CheckSizes(final_, manifest));
  return final_;
}

StatusOr<std::vector<int64_t>> ListCheckpointDirectories(const std::string& model_dir) {
  std::vector<int64_t> steps;
  if (!PathExists(model_dir)) return steps;
  PEPNET_ASSIGN_OR_RETURN(const auto names, ListDirectory(model_dir));
  for (const std::string& name : names) {
    const std::optional<int64_t> step = StepOfName(name);
    if (step.has_value() && IsDirectory(absl::StrCat(model_dir, "/", name))) steps.push_back(*step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

StatusOr<std::vector<int64_t>> ListCheckpoints(const std::string& model_dir) {
  PEPNET_ASSIGN_OR_RETURN(std::vector<int64_t> steps, ListCheckpointDirectories(model_dir));
  std::erase_if(steps, [&](int64_t step) {
    return !IsComplete(absl::StrCat(model_dir, "/", CheckpointName(step)));
  });
  return steps;
}

StatusOr<std::string> ResolveCheckpoint(const std::string& path) {
  std::string directory = path;
  while (directory.size() > 1 && directory.back() == '/') directory.pop_back();
  if (!PathExists(directory)) {
    return absl::NotFoundError(
        absl::StrCat(directory, " does not exist", CurrentDirectoryNote(directory)));
  }
  if (!IsDirectory(directory)) return InvalidInput(directory, " is not a directory");
  if (IsComplete(directory)) return directory;
  if (StepOfName(std::filesystem::path(directory).filename().string()).has_value()) {
    return absl::DataLossError(
        absl::StrCat(directory, " is damaged or incomplete: ", kManifestName, " is missing"));
  }
  // In this order: what a training renames in between is complete.
  PEPNET_ASSIGN_OR_RETURN(const auto directories, ListCheckpointDirectories(directory));
  PEPNET_ASSIGN_OR_RETURN(const auto steps, ListCheckpoints(directory));
  if (steps.empty() && directories.empty()) {
    return absl::NotFoundError(
        absl::StrCat("no complete checkpoint (", kPrefix, "N) in ", directory));
  }
  // An incomplete directory that is older than the newest complete checkpoint does not matter:
  // nobody asks for it.
  const std::string newest =
      steps.empty() ? "" : absl::StrCat(directory, "/", CheckpointName(steps.back()));
  if (!steps.empty() && (directories.empty() || directories.back() <= steps.back())) return newest;
  // A directory gets its name after its manifest is written: an older one is not taken in its place
  // without a word.
  return absl::DataLossError(absl::StrCat(
      directory, "/", CheckpointName(directories.back()),
      " is damaged or incomplete: ", kManifestName, " is missing; ",
      steps.empty() ? absl::StrCat("no other checkpoint in ", directory, " is complete")
                    : absl::StrCat("to use the newest one that is complete, name it: ", newest)));
}

Status VerifyCheckpoint(const std::string& directory, const Manifest& manifest, bool contents,
                        bool deep) {
  // The checks go from cheap to dear: sizes, then the checksum of every byte, then every row.
  PEPNET_RETURN_IF_ERROR(CheckSizes(directory, manifest));
  if (!contents) return absl::OkStatus();
  for (const FileEntry& entry : AllFiles(manifest)) {
    const std::string path = absl::StrCat(directory, "/", entry.file);
    PEPNET_ASSIGN_OR_RETURN(const FileChecksum sum, ChecksumFile(path));
    if (sum.bytes != entry.bytes || sum.crc32c != entry.crc32c) {
      return absl::DataLossError(absl::StrCat(path, ": expected crc32c ", Crc32cToHex(entry.crc32c),
                                              " of ", entry.bytes, " bytes, found ",
                                              Crc32cToHex(sum.crc32c), " of ", sum.bytes));
    }
  }
  if (!deep) return absl::OkStatus();
  PEPNET_RETURN_IF_ERROR(CheckAllNamed(directory, manifest));
  for (const auto* parts : {&manifest.parts, &manifest.candidates}) {
    PEPNET_RETURN_IF_ERROR(CheckPartsApart(directory, *parts));
    for (const PartEntry& part : *parts) PEPNET_RETURN_IF_ERROR(VerifyRows(directory, part));
  }
  return absl::OkStatus();
}

Status PruneCheckpoints(const std::string& model_dir, int64_t keep, int64_t keep_step) {
  PEPNET_ASSIGN_OR_RETURN(const auto steps, ListCheckpoints(model_dir));
  // Incomplete directories neither count nor go. The best checkpoint (keep_step) stays even where
  // it is not among the newest, beyond their number.
  const auto count = static_cast<int64_t>(steps.size());
  const int64_t excess = keep > 0 ? std::max<int64_t>(0, count - keep) : 0;
  for (int64_t i = 0; i < excess; ++i) {
    const int64_t step = steps[static_cast<size_t>(i)];
    if (step == keep_step) continue;
    // Renamed first: a removal that is cut short leaves a temporary directory, not half a
    // checkpoint.
    const std::string directory = absl::StrCat(model_dir, "/", CheckpointName(step));
    if (const std::string foreign = ForeignEntry(directory); !foreign.empty()) {
      LogWarning(absl::StrCat(directory, " is kept beyond keep_checkpoint_max: it holds ", foreign,
                              ", which pepnet did not write"));
      continue;
    }
    PEPNET_RETURN_IF_ERROR(RenameAndSync(
        directory, TemporaryName(absl::StrCat(model_dir, "/", kTemporaryPrefix, step))));
  }
  if (!PathExists(model_dir)) return absl::OkStatus();
  PEPNET_ASSIGN_OR_RETURN(const auto names, ListDirectory(model_dir));
  for (const std::string& name : names) {
    // This takes the directories renamed above and those of runs that were killed. None is being
    // written: one process owns model_dir, and prunes behind the commit of its only save.
    if (IsTemporaryCheckpoint(name)) {
      PEPNET_RETURN_IF_ERROR(RemoveOwn(absl::StrCat(model_dir, "/", name)));
    }
  }
  return absl::OkStatus();
}

}  // namespace pepnet

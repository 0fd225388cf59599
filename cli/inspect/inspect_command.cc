#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "cli/inspect/inspect.h"
#include "cli/inspect/inspect_command.h"
#include "cli/inspect/inspect_diff.h"
#include "cli/inspect/neighbours.h"
#include "cli/inspect/what_if.h"
#include "cli/inspect/words.h"
#include "cli/job/load_config.h"
#include "common/base/text.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/strict_json.h"
#include "common/file/file.h"
#include "worker/checkpoint/best_checkpoint.h"

namespace pepnet {
namespace {

constexpr const char* kTrainerFile = "trainer.json";

// The demands of --verify on a manifest whose files all are as it says: that it speaks of a state
// that training could go on from.
Status CheckState(const std::string& directory, const Manifest& manifest) {
  // A manifest without these names verifies, as it names no file that is wrong, but no training
  // could go on from it.
  for (const char* file : {"dense.safetensors", kTrainerFile}) {
    const auto named = [file](const FileEntry& entry) { return entry.file == file; };
    if (std::any_of(manifest.files.begin(), manifest.files.end(), named)) continue;
    return absl::DataLossError(absl::StrCat(directory, ": the manifest does not name ", file));
  }
  const std::string path = absl::StrCat(directory, "/", kTrainerFile);
  PEPNET_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  const StatusOr<nlohmann::json> json = ParseStrictJson(text);
  if (!json.ok()) return Annotate(json.status(), path);
  const StatusOr<int64_t> steps = JsonInteger(*json, "finished_steps", 0, INT64_MAX);
  if (!steps.ok()) return Annotate(steps.status(), path);
  if (*steps == manifest.step) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(path, ": \"finished_steps\" is ", *steps,
                                          ", expected the manifest's step ", manifest.step));
}

// One view of one checkpoint. All files are verified before anything is shown: a damaged row would
// be a number like any other.
Status InspectCheckpoint(const InspectFlags& flags) {
  if (!flags.report.empty()) {
    // The check comes before the checkpoint is read: a page that cannot be written is said at once.
    PEPNET_RETURN_IF_ERROR(CheckReplaceable("--report", flags.report, {kHtmlBeginning}));
  }
  PEPNET_ASSIGN_OR_RETURN(std::string directory, ResolveCheckpoint(flags.path));
  PEPNET_ASSIGN_OR_RETURN(Manifest manifest, ReadManifest(directory));
  PEPNET_RETURN_IF_ERROR(
      // deep: the digests are computed from the rows, too, beyond the checksums of the files.
      VerifyCheckpoint(directory, manifest, /*contents=*/true, /*deep=*/flags.verify));
  if (flags.verify) PEPNET_RETURN_IF_ERROR(CheckState(directory, manifest));
  if (flags.id.has_value()) {
    PEPNET_ASSIGN_OR_RETURN(const TableWords words,
                            FindWords(flags.pipeline_config_path, directory));
    PEPNET_ASSIGN_OR_RETURN(const std::string row,
                            DescribeRow(directory, flags.table, *flags.id, flags.json, words));
    if (flags.neighbours == 0) {
      std::cout << row << std::endl;
      return absl::OkStatus();
    }
    PEPNET_ASSIGN_OR_RETURN(const Neighbours neighbours,
                            FindNeighbours(directory, flags.table, *flags.id, flags.neighbours));
    if (flags.json) {
      std::cout << NeighboursToJson(flags.table, *flags.id, neighbours, words) << std::endl;
    } else {
      std::cout << row << "\n" << NeighboursToText(flags.table, neighbours, words) << std::endl;
    }
    return absl::OkStatus();
  }
  if (!flags.what_if.empty()) {
    PEPNET_ASSIGN_OR_RETURN(const RowPolicy policy, ParseWhatIf(flags.what_if));
    PEPNET_ASSIGN_OR_RETURN(const std::vector<WhatIfTable> tables,
                            WhatIf(directory, policy, flags.table));
    std::cout << (flags.json ? WhatIfToJson(tables) : WhatIfToText(policy, tables)) << std::endl;
    return absl::OkStatus();
  }
  PEPNET_ASSIGN_OR_RETURN(CheckpointSummary summary, SummarizeCheckpoint(directory, flags.table));
  if (!flags.report.empty()) {
    PEPNET_RETURN_IF_ERROR(WriteFileAtomically(flags.report, SummaryToHtml(summary)));
  }
  std::cout << (flags.json ? SummaryToJson(summary) : SummaryToText(summary)) << std::endl;
  if (flags.verify && !flags.json) {
    std::cout << directory << ": every file, checksum and digest is as the manifest says"
              << std::endl;
  }
  return absl::OkStatus();
}

// Checkpoints that differ are an error, as in `cmp`: a script asks by the exit status.
Status InspectDifference(const InspectFlags& flags) {
  PEPNET_ASSIGN_OR_RETURN(std::string left, ResolveCheckpoint(flags.path));
  PEPNET_ASSIGN_OR_RETURN(std::string right, ResolveCheckpoint(flags.diff));
  for (const std::string& directory : {left, right}) {
    PEPNET_ASSIGN_OR_RETURN(Manifest manifest, ReadManifest(directory));
    PEPNET_RETURN_IF_ERROR(VerifyCheckpoint(directory, manifest));
  }
  PEPNET_ASSIGN_OR_RETURN(CheckpointDiff diff, DiffCheckpoints(left, right, flags.table));
  if (!flags.quiet) {
    PEPNET_ASSIGN_OR_RETURN(const TableWords words, FindWords(flags.pipeline_config_path, left));
    std::cout << (flags.json ? DiffToJson(diff, words) : DiffToText(diff, words)) << std::endl;
  }
  if (diff.equal()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(left, " and ", right, " are not equal: ", DiffInBrief(diff)));
}

// Refuses flags of which one leaves no room for another; nothing that is asked for is skipped.
Status CheckTogether(const InspectFlags& flags) {
  const std::vector<std::pair<const char*, bool>> views = {{"--diff", !flags.diff.empty()},
                                                           {"--id", flags.id.has_value()},
                                                           {"--what_if", !flags.what_if.empty()},
                                                           {"--report", !flags.report.empty()}};
  const char* first = nullptr;
  for (const auto& [name, given] : views) {
    if (!given) continue;
    if (first != nullptr) {
      return InvalidInput(first, " and ", name, " are two views; ask for one at a time");
    }
    first = name;
  }
  if (!flags.diff.empty() && flags.verify) {
    return InvalidInput(
        "--diff does not take --verify; inspect each of the two with --verify first");
  }
  return absl::OkStatus();
}

// An export's files are as its export.json says. `directory`: of the export; `file`: the one that
// is asked for, "" for all.
Status VerifyExport(const std::string& directory, const std::string& file) {
  const std::string path = directory + "/export.json";
  if (!PathExists(path)) {
    return InvalidInput("--verify: there is no ", path, ", whose checksums ",
                        file.empty() ? "the files" : file.c_str(),
                        " could be compared with; leave --verify out");
  }
  PEPNET_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  const StatusOr<nlohmann::json> json = ParseStrictJson(text);
  if (!json.ok()) return Annotate(json.status(), path);
  const auto files = json->is_object() ? json->find("files") : json->end();
  if (!json->is_object() || files == json->end() || !files->is_array()) {
    return absl::DataLossError(absl::StrCat(path, ": \"files\" is missing or not a list"));
  }
  bool found = file.empty();
  for (const nlohmann::json& entry : *files) {
    const StatusOr<std::string> name = JsonString(entry, "file");
    if (!name.ok()) return Annotate(name.status(), path);
    // The names come from a file that anybody may have written, and a name such as ../secret would
    // make this program read outside of the export.
    const std::filesystem::path inner(*name);
    if (name->empty() || inner.is_absolute() || inner.lexically_normal() != inner ||
        *inner.begin() == "..") {
      return absl::DataLossError(
          absl::StrCat(path, ": \"", Printable(*name, 200), "\" does not lie in the export"));
    }
    const StatusOr<int64_t> bytes = JsonInteger(entry, "bytes", 0, INT64_MAX);
    if (!bytes.ok()) return Annotate(bytes.status(), path);
    const StatusOr<std::string> crc32c = JsonString(entry, "crc32c");
    if (!crc32c.ok()) return Annotate(crc32c.status(), path);
    found = found || *name == file;
    // All files are compared, even if one was asked for: an export is used as a whole.
    const std::string own = absl::StrCat(directory, "/", *name);
    PEPNET_ASSIGN_OR_RETURN(const FileChecksum sum, ChecksumFile(own));
    if (sum.bytes == *bytes && Crc32cToHex(sum.crc32c) == *crc32c) continue;
    return absl::DataLossError(absl::StrCat(own, ": expected crc32c ", Printable(*crc32c, 20),
                                            " of ", *bytes, " bytes, found ",
                                            Crc32cToHex(sum.crc32c), " of ", sum.bytes));
  }
  if (found) return absl::OkStatus();
  return InvalidInput("--verify: ", path, " does not name ", file, "; leave --verify out");
}

// The path that the flags name: a checkpoint, its parent or a safetensors file.
StatusOr<std::string> PathOf(const InspectFlags& flags) {
  if (flags.checkpoint_path.empty()) {
    if (!flags.path.empty()) return flags.path;
    return InvalidInput(
        "no path is given; expected a model.ckpt-N, its parent or a safetensors file");
  }
  if (flags.checkpoint_path != kBestCheckpointWord) {
    if (flags.path.empty()) return flags.checkpoint_path;
    return InvalidInput(flags.path, " and --checkpoint_path ", flags.checkpoint_path,
                        " name two; give one of them");
  }
  std::string model_dir = flags.path.empty() ? flags.model_dir : flags.path;
  // The nearer name wins: the path, --model_dir, then the config.
  if (model_dir.empty() && !flags.pipeline_config_path.empty()) {
    ConfigFlags config;
    config.pipeline_config_path = flags.pipeline_config_path;
    PEPNET_ASSIGN_OR_RETURN(const JobConfig job,
                            LoadConfig(config, /*ignore_unknown_fields=*/true));
    model_dir = job.model_dir;
  }
  if (model_dir.empty()) {
    return InvalidInput(
        "--checkpoint_path best does not say of which training; add its model_dir, or "
        "--pipeline_config_path");
  }
  return ResolveBestCheckpoint(model_dir);
}

}  // namespace

// needs() and excludes() refuse flags without their partners before anything is opened.
void AddInspectFlags(CLI::App* command, InspectFlags* flags) {
  CLI::Option* path =
      command->add_option("path", flags->path, "model.ckpt-N, its parent, or a safetensors file");
  command->add_option("--checkpoint_path", flags->checkpoint_path,
                      "replaces the path; best: the checkpoint that keep_best kept in the path, "
                      "--model_dir or the config's");
  command->add_option("--model_dir", flags->model_dir, "where --checkpoint_path best looks")
      ->excludes(path);
  command->add_option("--pipeline_config_path", flags->pipeline_config_path,
                      "the config whose model_dir --checkpoint_path best looks into, and whose "
                      "vocabularies say the words "
                      "of ids (default for these: the pipeline.config beside the checkpoint)");
  command->add_flag("--verify", flags->verify, "read every byte and recompute every digest");
  command->add_flag("--json", flags->json, "machine-readable");
  CLI::Option* table = command->add_option("--table", flags->table, "only this table");
  CLI::Option* id =
      command->add_option("--id", flags->id, "one row of --table: value, optimizer state, updates")
          ->needs(table);
  command
      ->add_option("--neighbours", flags->neighbours,
                   "with --id: number of rows to list, those with the largest cosine similarity")
      ->needs(id)
      ->check(CLI::PositiveNumber);
  command->add_option("--report", flags->report,
                      "also write the summary to this file, as an HTML page");
  command->add_option(
      "--what_if", flags->what_if,
      "count the rows that would expire or be evicted under max_rows=N, memory_budget_mb=N, "
      "ttl_steps=N, ttl_seconds=N, "
      "eviction=LRU|LFU|SCORE, half_life_steps=N, show_weight=W, click_weight=W, separated by "
      "commas");
  CLI::Option* diff = command->add_option(
      "--diff", flags->diff,
      "compare with another checkpoint; the exit status is 1 where they differ");
  command->add_flag("--quiet", flags->quiet, "with --diff: print nothing on standard output")
      ->needs(diff);
}

// A checkpoint, two of them, or an export: which it is follows from the flags and from the files
// that are there.
Status InspectCommand(const InspectFlags& given) {
  InspectFlags flags = given;
  PEPNET_RETURN_IF_ERROR(CheckTogether(given));
  // A flag that would not be read is refused (law L7).
  if (!given.path.empty() && !given.pipeline_config_path.empty() && !given.id.has_value() &&
      given.diff.empty()) {
    return InvalidInput(
        "--pipeline_config_path ", given.pipeline_config_path, " is not read beside the path ",
        given.path,
        "; it says where --checkpoint_path best looks, and the words of --id and --diff");
  }
  PEPNET_ASSIGN_OR_RETURN(flags.path, PathOf(given));
  if (!flags.diff.empty()) return InspectDifference(flags);
  // An export: the file itself, or the directory that export made.
  const std::string in_directory = flags.path + "/model.safetensors";
  // A single file needs no export.json beside it, except for --verify.
  const bool is_file = absl::EndsWith(flags.path, ".safetensors");
  if (is_file || PathExists(in_directory) || PathExists(flags.path + "/export.json")) {
    if (flags.id.has_value() || !flags.report.empty() || !flags.table.empty() ||
        !flags.what_if.empty()) {
      return InvalidInput("--table, --id, --report and --what_if read checkpoints, and ",
                          flags.path, " is an export; pass a model.ckpt-N directory");
    }
    const std::filesystem::path file(flags.path);
    const std::string directory = !is_file                 ? flags.path
                                  : file.has_parent_path() ? file.parent_path().string()
                                                           : ".";
    if (flags.verify) {
      PEPNET_RETURN_IF_ERROR(VerifyExport(directory, is_file ? file.filename().string() : ""));
    }
    if (is_file || PathExists(in_directory)) {
      PEPNET_ASSIGN_OR_RETURN(
          std::string text, SummarizeSafetensors(is_file ? flags.path : in_directory, flags.json));
      std::cout << text << std::endl;
    } else if (!flags.verify || flags.json) {
      return InvalidInput(
          flags.path,
          " is an export without model.safetensors, of which inspect could show something; "
          "--verify compares its files with their checksums");
    }
    if (flags.verify && !flags.json) {
      std::cout << directory << ": every file is as export.json says" << std::endl;
    }
    return absl::OkStatus();
  }
  return InspectCheckpoint(flags);
}

}  // namespace pepnet

#include <CLI/CLI.hpp>
#include <iostream>

#include "absl/strings/match.h"
#include "cli/inspect/inspect.h"
#include "cli/inspect/inspect_command.h"
#include "cli/inspect/inspect_diff.h"
#include "cli/inspect/neighbours.h"
#include "cli/inspect/what_if.h"
#include "cli/inspect/words.h"
#include "cli/job/load_config.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "worker/checkpoint/best_checkpoint.h"

namespace pepnet {
namespace {

Status InspectCheckpoint(const InspectFlags& flags) {
  if (!flags.report.empty()) PEPNET_RETURN_IF_ERROR(CheckReplaceable("--report", flags.report, {kHtmlBeginning}));
  PEPNET_ASSIGN_OR_RETURN(std::string directory, ResolveCheckpoint(flags.path));
  PEPNET_ASSIGN_OR_RETURN(Manifest manifest, ReadManifest(directory));
  PEPNET_RETURN_IF_ERROR(VerifyCheckpoint(directory, manifest, /*contents=*/true, /*deep=*/flags.verify));
  if (flags.id.has_value()) {
    PEPNET_ASSIGN_OR_RETURN(const TableWords words, FindWords(flags.pipeline_config_path, directory));
    PEPNET_ASSIGN_OR_RETURN(const std::string row, DescribeRow(directory, flags.table, *flags.id, flags.json, words));
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
    PEPNET_ASSIGN_OR_RETURN(const std::vector<WhatIfTable> tables, WhatIf(directory, policy, flags.table));
    std::cout << (flags.json ? WhatIfToJson(tables) : WhatIfToText(policy, tables)) << std::endl;
    return absl::OkStatus();
  }
  PEPNET_ASSIGN_OR_RETURN(CheckpointSummary summary, SummarizeCheckpoint(directory, flags.table));
  if (!flags.report.empty()) PEPNET_RETURN_IF_ERROR(WriteFileAtomically(flags.report, SummaryToHtml(summary)));
  std::cout << (flags.json ? SummaryToJson(summary) : SummaryToText(summary)) << std::endl;
  if (flags.verify && !flags.json)
    std::cout << directory << ": every file, checksum and digest is as the manifest says" << std::endl;
  return absl::OkStatus();
}

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
  return absl::FailedPreconditionError(absl::StrCat(left, " and ", right, " are not equal: ", DiffInBrief(diff)));
}

// What the flags name.
StatusOr<std::string> PathOf(const InspectFlags& flags) {
  if (flags.checkpoint_path.empty()) {
    if (!flags.path.empty()) return flags.path;
    return InvalidInput("no path is given; expected a model.ckpt-N, its parent or a safetensors file");
  }
  if (flags.checkpoint_path != kBestCheckpointWord) {
    if (flags.path.empty()) return flags.checkpoint_path;
    return InvalidInput(flags.path, " and --checkpoint_path ", flags.checkpoint_path, " name two; give one of them");
  }
  std::string model_dir = flags.path.empty() ? flags.model_dir : flags.path;
  if (model_dir.empty() && !flags.pipeline_config_path.empty()) {
    ConfigFlags config;
    config.pipeline_config_path = flags.pipeline_config_path;
    PEPNET_ASSIGN_OR_RETURN(const JobConfig job, LoadConfig(config, /*ignore_unknown_fields=*/true));
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

void AddInspectFlags(CLI::App* command, InspectFlags* flags) {
  CLI::Option* path = command->add_option("path", flags->path, "model.ckpt-N, its parent, or a safetensors file");
  command->add_option(
      "--checkpoint_path", flags->checkpoint_path,
      "in place of the path; best: the one that keep_best kept in the path, --model_dir or the config's");
  command->add_option("--model_dir", flags->model_dir, "where --checkpoint_path best looks")->excludes(path);
  command->add_option(
      "--pipeline_config_path", flags->pipeline_config_path,
      "the config whose model_dir --checkpoint_path best looks into, and whose vocabularies say the words "
      "of ids (default for these: the pipeline.config beside the checkpoint)");
  command->add_flag("--verify", flags->verify, "read every byte and recompute every digest");
  command->add_flag("--json", flags->json, "machine-readable");
  CLI::Option* table = command->add_option("--table", flags->table, "only this table");
  CLI::Option* id =
      command->add_option("--id", flags->id, "one row of --table: value, optimizer state, updates")->needs(table);
  command->add_option("--neighbours", flags->neighbours, "with --id: so many rows whose values point the same way")
      ->needs(id)
      ->check(CLI::PositiveNumber);
  command->add_option("--report", flags->report, "also write the summary to this file, as an HTML page");
  command->add_option(
      "--what_if", flags->what_if,
      "which rows would leave under max_rows=N, memory_budget_mb=N, ttl_steps=N, eviction=LRU|LFU|SCORE, "
      "half_life_steps=N, separated by commas");
  CLI::Option* diff = command->add_option("--diff", flags->diff,
                                          "compare with another checkpoint; the exit status is 1 where they differ");
  command->add_flag("--quiet", flags->quiet, "with --diff: print nothing on standard output")->needs(diff);
}

Status InspectCommand(const InspectFlags& given) {
  InspectFlags flags = given;
  if (!given.path.empty() && !given.pipeline_config_path.empty() && !given.id.has_value() && given.diff.empty()) {
    return InvalidInput("--pipeline_config_path ", given.pipeline_config_path, " is not read beside the path ",
                        given.path, "; it says where --checkpoint_path best looks, and the words of --id and --diff");
  }
  PEPNET_ASSIGN_OR_RETURN(flags.path, PathOf(given));
  if (!flags.diff.empty()) return InspectDifference(flags);
  // An export: the file itself, or the directory that export made.
  const std::string in_directory = flags.path + "/model.safetensors";
  const bool is_file = absl::EndsWith(flags.path, ".safetensors");
  if (is_file || PathExists(in_directory)) {
    if (flags.id.has_value() || !flags.report.empty() || !flags.table.empty() || !flags.what_if.empty()) {
      return InvalidInput("--table, --id, --report and --what_if read checkpoints, and ", flags.path,
                          " is an export; pass a model.ckpt-N directory");
    }
    PEPNET_ASSIGN_OR_RETURN(std::string text, SummarizeSafetensors(is_file ? flags.path : in_directory, flags.json));
    std::cout << text << std::endl;
    return absl::OkStatus();
  }
  return InspectCheckpoint(flags);
}

}  // namespace pepnet

// `pepnet report` and `pepnet compare`.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>

#include "cli/commands/commands.h"
#include "cli/report/compare.h"
#include "cli/report/html.h"
#include "cli/report/page.h"
#include "common/base/logging.h"
#include "common/base/screen.h"
#include "common/base/text.h"
#include "common/file/file.h"

namespace pepnet {
namespace {

constexpr char kStandardOutput[] = "-";

// Refuses arguments that are wrong whatever the runs hold.
Status CheckOutput(const ReportFlags& flags) {
  if (flags.output == kStandardOutput) return absl::OkStatus();
  if (flags.output.empty()) {
    return InvalidInput("--output is empty; name a file, or - for the standard output");
  }
  const std::filesystem::path parent = std::filesystem::path(flags.output).parent_path();
  if (!parent.empty() && !IsDirectory(parent.string())) {
    return absl::NotFoundError(
        absl::StrCat("--output ", Printable(flags.output, 500), ": there is no directory ",
                     Printable(parent.string(), 500), "; make it first, or name another file"));
  }
  if (IsDirectory(flags.output)) {
    return InvalidInput("--output ", Printable(flags.output, 500),
                        " is a directory, expected a file; try ", Printable(flags.output, 500),
                        "/report.html");
  }
  // A page of this command may be replaced; anything else is somebody's work.
  if (flags.overwrite) return absl::OkStatus();
  Status replaceable = CheckReplaceable("--output", flags.output, {kPageBeginning});
  if (replaceable.ok()) return replaceable;
  // The advice of the shared check is completed by the flag that only this command has.
  return Status(replaceable.code(), absl::StrCat(replaceable.message(), ", or give --overwrite"));
}

// So that what the page misses is also said where the command was given.
void LogNotices(const std::vector<RunRecord>& runs) {
  for (const RunRecord& run : runs) {
    for (const std::string& notice : run.notices) LOG(WARNING) << run.name << ": " << notice;
  }
}

void AddRuns(CLI::App* command, std::vector<std::string>* runs) {
  command
      ->add_option("RUN", *runs,
                   "the model_dir of a training, finished or in progress; several are compared")
      ->required();
}

}  // namespace

void AddReportFlags(CLI::App* command, ReportFlags* flags) {
  AddRuns(command, &flags->runs);
  command->add_option("-o,--output", flags->output, "file for the page; - is the standard output")
      ->required();
  command->add_flag("--overwrite", flags->overwrite,
                    "replace the file at --output, even if it is no such page");
  command->add_flag("--no_rows", flags->no_rows,
                    "do not read the tables' rows: faster, but without the hottest ids");
}

Status ReportCommand(const ReportFlags& flags) {
  PEPNET_RETURN_IF_ERROR(CheckOutput(flags));
  PEPNET_ASSIGN_OR_RETURN(const std::vector<RunRecord> runs,
                          ReadRuns(flags.runs, {.rows = !flags.no_rows}));
  LogNotices(runs);
  const std::string page = ReportPage(runs);
  if (flags.output == kStandardOutput) {
    std::cout << page;
    return absl::OkStatus();
  }
  PEPNET_RETURN_IF_ERROR(WriteFileAtomically(flags.output, page));
  LOG(INFO) << flags.output << " shows " << runs.size() << (runs.size() == 1 ? " run" : " runs")
            << "; open it in a browser";
  return absl::OkStatus();
}

void AddCompareFlags(CLI::App* command, CompareFlags* flags) {
  AddRuns(command, &flags->runs);
  command->add_flag("--json", flags->json,
                    "print the figures as JSON, as in the page of pepnet report");
}

Status CompareCommand(const CompareFlags& flags) {
  // The table has nothing of the tables' rows, so they are not read.
  PEPNET_ASSIGN_OR_RETURN(const std::vector<RunRecord> runs, ReadRuns(flags.runs, {.rows = false}));
  std::cout << (flags.json ? ReportData(runs) : CompareText(runs, ScreenWidth(0))) << std::endl;
  return absl::OkStatus();
}

}  // namespace pepnet

// export: a checkpoint in the formats that other programs open. Complete, read back and compared
// with eval, or absent.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "cli/commands/commands.h"
#include "cli/export/best_checkpoint.h"
#include "cli/export/compare.h"
#include "cli/export/model_card.h"
#include "cli/export/tables/full_table.h"
#include "cli/job/job.h"
#include "cli/job/load_config.h"
#include "common/base/logging.h"
#include "common/file/file.h"
#include "common/job_config/shape_description.h"
#include "worker/checkpoint/best_checkpoint.h"
#include "worker/checkpoint/train_state.h"
#include "worker/data/files/input_files.h"
#include "worker/model/output_rules.h"

namespace pepnet {
namespace {

StatusOr<std::vector<std::string>> ParseFormats(const std::string& text) {
  const std::vector<std::string> formats = absl::StrSplit(text, ',');
  for (size_t i = 0; i < formats.size(); ++i) {
    if (formats[i] != "safetensors" && formats[i] != "parquet" && formats[i] != "onnx") {
      return InvalidInput("--format=", text, ": \"", formats[i],
                          "\" is not supported; expected safetensors, parquet, onnx, or several "
                          "of them separated by commas");
    }
    if (std::find(formats.begin(), formats.begin() + i, formats[i]) != formats.begin() + i) {
      return InvalidInput("--format=", text, " names ", formats[i], " twice");
    }
  }
  return formats;
}

// The flag wins over export_config.exporter_type; without either the newest is exported.
StatusOr<std::string> ChooseCheckpoint(const JobConfig& config, const ExportFlags& flags) {
  if (!flags.checkpoint_path.empty()) {
    return ResolveCheckpointFlag(flags.checkpoint_path, config.model_dir);
  }
  if (config.export_config.best) return ChooseBestCheckpoint(config);
  return ResolveCheckpointFlag(config.model_dir, config.model_dir);
}

StatusOr<std::vector<std::string>> WriteFormat(const std::string& format,
                                               const ExportSource& source,
                                               const std::string& directory,
                                               const ExportFlags& flags) {
  if (format == "parquet") return WriteParquet(source, directory);
  if (format == "onnx") return WriteOnnx(source, directory, flags.onnx_external_mb << 20);
  return WriteSafetensors(source, directory);
}

// Rows compared, -1 if there is no eval data to compare on.
StatusOr<int64_t> Compare(const JobConfig& config, const ExportSource& source,
                          const std::string& directory, const CardInfo& info) {
  const std::string& input = config.eval_input_path;
  const Status found = input.empty() ? InvalidInput("eval_input_path is empty")
                                     : FindJobFiles(config, input).status();
  if (!found.ok()) {
    LOG(WARNING) << "the export is not compared with eval: " << found.message();
    return -1;
  }
  // The file itself where there is one; the onnx and parquet files hold the same tensors, which was
  // checked when they were written.
  DenseParameters parameters(DenseParameterList(config));
  ExportSource exported = source;
  if (std::find(info.formats.begin(), info.formats.end(), "safetensors") != info.formats.end()) {
    PEPNET_ASSIGN_OR_RETURN(
        exported, OpenExportedWeights(source, directory + "/model.safetensors", &parameters));
  }
  JobFlags job;
  // The comparison reads raw cells, so it must hash them as the training did, whatever the default
  // of this command is.
  job.hash = source.manifest->string_hash == "farm" ? "farm" : "std";
  job.no_verify = true;  // it has just been verified
  int64_t rows = 0;
  // A job with embedded servers that restore the checkpoint: the way of `pepnet eval`.
  PEPNET_RETURN_IF_ERROR(RunJob(config, job, nullptr, [&](const WorkerContext& context) -> Status {
    PEPNET_ASSIGN_OR_RETURN(rows, CompareWithEval(context, exported));
    return absl::OkStatus();
  }));
  return rows;
}

// The files of --asset_files must have different names, of which the export itself uses none.
Status CheckAssets(const std::vector<std::string>& assets) {
  // The names that this program writes at the top of an export.
  std::set<std::string> names = {
      "pipeline.config", "README.md",       "export.json", "model.safetensors",
      "model.onnx",      "model.onnx.data", "tables"};
  for (const std::string& asset : assets) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(asset, error)) {
      return InvalidInput("--asset_files: ", asset,
                          " is not a file; expected a comma list of files");
    }
    const std::string name = std::filesystem::path(asset).filename();
    if (!names.insert(name).second) {
      return InvalidInput("--asset_files: ", asset, ": the export has another file named ", name,
                          "; rename one");
    }
  }
  return absl::OkStatus();
}

// Returns the names in `directory`.
StatusOr<std::vector<std::string>> CopyAssets(const std::vector<std::string>& assets,
                                              const std::string& directory) {
  std::vector<std::string> names;
  for (const std::string& asset : assets) {
    names.push_back(std::filesystem::path(asset).filename());
    PEPNET_ASSIGN_OR_RETURN(const std::unique_ptr<FileWriter> copy,
                            FileWriter::Create(absl::StrCat(directory, "/", names.back())));
    std::ifstream file(asset, std::ios::binary);
    std::string piece(1 << 20, '\0');
    while (file.read(piece.data(), static_cast<std::streamsize>(piece.size())) ||
           file.gcount() > 0) {
      PEPNET_RETURN_IF_ERROR(copy->Append(piece.data(), static_cast<size_t>(file.gcount())));
    }
    // The loop ends at the end of the file or at an error, which only this tells apart.
    if (!file.eof()) {
      return absl::UnavailableError(absl::StrCat("--asset_files: ", asset, " cannot be read"));
    }
    PEPNET_RETURN_IF_ERROR(copy->Finish());
  }
  return names;
}

Status WriteExport(const JobConfig& config, const ExportSource& source,
                   const std::string& directory, const ExportFlags& flags, CardInfo info) {
  for (const std::string& format : info.formats) {
    PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> files,
                            WriteFormat(format, source, directory, flags));
    info.files.insert(info.files.end(), files.begin(), files.end());
  }
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> assets,
                          CopyAssets(flags.asset_files, directory));
  info.files.insert(info.files.end(), assets.begin(), assets.end());
  // The weights are complete now. What describes them comes last, since it says whether they were
  // compared, and has their checksums.
  PEPNET_ASSIGN_OR_RETURN(info.compared_rows, Compare(config, source, directory, info));
  PEPNET_RETURN_IF_ERROR(
      WriteFileAtomically(directory + "/pipeline.config", config.effective_text));
  PEPNET_ASSIGN_OR_RETURN(const std::string card, ModelCard(source, info));
  PEPNET_RETURN_IF_ERROR(WriteFileAtomically(directory + "/README.md", card));
  PEPNET_ASSIGN_OR_RETURN(const std::string json, ExportJson(source, directory, info));
  return WriteFileAtomically(directory + "/export.json", json);
}

// Outputs are chosen by the row's domain in model.onnx alone, and only where they are by domain.
Status CheckOwnDomain(const JobConfig& config, const std::vector<std::string>& formats) {
  if (std::find(formats.begin(), formats.end(), "onnx") == formats.end()) {
    return InvalidInput(
        "--own_domain is of model.onnx, which --format=", absl::StrJoin(formats, ","),
        " does not write; add onnx or leave the flag out");
  }
  if (config.model.domain_label < 0) {
    return InvalidInput(
        "--own_domain: the config sets no domain_input_name, so the model has one output per task "
        "already; leave the flag out");
  }
  return Annotate(OwnDomainOutputs(config).status(), "--own_domain");
}

// The path of the new directory without slashes at its end; its parent is made.
StatusOr<std::string> ExportTarget(const std::string& export_dir) {
  std::string target = export_dir;
  while (target.size() > 1 && target.back() == '/') target.pop_back();
  const std::filesystem::path path(target),
      parent = path.parent_path().empty() ? "." : path.parent_path();
  if (path.filename().empty() || path.filename() == "." || path.filename() == "..") {
    return InvalidInput("--export_dir ", export_dir,
                        " does not end in the name of a new directory");
  }
  // A link without a target takes the name as well, hence not PathExists().
  if (NameIsTaken(target)) {
    return InvalidInput("--export_dir ", export_dir,
                        " exists already; choose a directory that does not");
  }
  if (NameIsTaken(parent / kManifestName)) {
    return InvalidInput("--export_dir ", export_dir,
                        " lies in a checkpoint; choose a directory outside of it");
  }
  PEPNET_RETURN_IF_ERROR(MakeDirectories(parent.string()));
  return target;
}

}  // namespace

void AddExportFlags(CLI::App* command, ExportFlags* flags) {
  AddTrainedConfigFlags(command, &flags->config);
  AddCheckpointPathFlag(command, &flags->checkpoint_path);
  command->add_option("--export_dir", flags->export_dir, "directory to make; must not exist")
      ->required();
  command
      ->add_option("--asset_files", flags->asset_files, "files to copy into the export, comma list")
      ->delimiter(',');
  command->add_option("--format", flags->format,
                      "comma list of safetensors, parquet, onnx (default safetensors)");
  command
      ->add_option("--onnx_external_mb", flags->onnx_external_mb,
                   "tensors of more MiB go to model.onnx.data (default 64)")
      ->check(CLI::Range(0, 2000, "a number of MiB up to 2000"));
  command->add_flag("--own_domain", flags->own_domain,
                    "model.onnx reads each row's domain as one more input, and also gives the "
                    "outputs of that domain");
  command->add_flag("--no_verify", flags->no_verify,
                    "do not read the contents of checkpoint files before using them");
}

// All that can be refused is refused before the first table is written, which may take long.
Status ExportCommand(const ExportFlags& flags) {
  CardInfo info;
  PEPNET_ASSIGN_OR_RETURN(info.formats, ParseFormats(flags.format));
  PEPNET_RETURN_IF_ERROR(CheckAssets(flags.asset_files));
  PEPNET_ASSIGN_OR_RETURN(JobConfig config, LoadConfig(flags.config));
  if (flags.own_domain) PEPNET_RETURN_IF_ERROR(CheckOwnDomain(config, info.formats));
  PEPNET_ASSIGN_OR_RETURN(const std::string target, ExportTarget(flags.export_dir));
  PEPNET_ASSIGN_OR_RETURN(std::string checkpoint, ChooseCheckpoint(config, flags));
  PEPNET_ASSIGN_OR_RETURN(Manifest manifest, ReadManifest(checkpoint));
  PEPNET_RETURN_IF_ERROR(VerifyCheckpoint(checkpoint, manifest, !flags.no_verify));
  // A checkpoint of another model would fail somewhere below with a worse sentence, or not at all.
  const std::string difference = FirstDifference(ShapeDescription(config), manifest.shape);
  if (!difference.empty()) {
    return InvalidInput(checkpoint, " was written by another config: ", difference,
                        "; pass the config it was trained with");
  }
  PEPNET_RETURN_IF_ERROR(Annotate(CheckHoldsState(manifest, config), checkpoint));
  DenseParameters parameters(DenseParameterList(config));
  PEPNET_RETURN_IF_ERROR(
      ReadDenseValues(checkpoint, ValuesFor(config.export_config.uses_averages), &parameters));
  // `source` borrows the config, the manifest and the parameters, which live to the end of the
  // command.
  ExportSource source{
      &config,
      checkpoint,
      &manifest,
      &parameters,
      {[&](const Table& table) { return ReadTable(checkpoint, manifest, table); }, manifest.seed},
      flags.own_domain};
  // Complete or absent: everything is written beside the final name and renamed at the end.
  PEPNET_ASSIGN_OR_RETURN(ScratchDirectory temporary, ScratchDirectory::MakeBeside(target));
  PEPNET_RETURN_IF_ERROR(WriteExport(config, source, temporary.path(), flags, info));
  // The rename fails where another process has taken the name meanwhile, instead of replacing it.
  PEPNET_RETURN_IF_ERROR(RenameToNewName(temporary.path(), target));
  temporary.Release();
  LOG(INFO) << "exported " << checkpoint << " to " << target << " as "
            << absl::StrJoin(info.formats, ", ");
  return absl::OkStatus();
}

}  // namespace pepnet

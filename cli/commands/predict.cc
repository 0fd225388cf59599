#include <CLI/CLI.hpp>
#include <algorithm>

#include "absl/strings/ascii.h"
#include "cli/commands/commands.h"
#include "cli/job/job.h"
#include "cli/job/load_config.h"
#include "common/base/logging.h"
#include "worker/data/files/input_files.h"
#include "worker/eval/inference.h"
#include "worker/eval/predictor.h"

namespace pepnet {
namespace {

const CLI::Range kCount(1, 1 << 30, "a whole number from 1");

// Blanks around a name are of the list, as in lists of paths. A name given twice would make two
// columns of one name.
StatusOr<std::vector<std::string>> Names(const char* flag, const std::vector<std::string>& list) {
  std::vector<std::string> names;
  for (const std::string& piece : list) {
    const std::string name(absl::StripAsciiWhitespace(piece));
    if (name.empty()) continue;
    if (std::find(names.begin(), names.end(), name) != names.end()) {
      return InvalidInput(flag, " names \"", name, "\" twice");
    }
    names.push_back(name);
  }
  return names;
}

}  // namespace

void AddPredictFlags(CLI::App* command, PredictFlags* flags) {
  AddTrainedConfigFlags(command, &flags->config);
  AddJobFlags(command, &flags->job);
  AddCheckpointPathFlag(command, &flags->checkpoint_path);
  command
      ->add_option("--predict_input_path", flags->predict_input_path,
                   "comma list of paths and globs")
      ->required();
  command
      ->add_option("--predict_output_path", flags->predict_output_path,
                   "directory for part-NNNNN files")
      ->required();
  command->add_flag(
      "--overwrite", flags->overwrite,
      "replace the parts that an earlier prediction wrote there; nothing else is ever replaced");
  command
      ->add_option("--reserved_columns", flags->reserved_columns,
                   "input columns to copy, or ALL_COLUMNS")
      ->delimiter(',');
  command
      ->add_option("--output_columns", flags->output_columns,
                   "outputs to write (default: all, sorted)")
      ->delimiter(',');
  command->add_option("--writer_type", flags->writer_type, "ParquetWriter or CsvWriter")
      ->check(CLI::IsMember({"ParquetWriter", "CsvWriter"}));
  command
      ->add_option("--predict_steps", flags->predict_steps,
                   "batches that each worker predicts, the first ones of its rows (default: all)")
      ->check(kCount);
  command->add_option(
      "--dataset_type", flags->config.dataset_type,
      "kind of the input files, in place of the config's: ParquetDataset or CsvDataset");
  command->add_option("--batch_size", flags->batch_size, "rows per batch (default eval_batch_size)")
      ->check(kCount);
}

Status PredictCommand(const PredictFlags& flags, MpiSession* session) {
  // The config of an export may come from a newer version: fields that are unknown here are noted
  // and left out, as they concern training.
  PEPNET_ASSIGN_OR_RETURN(JobConfig config,
                          LoadConfig(flags.config, /*ignore_unknown_fields=*/true));
  // Predictions read the averages where exports do: what is predicted here is what an export would
  // serve.
  return RunJob(config, flags.job, session, [&](const WorkerContext& context) -> Status {
    // First, and under the flag's name: the files may be those of a field of the config as well.
    const DataConfig& data = context.config->data;
    PEPNET_RETURN_IF_ERROR(
        Annotate(FindInputFiles(flags.predict_input_path, data.dataset_type, data.dataset_type_name)
                     .status(),
                 "--predict_input_path"));
    const std::string path =
        flags.checkpoint_path.empty() ? config.model_dir : flags.checkpoint_path;
    PEPNET_ASSIGN_OR_RETURN(
        InferenceModel inference,
        OpenForInference(context, path, ValuesFor(context.config->export_config.uses_averages)));
    PredictRequest request;
    request.input_path = flags.predict_input_path;
    request.output_path = flags.predict_output_path;
    PEPNET_ASSIGN_OR_RETURN(request.reserved_columns,
                            Names("--reserved_columns", flags.reserved_columns));
    PEPNET_ASSIGN_OR_RETURN(request.output_columns,
                            Names("--output_columns", flags.output_columns));
    // Parquet is the default of --writer_type.
    request.csv = flags.writer_type == "CsvWriter";
    request.batch_size = flags.batch_size;
    request.steps = flags.predict_steps;
    request.overwrite = flags.overwrite;
    PEPNET_ASSIGN_OR_RETURN(
        int64_t rows, Predict(context, inference.model.get(), request, inference.finished_steps));
    if (context.first()) {
      LOG(INFO) << "predicted " << rows << " rows with " << inference.checkpoint << " into "
                << flags.predict_output_path;
    }
    return absl::OkStatus();
  });
}

}  // namespace pepnet

#include <CLI/CLI.hpp>
#include <iostream>

#include "cli/commands/commands.h"
#include "cli/job/job.h"
#include "cli/job/load_config.h"
#include "common/base/logging.h"
#include "common/file/file.h"
#include "worker/checkpoint/checkpointing.h"
#include "worker/eval/inference.h"
#include "worker/explain/explain_report.h"
#include "worker/explain/feature_importance.h"
#include "worker/explain/gate_statistics.h"

namespace pepnet {
namespace {

// A file of this command begins so: --output may replace it.
constexpr char kJsonBeginning[] = "{\"checkpoint\":";

}  // namespace

void AddExplainFlags(CLI::App* command, ExplainFlags* flags) {
  AddTrainedConfigFlags(command, &flags->config);
  AddJobFlags(command, &flags->job);
  AddCheckpointPathFlag(command, &flags->checkpoint_path);
  command->add_option("--eval_input_path", flags->config.eval_input_path,
                      "comma list of paths and globs");
  command
      ->add_option(
          "--rows", flags->rows,
          "number of rows, the first of the input, which the workers share in memory; 0: all")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--seed", flags->job.run.seed, "seed of the permutation (default 0)");
  command->add_option("--output", flags->output, "also write all digits to this file, as JSON");
}

Status ExplainCommand(const ExplainFlags& flags, MpiSession* session) {
  PEPNET_ASSIGN_OR_RETURN(JobConfig config, LoadConfig(flags.config));
  if (config.eval_input_path.empty()) {
    return InvalidInput("there are no rows to explain the model on: eval_input_path is empty in ",
                        flags.config.pipeline_config_path,
                        "; set it there or pass --eval_input_path");
  }
  // The check comes before the rows are read, which takes long: a file of another kind is not
  // replaced.
  if (!flags.output.empty()) {
    PEPNET_RETURN_IF_ERROR(CheckReplaceable("--output", flags.output, {kJsonBeginning}));
  }
  const auto work = [&](const WorkerContext& context) -> Status {
    const std::string path =
        flags.checkpoint_path.empty() ? config.model_dir : flags.checkpoint_path;
    PEPNET_ASSIGN_OR_RETURN(
        InferenceModel inference,
        OpenForInference(context, path, ValuesFor(context.config->eval.uses_averages)));
    // The rows stay in memory, since each feature needs another pass over them (docs/explain.md).
    PEPNET_ASSIGN_OR_RETURN(RowBlocks rows,
                            ReadRowBlocks(context, config.eval_input_path, flags.rows, kGateRows));
    PEPNET_ASSIGN_OR_RETURN(const Importance importance,
                            ExplainFeatures(context, inference.model.get(), &rows,
                                            inference.finished_steps, context.options.seed));
    // The rest is no collective operation: worker 0 has the first rows itself.
    if (!context.first()) return absl::OkStatus();
    LOG(INFO) << "explained " << inference.checkpoint << " on " << config.eval_input_path;
    PEPNET_ASSIGN_OR_RETURN(const GateStatistics gates, MeasureGates(context, inference, &rows));
    std::cout << ImportanceTables(importance) << std::endl;
    if (const std::string table = GateTable(gates); !table.empty()) {
      std::cout << "\n" << table << std::endl;
    }
    if (flags.output.empty()) return absl::OkStatus();
    // The run names all that the figures depend on, so that they can be computed again.
    const ExplainedRun run{inference.checkpoint, config.eval_input_path, inference.finished_steps,
                           context.options.seed};
    PEPNET_RETURN_IF_ERROR(
        WriteFileAtomically(flags.output, ExplanationJson(run, importance, gates) + "\n"));
    LOG(INFO) << "written to " << flags.output;
    return absl::OkStatus();
  };
  return NameInputFlags(flags.config, RunJob(config, flags.job, session, work));
}

}  // namespace pepnet

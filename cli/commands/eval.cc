#include <CLI/CLI.hpp>
#include <iostream>

#include "absl/strings/strip.h"
#include "cli/commands/commands.h"
#include "cli/job/job.h"
#include "cli/job/load_config.h"
#include "common/base/logging.h"
#include "common/file/file.h"
#include "worker/eval/evaluator.h"
#include "worker/eval/inference.h"
#include "worker/report/run_log.h"
#include "worker/report/slice_report.h"

namespace pepnet {
namespace {

// The file of the slices beside a file of results: eval_result.txt has eval_result_slices.jsonl.
std::string SlicesFile(const std::string& result_file) {
  return absl::StrCat(absl::StripSuffix(result_file, ".txt"), "_slices.jsonl");
}

}  // namespace

void AddEvalFlags(CLI::App* command, EvalFlags* flags) {
  AddConfigFlags(command, &flags->config);
  AddJobFlags(command, &flags->job);
  command->add_option("--model_dir", flags->config.model_dir, "overrides the config's");
  AddCheckpointPathFlag(command, &flags->checkpoint_path);
  command->add_option("--eval_input_path", flags->config.eval_input_path, "comma list of paths and globs");
  command->add_option("--eval_result_filename", flags->eval_result_filename,
                      "file in model_dir to append the result to");
}

Status EvalCommand(const EvalFlags& flags, MpiSession* session) {
  PEPNET_ASSIGN_OR_RETURN(JobConfig config, LoadConfig(flags.config));
  if (config.eval_input_path.empty()) {
    return InvalidInput("there is nothing to evaluate: eval_input_path is empty in ", flags.config.pipeline_config_path,
                        "; set it there or pass --eval_input_path");
  }
  return RunJob(config, flags.job, session, [&](const WorkerContext& context) -> Status {
    const std::string path = flags.checkpoint_path.empty() ? config.model_dir : flags.checkpoint_path;
    PEPNET_ASSIGN_OR_RETURN(InferenceModel inference, OpenForInference(context, path));
    PEPNET_ASSIGN_OR_RETURN(const EvaluationResult result,
                            Evaluate(context, inference.model.get(), config.eval_input_path, inference.finished_steps));
    if (!context.first()) return absl::OkStatus();
    LOG(INFO) << "evaluated " << inference.checkpoint << " on " << config.eval_input_path;
    LogSlicesAndWarnings(result);
    const std::string line = EvaluationJson(result);
    std::cout << line << std::endl;
    const bool is_path = flags.eval_result_filename.find('/') != std::string::npos;
    if (!is_path) PEPNET_RETURN_IF_ERROR(MakeDirectories(config.model_dir));
    const std::string file = is_path ? flags.eval_result_filename : config.model_dir + "/" + flags.eval_result_filename;
    if (!result.slices.empty()) {
      PEPNET_RETURN_IF_ERROR(AppendToFile(SlicesFile(file), SliceJson(result.step, result.slices)));
    }
    LOG(INFO) << "appended to " << file;
    return AppendToFile(file, line + "\n");
  });
}

}  // namespace pepnet

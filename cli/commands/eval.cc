#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>

#include "absl/strings/str_format.h"
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

// "auc 0.7012 [0.6950, 0.7071]"; a figure without a value on these rows, or in any round, has no
// interval.
std::string IntervalText(const char* name, const std::optional<Interval>& interval) {
  if (!interval.has_value()) return absl::StrCat(name, " has none");
  return absl::StrFormat("%s %.4f [%.4f, %.4f]", name, interval->value, interval->low,
                         interval->high);
}

void LogIntervals(const std::vector<TaskIntervals>& intervals) {
  for (const TaskIntervals& task : intervals) {
    LOG(INFO) << "95 % intervals of " << task.task << ": " << IntervalText("auc", task.auc) << "  "
              << IntervalText("logloss", task.logloss) << "  " << IntervalText("pcoc", task.pcoc)
              << "  (" << task.rounds << " rounds)";
  }
}

// The file of the result: a name alone lies in model_dir.
std::string ResultFile(const EvalFlags& flags, const JobConfig& config) {
  // A name with a slash is a path from where the command runs, as everywhere else.
  const bool is_path = flags.eval_result_filename.find('/') != std::string::npos;
  return is_path ? flags.eval_result_filename : config.model_dir + "/" + flags.eval_result_filename;
}

// Before the evaluation: a line at the end of a file of another kind would damage it, a
// checkpoint's manifest as well.
Status CheckResultFile(const std::string& path) {
  const std::filesystem::path file(path);
  if (file.filename() == "train_eval_result.txt" || file.filename() == "train_eval_slices.jsonl") {
    return InvalidInput("--eval_result_filename ", path,
                        " is where a training keeps its own evaluations, which it goes on from; "
                        "choose another name");
  }
  for (const std::string& name : {path, SlicesFile(path)}) {
    std::error_code error;
    // /dev/null and pipes are fine to append to, and have no beginning that could be compared.
    if (std::filesystem::exists(name, error) && !std::filesystem::is_regular_file(name, error)) {
      continue;
    }
    PEPNET_RETURN_IF_ERROR(CheckReplaceable("--eval_result_filename", name, {"{\"global_step\":"}));
  }
  return absl::OkStatus();
}

}  // namespace

void AddEvalFlags(CLI::App* command, EvalFlags* flags) {
  AddTrainedConfigFlags(command, &flags->config);
  AddJobFlags(command, &flags->job);
  AddCheckpointPathFlag(command, &flags->checkpoint_path);
  command->add_option("--eval_input_path", flags->config.eval_input_path,
                      "comma list of paths and globs");
  command->add_option("--eval_result_filename", flags->eval_result_filename,
                      "file in model_dir to append the result to");
  command
      ->add_option(
          "--bootstrap", flags->bootstrap,
          "number of resamples for 95 % bootstrap intervals of auc, logloss and pcoc by task")
      ->check(CLI::Range(0, 1000000, "a number of rounds from 0 to 1000000"));
  command->add_option("--seed", flags->job.run.seed, "seed of --bootstrap (default 0)");
}

Status EvalCommand(const EvalFlags& flags, MpiSession* session) {
  PEPNET_ASSIGN_OR_RETURN(JobConfig config, LoadConfig(flags.config));
  if (config.eval_input_path.empty()) {
    return InvalidInput("there is nothing to evaluate: eval_input_path is empty in ",
                        flags.config.pipeline_config_path,
                        "; set it there or pass --eval_input_path");
  }
  const auto work = [&](const WorkerContext& context) -> Status {
    const std::string file = ResultFile(flags, config);
    if (context.first()) PEPNET_RETURN_IF_ERROR(CheckResultFile(file));
    // The newest complete checkpoint of model_dir is taken where no --checkpoint_path is given.
    const std::string path =
        flags.checkpoint_path.empty() ? config.model_dir : flags.checkpoint_path;
    PEPNET_ASSIGN_OR_RETURN(
        InferenceModel inference,
        OpenForInference(context, path, ValuesFor(context.config->eval.uses_averages)));
    PEPNET_ASSIGN_OR_RETURN(const EvaluationResult result,
                            Evaluate(context, inference.model.get(), config.eval_input_path,
                                     inference.finished_steps, {flags.bootstrap}));
    // Every worker has the result, one reports it.
    if (!context.first()) return absl::OkStatus();
    LOG(INFO) << "evaluated " << inference.checkpoint << " on " << config.eval_input_path;
    LogIntervals(result.intervals);
    LogSlicesAndWarnings(result);
    // One line of JSON, the same as a training appends to train_eval_result.txt.
    const std::string line = EvaluationJson(result);
    std::cout << line << std::endl;
    if (flags.eval_result_filename.find('/') == std::string::npos) {
      PEPNET_RETURN_IF_ERROR(MakeDirectories(config.model_dir));
    }
    // Slices go first: a reader that finds the line of the result finds its slices, too.
    if (!result.slices.empty()) {
      PEPNET_RETURN_IF_ERROR(AppendToFile(SlicesFile(file), SliceJson(result.step, result.slices)));
    }
    LOG(INFO) << "appended to " << file;
    return AppendToFile(file, line + "\n");
  };
  return NameInputFlags(flags.config, RunJob(config, flags.job, session, work));
}

}  // namespace pepnet

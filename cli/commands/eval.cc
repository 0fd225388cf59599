#include <iostream>

#include "cli/commands/commands.h"
#include "cli/job/job.h"
#include "cli/job/load_config.h"
#include "common/base/logging.h"
#include "common/file/file.h"
#include "worker/eval/evaluator.h"
#include "worker/eval/inference.h"
#include "worker/report/run_log.h"

namespace pepnet {

Status EvalCommand(const ConfigFlags& config_flags, const JobFlags& job_flags, const EvalFlags& flags,
                   MpiSession* session) {
  PEPNET_ASSIGN_OR_RETURN(JobConfig config, LoadConfig(config_flags));
  if (config.eval_input_path.empty()) {
    return InvalidInput("there is nothing to evaluate: eval_input_path is empty in ", config_flags.pipeline_config_path,
                        "; set it there or pass --eval_input_path");
  }
  return RunJob(config, job_flags, session, [&](const WorkerContext& context) -> Status {
    const std::string path = flags.checkpoint_path.empty() ? config.model_dir : flags.checkpoint_path;
    PEPNET_ASSIGN_OR_RETURN(InferenceModel inference, OpenForInference(context, path));
    PEPNET_ASSIGN_OR_RETURN(auto values,
                            Evaluate(context, inference.model.get(), config.eval_input_path, inference.finished_steps));
    if (!context.first()) return absl::OkStatus();
    LOG(INFO) << "evaluated " << inference.checkpoint << " on " << config.eval_input_path;
    const std::string line = EvaluationJson({inference.finished_steps, values});
    std::cout << line << std::endl;
    const bool is_path = flags.eval_result_filename.find('/') != std::string::npos;
    if (!is_path) PEPNET_RETURN_IF_ERROR(MakeDirectories(config.model_dir));
    return AppendToFile(is_path ? flags.eval_result_filename : config.model_dir + "/" + flags.eval_result_filename,
                        line + "\n");
  });
}

}  // namespace pepnet

#include "cli/commands/commands.h"
#include "cli/job/job.h"
#include "cli/job/load_config.h"
#include "common/base/logging.h"
#include "worker/eval/inference.h"
#include "worker/eval/predictor.h"

namespace pepnet {

Status PredictCommand(const ConfigFlags& config_flags, const JobFlags& job_flags, const PredictFlags& flags,
                      MpiSession* session) {
  PEPNET_ASSIGN_OR_RETURN(JobConfig config, LoadConfig(config_flags, /*ignore_unknown_fields=*/true));
  return RunJob(config, job_flags, session, [&](const WorkerContext& context) -> Status {
    const std::string path = flags.checkpoint_path.empty() ? config.model_dir : flags.checkpoint_path;
    PEPNET_ASSIGN_OR_RETURN(InferenceModel inference, OpenForInference(context, path));
    PredictRequest request;
    request.input_path = flags.predict_input_path;
    request.output_path = flags.predict_output_path;
    request.reserved_columns = flags.reserved_columns;
    request.output_columns = flags.output_columns;
    request.csv = flags.writer_type == "CsvWriter";
    request.batch_size = flags.batch_size;
    PEPNET_ASSIGN_OR_RETURN(int64_t rows, Predict(context, inference.model.get(), request, inference.finished_steps));
    if (context.first()) {
      LOG(INFO) << "predicted " << rows << " rows with " << inference.checkpoint << " into "
                << flags.predict_output_path;
    }
    return absl::OkStatus();
  });
}

}  // namespace pepnet

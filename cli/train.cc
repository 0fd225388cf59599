#include <iostream>

#include "absl/strings/str_format.h"
#include "cli/commands.h"
#include "cli/job.h"
#include "common/base/logging.h"
#include "common/base/stop_signal.h"
#include "common/checkpoint/checkpoint.h"
#include "worker/train/run_log.h"
#include "worker/train/trainer.h"

namespace pepnet {
namespace {

// What is about to run, once, before anything is trained.
void LogPlan(const WorkerContext& context) {
  const JobConfig& config = *context.config;
  int64_t dense = 0;
  for (const ParameterSpec& spec : DenseParameterList(config)) dense += spec.elements();
  double table_bytes = 0;
  for (const Table& table : config.tables) {
    const int state = SparseStateDim(config.train.sparse_optimizer.kind, table.dim);
    table_bytes += static_cast<double>(table.rows) * (table.dim + state) * sizeof(float);
  }
  LOG(INFO) << "pepnet " << PEPNET_VERSION << ": " << context.collective->count() << " worker(s) with "
            << context.options.threads << " thread(s), " << context.client->server_count() << " server(s); " << config.tables.size()
            << " tables, at most " << absl::StrFormat("%.1f", table_bytes / 1048576) << " MiB with optimizer state; " << dense
            << " dense parameters; global batch " << config.data.batch_size * context.collective->count() << "; model_dir "
            << config.model_dir;
}

}  // namespace

Status TrainCommand(const ConfigFlags& config_flags, const JobFlags& job_flags, MpiSession* session) {
  PEPNET_ASSIGN_OR_RETURN(JobConfig config, LoadConfig(config_flags));
  Status stopped;  // set if the run ended early, with its state saved
  PEPNET_RETURN_IF_ERROR(RunJob(config, job_flags, session, [&](const WorkerContext& context) -> Status {
    if (context.first()) LogPlan(context);
    Trainer trainer(context);
    PEPNET_RETURN_IF_ERROR(trainer.Run());
    if (context.first() && !trainer.evaluation().empty()) {
      std::cout << EvaluationJson(trainer.state().counters.finished_steps, trainer.evaluation()) << std::endl;
    }
    if (trainer.stopped()) {
      const int64_t step = trainer.state().counters.finished_steps;
      stopped = StoppedOnRequest(absl::StrCat("stopped on request after step ", step, "; ", config.model_dir, "/",
                                              CheckpointName(step), " is saved, go on with --continue_train"));
    }
    return absl::OkStatus();
  }));
  return stopped;
}

}  // namespace pepnet

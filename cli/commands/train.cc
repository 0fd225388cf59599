#include <iostream>

#include "cli/commands/commands.h"
#include "cli/commands/train_plan.h"
#include "cli/job/job.h"
#include "cli/job/load_config.h"
#include "common/base/logging.h"
#include "common/checkpoint/checkpoint.h"
#include "common/process/stop_signal.h"
#include "common/process/trace.h"
#include "worker/report/run_log.h"
#include "worker/train/trainer.h"

namespace pepnet {
namespace {

// What is about to run, once, before anything is trained.
void LogPlan(const WorkerContext& context, bool colocated) {
  const TrainRanks ranks{context.worker_ranks, context.client->server_count(), context.options.threads, colocated};
  LOG(INFO) << "pepnet " << PEPNET_VERSION << ": " << TrainPlan(*context.config, ranks);
  for (const std::string& warning : PlanWarnings(*context.config)) LOG(WARNING) << warning;
}

// Null without --trace_path.
StatusOr<std::unique_ptr<TraceRecording>> StartTrace(const std::string& path, MpiSession* session) {
  if (path.empty()) return std::unique_ptr<TraceRecording>();
  if (session == nullptr || session->transport()->size() == 1) return TraceRecording::Start(path, 0);
  const int rank = session->transport()->rank();
  return TraceRecording::Start(TracePathOfRank(path, rank), rank);
}

Status FinishTrace(TraceRecording* trace) {
  if (trace == nullptr) return absl::OkStatus();
  PEPNET_ASSIGN_OR_RETURN(const int64_t left_out, trace->Finish());
  if (left_out > 0) {
    LOG(WARNING) << "the trace holds the first " << kMaxTraceEvents << " events of this rank; " << left_out
                 << " later ones are left out";
  }
  return absl::OkStatus();
}

}  // namespace

Status TrainCommand(const ConfigFlags& config_flags, const JobFlags& given_flags, MpiSession* session) {
  JobFlags job_flags = given_flags;
  job_flags.trains = true;
  PEPNET_ASSIGN_OR_RETURN(JobConfig config, LoadConfig(config_flags));
  PEPNET_ASSIGN_OR_RETURN(const std::unique_ptr<TraceRecording> trace, StartTrace(job_flags.trace_path, session));
  Status stopped;  // set if the run ended early, with its state saved
  const bool colocated = job_flags.placement == "colocated" && session != nullptr && session->transport()->size() > 1;
  const Status trained = RunJob(config, job_flags, session, [&](const WorkerContext& context) -> Status {
    if (context.first()) LogPlan(context, colocated);
    Trainer trainer(context);
    PEPNET_RETURN_IF_ERROR(trainer.Run());
    if (context.first() && !trainer.evaluation().values.empty())
      std::cout << EvaluationJson(trainer.evaluation()) << std::endl;
    if (trainer.stopped()) {
      const int64_t step = trainer.state().counters.finished_steps;
      stopped = StoppedOnRequest(absl::StrCat("stopped on request after step ", step, "; ", config.model_dir, "/",
                                              CheckpointName(step), " is saved, go on with --continue_train"));
    }
    return absl::OkStatus();
  });
  const Status traced = FinishTrace(trace.get());  // also of a job that failed: it shows where
  PEPNET_RETURN_IF_ERROR(trained);
  PEPNET_RETURN_IF_ERROR(traced);
  return stopped;
}

}  // namespace pepnet

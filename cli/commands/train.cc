#include <CLI/CLI.hpp>
#include <iostream>

#include "cli/commands/commands.h"
#include "cli/commands/train_plan.h"
#include "cli/job/job.h"
#include "cli/job/load_config.h"
#include "common/base/log_functions.h"
#include "common/base/logging.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "common/process/stop_signal.h"
#include "common/process/trace.h"
#include "worker/checkpoint/best_checkpoint.h"
#include "worker/report/run_log.h"
#include "worker/train/trainer.h"

namespace pepnet {
namespace {

// Logs the plan of the run once, before anything is trained. Settings that look wrong are logged,
// and returned.
std::vector<Warning> LogPlan(const WorkerContext& context, bool colocated) {
  const TrainRanks ranks{context.worker_ranks, context.client->server_count(),
                         context.options.threads, colocated};
  // The whole plan is long; the short one has what a user checks before going away.
  if (LogsVerbosely()) {
    LOG(INFO) << "pepnet " << PEPNET_VERSION << ": " << TrainPlan(*context.config, ranks);
  } else {
    const std::vector<std::string> brief = BriefTrainPlan(*context.config, ranks);
    LOG(INFO) << "pepnet " << PEPNET_VERSION << ": " << brief[0];
    for (size_t i = 1; i < brief.size(); ++i) LOG(INFO) << brief[i];
  }
  std::vector<Warning> warnings = PlanWarnings(*context.config);
  for (const Warning& warning : warnings) LOG(WARNING) << warning.text;
  return warnings;
}

// Logs where the results are, and what can be done with them.
void LogWhatIsThere(const JobConfig& config, int64_t step) {
  const bool best = PathExists(absl::StrCat(config.model_dir, "/", kBestCheckpointFile));
  LOG(INFO) << CheckpointName(step)
            << (config.eval_input_path.empty() ? "" : ", train_eval_result.txt")
            << " and metrics.jsonl are in " << config.model_dir << "; next: pepnet report "
            << config.model_dir << " -o report.html, pepnet inspect " << config.model_dir
            << (best ? " --checkpoint_path best" : "")
            << ", or pepnet predict (eval, export) --model_dir " << config.model_dir
            << (best ? " --checkpoint_path best" : "");
}

// Null without --trace_path. Each rank writes a file of its own: ranks may be on hosts without a
// common directory.
StatusOr<std::unique_ptr<TraceRecording>> StartTrace(const std::string& path, MpiSession* session) {
  if (path.empty()) return std::unique_ptr<TraceRecording>();
  if (session == nullptr || session->transport()->size() == 1) {
    return TraceRecording::Start(path, 0);
  }
  const int rank = session->transport()->rank();
  return TraceRecording::Start(TracePathOfRank(path, rank), rank);
}

Status FinishTrace(TraceRecording* trace) {
  if (trace == nullptr) return absl::OkStatus();
  PEPNET_ASSIGN_OR_RETURN(const int64_t left_out, trace->Finish());
  if (left_out > 0) {
    LOG(WARNING) << "the trace holds the first " << kMaxTraceEvents << " events of this rank; "
                 << left_out << " later ones are left out";
  }
  return absl::OkStatus();
}

}  // namespace

void AddTrainFlags(CLI::App* command, TrainFlags* flags) {
  AddConfigFlags(command, &flags->config);
  flags->config.for_training = true;
  AddJobFlags(command, &flags->job);
  command->add_option("--model_dir", flags->config.model_dir, "where checkpoints and logs go");
  command->add_option("--train_input_path", flags->config.train_input_path,
                      "comma list of paths and globs");
  command->add_option("--eval_input_path", flags->config.eval_input_path,
                      "comma list of paths and globs");
  command->add_option("--fine_tune_checkpoint", flags->config.fine_tune_checkpoint,
                      "start from these weights");
  command->add_flag("--continue_train", flags->job.run.continue_train,
                    "go on from the newest checkpoint in model_dir");
  command->add_option("--checkpoint_path", flags->job.run.checkpoint_path,
                      "with --continue_train: go on from this model.ckpt-N of model_dir; newer "
                      "ones are renamed to *.rejected");
  command->add_flag("--ignore_restore_optimizer", flags->job.run.ignore_restore_optimizer,
                    "with --continue_train: restore weights and position, but no optimizer state");
  command
      ->add_option(
          "--restart_data_at_step", flags->job.run.restart_data_at_step,
          "with --continue_train from this step: read the given files from their first row, "
          "whatever was read before; it takes effect once, so a restarted job goes on")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--share_reader", flags->job.share_reader,
                   "the workers of a host decode the training data together: on, off, or where it "
                   "is cheaper (auto)")
      ->check(CLI::IsMember({"auto", "on", "off"}));
  command->add_option(
      "--metrics_textfile", flags->job.run.metrics_textfile,
      "keep step, losses, metrics and speed in this file, in Prometheus' text format");
  command->add_option("--trace_path", flags->job.trace_path,
                      "record the stages of each thread for ui.perfetto.dev; under mpirun "
                      "trace.json becomes trace-<rank>.json");
  // A seed that is given must agree with that of a checkpoint that is continued; the default must
  // not.
  CLI::Option* seed = command->add_option(
      "--seed", flags->job.run.seed, "seed of initial values, dropout and shuffle (default 0)");
  command->callback([flags, seed] { flags->job.run.seed_given = seed->count() > 0; });
}

Status TrainCommand(const TrainFlags& flags, MpiSession* session) {
  JobFlags job = flags.job;
  job.trains = true;
  PEPNET_ASSIGN_OR_RETURN(JobConfig config, LoadConfig(flags.config));
  PEPNET_ASSIGN_OR_RETURN(const std::unique_ptr<TraceRecording> trace,
                          StartTrace(job.trace_path, session));
  Status stopped;  // set if the run ended early, with its state saved
  const bool colocated =
      job.placement == "colocated" && session != nullptr && session->transport()->size() > 1;
  const Status trained = RunJob(config, job, session, [&](const WorkerContext& context) -> Status {
    Trainer trainer(context);
    // The warnings of the plan go to warnings.jsonl as well, where a report finds them.
    if (context.first()) trainer.KeepWarnings(LogPlan(context, colocated));
    PEPNET_RETURN_IF_ERROR(trainer.Run());
    // The last evaluation is the result of the command, on stdout as `pepnet eval` prints its own.
    if (context.first() && !trainer.evaluation().values.empty()) {
      std::cout << EvaluationJson(trainer.evaluation()) << std::endl;
    }
    const int64_t step = trainer.state().counters.finished_steps;
    if (context.first() && !trainer.stopped()) {
      LogWhatIsThere(config, step);
    }
    // A stop on request is no success: its status tells a scheduler to start the job again.
    if (trainer.stopped()) {
      stopped = StoppedOnRequest(absl::StrCat("stopped on request after step ", step, "; ",
                                              config.model_dir, "/", CheckpointName(step),
                                              " is saved, go on with --continue_train"));
    }
    return absl::OkStatus();
  });
  const Status traced = FinishTrace(trace.get());  // also of a job that failed: it shows where
  // The first cause wins: an error of the training over one of its trace.
  PEPNET_RETURN_IF_ERROR(NameInputFlags(flags.config, trained));
  PEPNET_RETURN_IF_ERROR(traced);
  return stopped;
}

}  // namespace pepnet

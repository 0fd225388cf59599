// pepnet: one binary, one command per file (cli/commands/<command>.cc). This file binds flags and ends the process.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "absl/strings/numbers.h"
#include "cli/bench/bench.h"
#include "cli/commands/commands.h"
#include "cli/inspect/inspect_command.h"
#include "cli/job/arguments.h"
#include "cli/job/device_flags.h"
#include "cli/job/output.h"
#include "cli/plan/plan.h"
#include "common/base/logging.h"
#include "common/base/mutex.h"
#include "common/base/text.h"
#include "common/health/job_watch.h"
#include "common/net/cluster.h"
#include "common/process/keep_freed_memory.h"
#include "common/process/stop_signal.h"

namespace pepnet {
namespace {

constexpr char kVersion[] = PEPNET_VERSION;
const CLI::Range kCount(1, 1 << 30, "a whole number from 1");
const CLI::Range kSeconds(0.001, 1e9, "a positive number of seconds");

void AddConfigFlags(CLI::App* command, ConfigFlags* flags) {
  command->add_option("--pipeline_config_path", flags->pipeline_config_path, "pipeline config (text protobuf)")
      ->required();
  command->add_option(
      "--edit_config_json", flags->edit_config_json,
      R"(changes as JSON: {"train_config.num_steps": 10, "feature_configs[0].id_feature.num_buckets": 5})");
}

void AddJobFlags(CLI::App* command, JobFlags* flags) {
  command
      ->add_option("--num_servers", flags->num_servers,
                   "ranks that serve (mpirun), or server threads (one process; default 1)")
      ->check(kCount);
  command
      ->add_option("--placement", flags->placement,
                   "under mpirun: dedicated (--num_servers ranks serve), or colocated (each rank works and serves)")
      ->check(CLI::IsMember({"dedicated", "colocated"}));
  command
      ->add_option("--threads", flags->threads,
                   "computing threads per worker (default OMP_NUM_THREADS, else cores / ranks)")
      ->check(kCount);
  command->add_option("--timeout_s", flags->run.timeout_s, "deadline of every wait within a step, in seconds")
      ->check(kSeconds);
  command
      ->add_option("--phase_timeout_s", flags->run.phase_timeout_s,
                   "deadline of saving, restoring and verifying, in seconds")
      ->check(kSeconds);
  command->add_option("--hash", flags->hash, "string hash of hash_bucket_size: std (libstdc++) or farm")
      ->check(CLI::IsMember({"std", "farm"}));
  command
      ->add_option("--weight_normalization", flags->weight_normalization,
                   "task weights are normalised over the global batch, or per worker as the reference does (local)")
      ->check(CLI::IsMember({"global", "local"}));
  command
      ->add_option(
          "--dense_engine", flags->dense_engine,
          "fused: skips rows that add nothing to a task; reference: plain libtorch, the same numbers but for rounding")
      ->check(CLI::IsMember({"fused", "reference"}));
  AddDeviceFlags(command, flags);
  command
      ->add_option("--wire_dtype", flags->wire_dtype,
                   "rows and gradients between workers and servers: float32, or half the bytes with bfloat16 or "
                   "float16, rounded")
      ->check(CLI::IsMember({"float32", "bfloat16", "float16"}));
  command->add_flag("--clamp_out_of_range", flags->run.clamp_out_of_range,
                    "ids out of range read row 0 instead of ending the job");
  command->add_flag("--no_verify", flags->no_verify, "do not read the contents of checkpoint files before using them");
  command->add_option(
      "--inject", flags->inject,
      "rehearse failures: \"kill:rank=1,step=17\", \"kill:point=after_fsync,nth=3\", \"fail-write:nth=3\", "
      "\"enospc:after=1MB\", \"delay:max_ms=5\", ...; several are separated by ';' (docs/reliability.md)");
}

// The last line on stderr is the cause. Ranks beside the first wait a moment: where all have the same error, one says it.
// Called by main() and by the watchdog, whichever comes first.
[[noreturn]] void Fail(const Status& status, MpiSession* session, JobWatch* watch) {
  static Mutex once;
  once.Lock();  // never unlocked: the process ends here
  if (watch != nullptr) watch->Fail(status);
  if (session != nullptr && session->transport()->rank() != 0) usleep(1000 * 1000);
  std::fflush(stdout);
  std::cerr << "pepnet: " << PrintableMessage(std::string(status.message()), /*keep_lines=*/false) << std::endl;
  if (session != nullptr) session->Abort(1);
  std::_Exit(1);
}

// The same for a command line that cannot be understood; nothing has been started yet.
[[noreturn]] void FailUsage(const std::string& message) {
  std::cerr << "pepnet: " << PrintableMessage(message, /*keep_lines=*/false) << std::endl;
  std::_Exit(kUsageExitStatus);
}

int Main(int argc, char** argv) {
  InitLogging(argv[0], "");
  CLI::App app("pepnet trains PEPNet with parameter servers: one process, or many under mpirun.", "pepnet");
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::simple);

  ConfigFlags config;
  JobFlags job;
  EvalFlags eval_flags;
  PredictFlags predict_flags;
  ExportFlags export_flags;
  ImportFlags import_flags;
  InspectFlags inspect_flags;
  Status status = absl::OkStatus();
  std::unique_ptr<MpiSession> session;
  // Commands that write one thing are one process.
  auto alone = [&](const char* command) -> Status {
    const char* ranks = std::getenv("OMPI_COMM_WORLD_SIZE");
    int count = 0;  // mpirun wrote it: what is no number is not mpirun's
    if (ranks == nullptr || !absl::SimpleAtoi(ranks, &count) || count <= 1) return absl::OkStatus();
    return InvalidInput(command, " runs as one process, not as ", ranks, " ranks; write it without mpirun");
  };
  std::unique_ptr<JobWatch> watch;                     // of commands that run as a job; ends before the session
  std::atomic<JobWatch*> watch_for_signals = nullptr;  // the same, for the thread that meets signals
  std::unique_ptr<StopSignal> stop;
  // Commands that run as a job join the other ranks first.
  auto join = [&]() -> Status {
    if (MpiSession::StartedByLauncher()) {
      PEPNET_ASSIGN_OR_RETURN(session, MpiSession::Start());
      SetLogLabel(absl::StrCat("rank ", session->transport()->rank()));
    }
    const bool one_process = session == nullptr || session->transport()->size() == 1;
    watch = std::make_unique<JobWatch>(one_process ? nullptr : session->transport(), job.run.timeout_s,
                                       [&](const Status& error) { Fail(error, session.get(), watch.get()); });
    job.run.watch = watch.get();
    watch_for_signals = watch.get();
    return absl::OkStatus();
  };

  CLI::App* train = app.add_subcommand("train", "train and evaluate");
  AddConfigFlags(train, &config);
  AddJobFlags(train, &job);
  train->add_option("--model_dir", config.model_dir, "where checkpoints and logs go");
  train->add_option("--train_input_path", config.train_input_path, "comma list of paths and globs");
  train->add_option("--eval_input_path", config.eval_input_path, "comma list of paths and globs");
  train->add_option("--fine_tune_checkpoint", config.fine_tune_checkpoint, "start from these weights");
  train->add_flag("--continue_train", job.run.continue_train, "go on from the newest checkpoint in model_dir");
  train->add_option(
      "--checkpoint_path", job.run.checkpoint_path,
      "with --continue_train: go on from this model.ckpt-N of model_dir; newer ones are renamed to *.rejected");
  train
      ->add_option("--restart_data_at_step", job.run.restart_data_at_step,
                   "with --continue_train from this step: read the given files from their first row, whatever was read "
                   "before; once, so a job that is started again with it goes on")
      ->check(CLI::NonNegativeNumber);
  train
      ->add_option("--share_reader", job.share_reader,
                   "the workers of a host decode the training data together: on, off, or where it is cheaper (auto)")
      ->check(CLI::IsMember({"auto", "on", "off"}));
  train->add_option("--metrics_textfile", job.run.metrics_textfile,
                    "keep step, losses, metrics and speed in this file, in Prometheus' text format");
  train->add_option(
      "--trace_path", job.trace_path,
      "write what each thread did when, for ui.perfetto.dev; under mpirun trace.json becomes trace-<rank>.json");
  CLI::Option* seed =
      train->add_option("--seed", job.run.seed, "seed of initial values, dropout and shuffle (default 0)");
  train->callback([&] {
    job.run.seed_given = seed->count() > 0;
    stop = std::make_unique<StopSignal>(MpiSession::StartedByLauncher(), [&](int signal) {
      JobWatch* const now = watch_for_signals;
      LOG(WARNING) << (now == nullptr ? absl::StrCat("ended by ", SignalName(signal))
                                      : now->EndedBy(SignalName(signal)));
      LingerBeforeExit();
      std::_Exit(128 + signal);
    });
    job.run.stop_request = &stop->requested();
    status = join();
    if (status.ok()) status = TrainCommand(config, job, session.get());
    if (status.ok()) watch->Close("done");
    if (IsStoppedOnRequest(status)) watch->Close("stopped");
  });

  CLI::App* eval = app.add_subcommand("eval", "metrics of a checkpoint on a data set");
  AddConfigFlags(eval, &config);
  AddJobFlags(eval, &job);
  eval->add_option("--model_dir", config.model_dir, "overrides the config's");
  eval->add_option("--checkpoint_path", eval_flags.checkpoint_path, "model.ckpt-N or its parent (default: model_dir)");
  eval->add_option("--eval_input_path", config.eval_input_path, "comma list of paths and globs");
  eval->add_option("--eval_result_filename", eval_flags.eval_result_filename,
                   "file in model_dir to append the result to");
  eval->callback([&] {
    status = join();
    if (status.ok()) status = EvalCommand(config, job, eval_flags, session.get());
  });

  CLI::App* predict = app.add_subcommand("predict", "probabilities and logits of every row");
  AddConfigFlags(predict, &config);
  AddJobFlags(predict, &job);
  predict->add_option("--model_dir", config.model_dir, "overrides the config's");
  predict->add_option("--checkpoint_path", predict_flags.checkpoint_path,
                      "model.ckpt-N or its parent (default: model_dir)");
  predict->add_option("--predict_input_path", predict_flags.predict_input_path, "comma list of paths and globs")
      ->required();
  predict->add_option("--predict_output_path", predict_flags.predict_output_path, "directory for part-NNNNN files")
      ->required();
  predict->add_flag("--overwrite", predict_flags.overwrite,
                    "replace the parts that an earlier prediction wrote there; nothing else is ever replaced");
  predict->add_option("--reserved_columns", predict_flags.reserved_columns, "input columns to copy, or ALL_COLUMNS")
      ->delimiter(',');
  predict->add_option("--output_columns", predict_flags.output_columns, "outputs to write (default: all, sorted)")
      ->delimiter(',');
  predict->add_option("--writer_type", predict_flags.writer_type, "ParquetWriter or CsvWriter")
      ->check(CLI::IsMember({"ParquetWriter", "CsvWriter"}));
  predict->add_option("--batch_size", predict_flags.batch_size, "rows per batch (default eval_batch_size)")
      ->check(kCount);
  predict->callback([&] {
    status = join();
    if (status.ok()) status = PredictCommand(config, job, predict_flags, session.get());
  });

  CLI::App* export_command =
      app.add_subcommand("export", "a checkpoint for other programs: safetensors, parquet, onnx");
  AddConfigFlags(export_command, &config);
  export_command->add_option("--model_dir", config.model_dir, "overrides the config's");
  export_command->add_option("--checkpoint_path", export_flags.checkpoint_path,
                             "model.ckpt-N or its parent (default: model_dir)");
  export_command->add_option("--export_dir", export_flags.export_dir, "directory to make; must not exist")->required();
  export_command->add_option("--format", export_flags.format,
                             "comma list of safetensors, parquet, onnx (default safetensors)");
  export_command
      ->add_option("--onnx_external_mb", export_flags.onnx_external_mb,
                   "tensors of more MiB go to model.onnx.data (default 64)")
      ->check(CLI::Range(0, 2000, "a number of MiB up to 2000"));
  export_command->add_flag("--no_verify", export_flags.no_verify,
                           "do not read the contents of checkpoint files before using them");
  export_command->callback([&] {
    status = alone("export");
    if (status.ok()) status = ExportCommand(config, export_flags);
  });

  CLI::App* import_command = app.add_subcommand("import", "model.ckpt-0 from tensors under the reference's names");
  AddConfigFlags(import_command, &config);
  import_command->add_option("--weights", import_flags.weights, "safetensors file with full [rows, dim] tables")
      ->required();
  import_command->add_option("--model_dir", config.model_dir, "where model.ckpt-0 goes (default: the config's)");
  import_command->add_option("--seed", import_flags.seed, "seed of dropout and shuffle of the run that starts from it");
  import_command->callback([&] {
    status = alone("import");
    if (status.ok()) status = ImportCommand(config, import_flags);
  });

  CLI::App* inspect = app.add_subcommand("inspect", "what a checkpoint or export holds");
  inspect->add_option("path", inspect_flags.path, "model.ckpt-N, its parent, or a safetensors file")->required();
  inspect->add_flag("--verify", inspect_flags.verify, "read every byte and recompute every digest");
  inspect->add_flag("--json", inspect_flags.json, "machine-readable");
  CLI::Option* table = inspect->add_option("--table", inspect_flags.table, "only this table");
  inspect->add_option("--id", inspect_flags.id, "one row of --table: value, optimizer state, updates")->needs(table);
  inspect->add_option("--report", inspect_flags.report, "also write the summary to this file, as an HTML page");
  inspect->add_option("--diff", inspect_flags.diff, "compare with another checkpoint");
  inspect->callback([&] { status = InspectCommand(inspect_flags); });

  CLI::App* check = app.add_subcommand("check-config", "parse, validate, print the effective config");
  AddConfigFlags(check, &config);
  check->callback([&] { status = CheckConfigCommand(config); });

  PlanFlags plan_flags;
  CLI::App* plan =
      app.add_subcommand("plan", "memory, traffic and throughput on a cluster, predicted from measured speeds");
  AddPlanFlags(plan, &plan_flags);
  plan->callback([&] {
    status = alone("plan");
    if (status.ok()) status = PlanCommand(plan_flags);
  });

  BenchFlags bench_flags;
  CLI::App* bench = app.add_subcommand("bench", "measures a part of the system beside the machine's limits");
  AddBenchFlags(bench, &bench_flags);
  bench->callback([&] {
    status = join();
    bench_flags.job.run.watch = watch.get();
    if (status.ok()) status = BenchCommand(bench_flags, session.get());
  });

  if (const Status known = CheckArguments(app, argc, argv); !known.ok()) FailUsage(std::string(known.message()));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) FailUsage(error.what());
    app.exit(error);                       // --help and --version
  } catch (const std::exception& error) {  // of a library; ours return Status
    status = absl::InternalError(error.what());
  }
  if (status.ok()) status = CheckStandardOutput();
  if (!status.ok() && !IsStoppedOnRequest(status)) Fail(status, session.get(), watch.get());
  stop.reset();
  watch.reset();  // says goodbye to the other ranks
  if (status.ok()) return 0;
  LOG(INFO) << status.message();
  return kStoppedExitStatus;
}

}  // namespace
}  // namespace pepnet

int main(int argc, char** argv) {
  pepnet::HoldStandardStreams();
  pepnet::KeepFreedMemory();
  return pepnet::Main(argc, argv);
}

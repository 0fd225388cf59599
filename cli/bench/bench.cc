#include "cli/bench/bench.h"

#include <CLI/CLI.hpp>
#include <iostream>

#include "absl/strings/str_format.h"
#include "cli/bench/limits.h"
#include "cli/job/job.h"
#include "common/base/logging.h"
#include "common/file/file.h"

namespace pepnet {
namespace {

const CLI::Range kCount(1, 1 << 30, "a whole number from 1");

// A subcommand with the flags that all of them have.
CLI::App* Add(CLI::App* bench, BenchFlags* flags, const std::string& name,
              const std::string& description) {
  CLI::App* what = bench->add_subcommand(name, description);
  what->callback([flags, name] { flags->what = name; });
  what->add_option("--json", flags->json, "file for the report as JSON");
  what->add_option("--rounds", flags->rounds, "measurements of each row")->check(kCount);
  what->add_flag("--quick", flags->quick,
                 "measure the machine's limits on small arrays: for tests, not for figures");
  return what;
}

// `data`: the benchmark reads training files, whose paths may be given in place of the config's.
void AddConfig(CLI::App* what, BenchFlags* flags, bool data) {
  AddConfigFlags(what, &flags->config);
  what->add_option("--batch_sizes", flags->batch_sizes,
                   "rows per batch, comma list (default: the config's)")
      ->delimiter(',')
      ->check(kCount);
  if (data) {
    what->add_option("--train_input_path", flags->config.train_input_path,
                     "comma list of paths and globs");
  }
}

void AddThreads(CLI::App* what, BenchFlags* flags) {
  what->add_option("--threads", flags->job.threads,
                   "computing threads (default OMP_NUM_THREADS, else cores / ranks)")
      ->check(kCount);
}

// Sizes of the table: one row of the report for each, from those that fit a cache to those that do
// not.
void AddRows(CLI::App* what, BenchFlags* flags) {
  what->add_option("--rows", flags->rows, "rows of 16 floats with Adagrad in the table, comma list")
      ->delimiter(',')
      ->check(kCount);
}

// The same, in messages of so many rows.
void AddMessages(CLI::App* what, BenchFlags* flags) {
  AddRows(what, flags);
  what->add_option("--keys", flags->keys, "rows per message")->check(kCount);
}

StatusOr<BenchReport> Measure(const BenchFlags& flags, MpiSession* session) {
  if (flags.what == "service") return ServiceBench(flags, session);
  if (flags.what == "allreduce") return AllreduceBench(flags, session);
  if (flags.what == "train") return TrainBench(flags, session);
  // Several ranks would measure each other's load and print a report each.
  if (session != nullptr && session->transport()->size() > 1) {
    return InvalidInput("bench ", flags.what, " runs as one process, not as ",
                        session->transport()->size(), " ranks; write it without mpirun");
  }
  if (flags.what == "dense") return DenseBench(flags);
  if (flags.what == "table") return TableBench(flags);
  if (flags.what == "policies") return PoliciesBench(flags);
  if (flags.what == "reader") return ReaderBench(flags);
  if (flags.what == "sparse") return SparseBench(flags);
  CHECK_EQ(flags.what, "checkpoint");
  return CheckpointBench(flags);
}

}  // namespace

void AddBenchFlags(CLI::App* bench, BenchFlags* flags) {
  bench->require_subcommand(1);

  CLI::App* dense =
      Add(bench, flags, "dense", "training steps of the dense engines on random rows, in turn");
  AddConfig(dense, flags, false);
  AddThreads(dense, flags);
  AddDeviceFlags(dense, &flags->job);
  dense->add_option("--click_rate", flags->click_rate, "share of the rows whose label is 1")
      ->check(CLI::Range(0.0, 1.0));
  dense
      ->add_option("--block_rows", flags->block_rows,
                   "largest number of rows per block of the fused engine")
      ->check(kCount);

  CLI::App* table =
      Add(bench, flags, "table", "a server's rows without messages: create, read, update");
  AddMessages(table, flags);

  CLI::App* policies =
      Add(bench, flags, "policies", "what the policies of dynamic tables cost, without messages");
  AddMessages(policies, flags);

  CLI::App* service = Add(bench, flags, "service",
                          "pull and push of 1 server and 1 worker: threads, or mpirun -n 2");
  AddMessages(service, flags);

  CLI::App* allreduce =
      Add(bench, flags, "allreduce", "sum over the workers: threads, or the ranks of mpirun");
  allreduce->add_option("--floats", flags->floats, "array sizes, comma list")
      ->delimiter(',')
      ->check(kCount);
  allreduce
      ->add_option("--workers", flags->workers,
                   "without mpirun: number of workers, which are threads")
      ->check(CLI::Range(1, 64));

  CLI::App* reader = Add(bench, flags, "reader", "training files to batches");
  AddConfig(reader, flags, true);
  reader
      ->add_option("--num_workers", flags->num_workers,
                   "decoding threads, comma list (default: the config's)")
      ->delimiter(',')
      ->check(kCount);

  reader
      ->add_option("--workers", flags->job_workers,
                   "read as the first of this number of workers, comma list")
      ->delimiter(',')
      ->check(kCount);
  reader
      ->add_option("--local_workers", flags->local_workers,
                   "number of workers that read at the same time, as threads")
      ->check(CLI::Range(1, 64));
  reader
      ->add_option("--share_reader", flags->share_reader,
                   "sharing of the decoding among these, comma list of auto, on and off")
      ->delimiter(',')
      ->check(CLI::IsMember({"auto", "on", "off"}));

  CLI::App* sparse = Add(bench, flags, "sparse",
                         "what a step does with rows: unique ids, find, pool, scatter, update");
  AddConfig(sparse, flags, true);
  AddThreads(sparse, flags);

  CLI::App* checkpoint =
      Add(bench, flags, "checkpoint", "saving, verifying and loading a server's rows");
  AddRows(checkpoint, flags);
  checkpoint->add_option("--directory", flags->directory, "directory to write to; must exist");

  CLI::App* train =
      Add(bench, flags, "train", "whole training steps: one process, or mpirun with --num_servers");
  AddConfig(train, flags, true);
  AddThreads(train, flags);
  AddDeviceFlags(train, &flags->job);
  train
      ->add_option("--scratch_dir", flags->config.model_dir,
                   "directory to make for the run, and to remove after it")
      ->required();
  train->add_option("--steps", flags->steps, "measured steps")->check(kCount);
  train->add_option("--warmup_steps", flags->warmup_steps, "steps before the first measured one")
      ->check(kCount);
  train->add_option("--num_servers", flags->job.num_servers, "as for pepnet train")->check(kCount);
  train->add_option("--placement", flags->job.placement, "as for pepnet train")
      ->check(CLI::IsMember({"dedicated", "colocated"}));
  train->add_option("--dense_engine", flags->job.dense_engine, "fused or reference")
      ->check(CLI::IsMember({"fused", "reference"}));
}

Status BenchCommand(const BenchFlags& given, MpiSession* session) {
  BenchFlags flags = given;
  // The check comes before the measurement, which may take minutes: a file that is no report of
  // this command is not replaced.
  if (!flags.json.empty() && (session == nullptr || session->transport()->rank() == 0)) {
    PEPNET_RETURN_IF_ERROR(CheckReplaceable("--json", flags.json, {"{\n \"bench\":"}));
  }
  // `threads` is a number from here on, which the report shows.
  PEPNET_ASSIGN_OR_RETURN(flags.job.threads, ThreadsOf(flags.job));
  // The share of other programs counts from before the measurement to its end.
  const OtherPrograms others;
  PEPNET_ASSIGN_OR_RETURN(BenchReport report, Measure(flags, session));
  if (report.columns.empty()) return absl::OkStatus();
  if (session == nullptr && others.Share() >= 0) {  // other ranks would count as others
    report.settings.push_back(
        {"other programs", absl::StrFormat("%.0f %% of the processors", 100 * others.Share())});
  }
  std::cout << TextOf(report) << std::flush;
  return flags.json.empty() ? absl::OkStatus() : WriteFileAtomically(flags.json, JsonOf(report));
}

}  // namespace pepnet

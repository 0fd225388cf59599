// `pepnet bench WHAT`: measures one part of the system, one row per size, and checks in the same
// run that what was measured is also correct; a wrong result is an error.
//
//   dense       the dense engines on random rows
//   table       a server's rows, without messages
//   service     one server and one worker (mpirun -n 2, or threads)
//   allreduce   the workers' sum (mpirun -n W, or threads)
//   reader      files to batches
//   checkpoint  saving and loading a server's rows
//   policies    what the policy of a dynamic table costs
//   sparse      a step's work with rows, stage by stage
//   train       whole training steps of a config (one process, or mpirun with --num_servers)
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/bench/report.h"
#include "cli/job/flags.h"
#include "common/base/status.h"
#include "common/net/cluster.h"

namespace pepnet {

struct BenchFlags {
  std::string what;    // the subcommand
  ConfigFlags config;  // dense, reader, sparse, train
  JobFlags job;
  // Dense, reader, sparse, train; empty: the config's.
  std::vector<int64_t> batch_sizes;
  // Of the table: table, policies, service, checkpoint.
  std::vector<int64_t> rows = {1000000};
  int64_t keys = 20000;  // table, policies, service: rows a message
  std::vector<int64_t> floats = {16384, 262144, 2621440};  // allreduce
  int workers = 2;                                         // allreduce without mpirun
  double click_rate = 0.06;                                // dense: rows with label 1
  // dense: rows a block of the fused engine; 0: its default
  int64_t block_rows = 0;
  // reader: decoding threads; empty: the config's
  std::vector<int> num_workers;
  // reader: workers of the job whose first ones read
  std::vector<int> job_workers = {1};
  // reader: how many of them read, as threads
  int local_workers = 1;
  std::vector<std::string> share_reader = {"auto"};  // reader: auto, on, off
  int64_t steps = 20, warmup_steps = 3;              // train
  std::string directory = ".";                       // checkpoint: where it writes
  int rounds = 5;
  bool quick = false;  // limits measured on small arrays: for tests
  std::string json;    // file to write; "" for none
};

// Declares the subcommands on `bench` and binds their flags.
void AddBenchFlags(CLI::App* bench, BenchFlags* flags);

// Runs flags.what, prints its report on stdout and writes flags.json. `session` is null without
// mpirun.
Status BenchCommand(const BenchFlags& flags, MpiSession* session);

// ---- the benchmarks; a report without columns is a rank that has nothing to say -----------------

StatusOr<BenchReport> DenseBench(const BenchFlags& flags);
StatusOr<BenchReport> TableBench(const BenchFlags& flags);
StatusOr<BenchReport> PoliciesBench(const BenchFlags& flags);
StatusOr<BenchReport> ServiceBench(const BenchFlags& flags, MpiSession* session);
StatusOr<BenchReport> AllreduceBench(const BenchFlags& flags, MpiSession* session);
StatusOr<BenchReport> ReaderBench(const BenchFlags& flags);
StatusOr<BenchReport> CheckpointBench(const BenchFlags& flags);
StatusOr<BenchReport> SparseBench(const BenchFlags& flags);
StatusOr<BenchReport> TrainBench(const BenchFlags& flags, MpiSession* session);

}  // namespace pepnet

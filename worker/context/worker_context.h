// WorkerContext: what every command that runs on workers is given. Borrows all of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "common/base/thread_team.h"
#include "common/gpu/device_collective.h"
#include "common/health/job_watch.h"
#include "common/job_config/job_config.h"
#include "common/net/collective.h"
#include "worker/data/load/batch_loader.h"
#include "worker/data/rows/reader_group.h"
#include "worker/model/pepnet_model.h"
#include "worker/sparse/ps_client.h"

namespace pepnet {

struct RunOptions {
  uint64_t seed = 0;
  bool seed_given = false;
  int threads = 1;         // computing threads of this worker
  double timeout_s = 300;  // deadline of every wait within a step
  // Deadline of the waits for saving, restoring, verifying: they grow with the tables.
  double phase_timeout_s = 7200;
  bool continue_train = false;
  // With continue_train: weights and position, but fresh optimizer state.
  bool ignore_restore_optimizer = false;
  // With continue_train: go on from this one instead of the newest ("" = newest).
  std::string checkpoint_path;
  // The given files are read from their first row there; -1: not asked for.
  int64_t restart_data_at_step = -1;
  // Not 0: somebody asks for a checkpoint and an early end (common/process/stop_signal.h). nullptr:
  // nobody can.
  const std::atomic<int>* stop_request = nullptr;
  JobWatch* watch = nullptr;  // nullptr: nobody watches
  // The file that keeps the state of the run for Prometheus ("" = nowhere).
  std::string metrics_textfile;
  bool verify_checkpoint = true;  // false: --no_verify
  bool farm_hash = false;
  bool clamp_out_of_range = false;
  bool local_weight_normalization = false;
  DenseEngine dense_engine = DenseEngine::kFused;
  ComputeDevice device = {};
  // Matrix products in bfloat16: mixed_precision asks for it, and all workers' devices have it.
  bool bf16 = false;
  // Of the training data, among the workers of a host.
  ShareReader share_reader = ShareReader::kAuto;
  // Of rows and gradients between workers and servers.
  WireDtype wire_dtype = WireDtype::kFloat32;
};

struct WorkerContext {
  const JobConfig* config = nullptr;
  RunOptions options;
  Collective* collective = nullptr;  // among the workers, for the steps
  Collective* phases = nullptr;      // among the workers, for what may take long (phase_timeout_s)
  // Among the workers' GPUs, for dense gradients; null: they go through `collective`.
  DeviceCollective* gradient_sums = nullptr;
  PsClient* client = nullptr;
  // Shares out the rows of large batches; null: the worker's thread does all.
  ThreadTeam* team = nullptr;
  std::vector<int> worker_ranks;  // transport ranks by worker index

  bool first() const { return collective->index() == 0; }
  RankStatus* status() const { return StatusOf(options.watch); }
};

// The request to BatchLoader::Open() on this worker, whatever the rows are for: one pass in
// order, its slices of batches of the config's size.
inline LoaderOptions LoaderOptionsOf(const WorkerContext& context, const std::string& input_path) {
  LoaderOptions options;
  options.input_path = input_path;
  options.batch_size = context.config->data.batch_size;
  options.worker_index = context.collective->index();
  options.worker_count = context.collective->count();
  options.farm_hash = context.options.farm_hash;
  options.clamp_out_of_range = context.options.clamp_out_of_range;
  return options;
}

// The options of MakeModel() on this worker.
inline ModelOptions ModelOptionsOf(const WorkerContext& context, uint64_t seed) {
  ModelOptions options;
  options.engine = context.options.dense_engine;
  options.seed = seed;
  options.threads = context.options.threads;
  options.device = context.options.device;
  options.bf16 = context.options.bf16;
  options.gradient_sums = context.gradient_sums;
  options.workers = context.collective;
  options.status = context.status();
  options.timeout_s = context.options.timeout_s;
  return options;
}

}  // namespace pepnet

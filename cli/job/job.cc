#include "cli/job/job.h"

#include <pthread.h>

#include <cstdlib>
#include <thread>

#include "absl/strings/numbers.h"
#include "cli/job/compute.h"
#include "cli/job/load_config.h"
#include "common/base/logging.h"
#include "common/base/mutex.h"
#include "common/base/partition.h"
#include "common/base/threads.h"
#include "common/gpu/device_collective.h"
#include "common/health/start_check.h"
#include "common/net/faulty_transport.h"
#include "common/net/in_process.h"
#include "common/process/fault_plan.h"
#include "common/process/file_faults.h"
#include "ps/server.h"
#include "worker/checkpoint/train_state.h"
#include "worker/model/torch/device/gpu.h"

namespace pepnet {
namespace {

// The number from 1 in an environment variable; 0 if it is not set. OpenMP's variables may be
// lists, of which the first counts.
StatusOr<int> EnvironmentCount(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr || *text == '\0') return 0;
  int value = 0;
  const std::string first(text, std::strcspn(text, ","));
  if (!absl::SimpleAtoi(first, &value) || value < 1) {
    return InvalidInput(
        "the environment variable ", name, " is '", text,
        "', expected a whole number from 1; change it, unset it, or give --threads");
  }
  return value;
}

StatusOr<int> DefaultThreads() {
  PEPNET_ASSIGN_OR_RETURN(const int threads, EnvironmentCount("OMP_NUM_THREADS"));
  if (threads > 0) return threads;
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  PEPNET_ASSIGN_OR_RETURN(const int ranks, EnvironmentCount("OMPI_COMM_WORLD_LOCAL_SIZE"));
  return std::max(1, cores / std::max(1, ranks));
}

// `transport` with watched waits; the same waits if nobody watches.
std::unique_ptr<Transport> Watched(JobWatch* watch, Transport* transport) {
  if (watch != nullptr) return watch->Watched(transport);
  return std::make_unique<WatchedTransport>(transport, nullptr, nullptr);
}

WorkerContext MakeContext(const JobConfig& config, const JobFlags& flags) {
  WorkerContext context;
  context.config = &config;
  context.options = flags.run;
  context.options.threads = flags.threads;  // RunJob() has chosen a number
  context.options.farm_hash = flags.hash == "farm";
  context.options.dense_engine =
      flags.dense_engine == "reference" ? DenseEngine::kReference : DenseEngine::kFused;
  context.options.local_weight_normalization = flags.weight_normalization == "local";
  context.options.verify_checkpoint = !flags.no_verify;
  context.options.share_reader = flags.share_reader == "on"    ? ShareReader::kOn
                                 : flags.share_reader == "off" ? ShareReader::kOff
                                                               : ShareReader::kAuto;
  context.options.wire_dtype = *ParseWireDtype(flags.wire_dtype);  // checked when the flag was read
  return context;
}

// The info that must be the same on all workers, or they would train different models, and the
// bytes of full tables.
RankInfo WorkerInfo(const std::string& role, const JobConfig& config, const JobFlags& flags) {
  RankInfo info = InfoOfThisRank(
      role,
      absl::StrCat(config.effective_text, "\n", flags.hash, " ", flags.weight_normalization, " ",
                   flags.dense_engine, " ", flags.device, " ", flags.deterministic, " ",
                   flags.wire_dtype, " ", flags.share_reader, " ", flags.run.seed, " ",
                   flags.run.continue_train, " ", flags.run.restart_data_at_step, " ",
                   flags.run.ignore_restore_optimizer, " ", flags.run.clamp_out_of_range),
      CpuDescription());
  for (const Table& table : config.tables) info.table_bytes += PlannedBytes(table, config);
  return info;
}

// Sets what this worker computes with. Returns what sums dense gradients between GPUs; null where
// `collective` does.
StatusOr<std::unique_ptr<DeviceCollective>> ChooseDevice(const JobFlags& flags,
                                                         Collective* collective,
                                                         WorkerContext* context) {
  const ComputeRequest request{flags.device, context->config->train.mixed_precision == "BF16",
                               flags.trains};
  PEPNET_ASSIGN_OR_RETURN(
      const ComputeChoice choice,
      AgreeOnCompute(request, InfoOfThisWorker(flags.device != "cpu"), collective));
  if (context->first()) {
    for (const std::string& line : choice.lines) LOG(INFO) << line;
    for (const std::string& warning : choice.warnings) LOG(WARNING) << warning;
    if (flags.deterministic && choice.gpus.empty()) {
      LOG(INFO) << "--deterministic changes nothing on the CPU";
    }
  }
  context->options.bf16 = choice.bf16;
  if (choice.gpus.empty()) return std::unique_ptr<DeviceCollective>();
  const int gpu = choice.gpus[collective->index()];
  context->options.device = {ComputeDevice::Kind::kGpu, gpu};
  if (!flags.trains || collective->count() == 1) return std::unique_ptr<DeviceCollective>();
  NcclOptions options;
  options.timeout_s = context->options.timeout_s;
  options.deterministic = flags.deterministic;
  options.status = context->status();
  if (context->options.watch != nullptr) options.peers = context->options.watch->peers();
  return MakeNcclCollective(collective, gpu, options);
}

// The worker's part of a job: talk to the servers, do the work, let worker 0 stop them.
Status WorkWith(Transport* transport, const Layout& layout, const JobFlags& flags,
                WorkerContext context, const std::function<Status(const WorkerContext&)>& work) {
  std::unique_ptr<Collective> collective =
      MakeCollective(transport, Channel::kDense, layout.worker_ranks, context.options.timeout_s);
  // Two collectives on two channels: what workers agree on between steps has the longer deadline of
  // a phase, and never waits behind the sums of a step.
  std::unique_ptr<Collective> phases = MakeCollective(
      transport, Channel::kControl, layout.worker_ranks, context.options.phase_timeout_s);
  PsClient client(transport, context.config, layout.server_ranks, layout.index,
                  context.options.timeout_s, context.options.phase_timeout_s);
  client.set_wire_dtype(context.options.wire_dtype);
  ThreadTeam team(context.options.threads, "rows");
  context.team = &team;
  context.collective = collective.get();
  context.phases = phases.get();
  context.client = &client;
  context.worker_ranks = layout.worker_ranks;
  PEPNET_ASSIGN_OR_RETURN(const std::unique_ptr<DeviceCollective> gradient_sums,
                          ChooseDevice(flags, collective.get(), &context));
  context.gradient_sums = gradient_sums.get();
  if (context.first()) LogNotes(*context.config);
  PEPNET_RETURN_IF_ERROR(work(context));
  const RankStatus::Phase phase(context.status(), "end");
  // Servers may end only when no worker needs them any more; the barrier says so to worker 0.
  PEPNET_RETURN_IF_ERROR(phases->Barrier("end of the job"));
  if (layout.index == 0) PEPNET_RETURN_IF_ERROR(client.Shutdown());
  return transport->Flush(After(std::chrono::duration<double>(context.options.timeout_s)));
}

Status RunEmbedded(const JobConfig& config, const JobFlags& flags, const std::vector<Fault>& faults,
                   const std::function<Status(const WorkerContext&)>& work) {
  const FileFaults file_faults(faults, /*rank=*/0);
  const int servers = flags.num_servers > 0 ? flags.num_servers : 1;
  if (servers > kBucketCount) {  // before each of them gets a thread
    return InvalidInput("--num_servers is ", servers, ", expected at most ", kBucketCount);
  }
  Layout layout;
  layout.worker_ranks = {0};
  for (int s = 0; s < servers; ++s) layout.server_ranks.push_back(1 + s);
  if (flags.run.watch != nullptr) flags.run.watch->peers()->SetRole("worker 0");
  // Several servers share the work already.
  const int server_threads = std::max(1, flags.threads / servers);
  // Rows that the worker reads by reference lie in the servers, which may fail before it has ended.
  std::vector<std::unique_ptr<Server>> alive(static_cast<size_t>(servers));
  return RunRanks(1 + servers, {}, [&](int rank, Transport* plain) {
    FaultyTransport faulty(plain, faults);
    pthread_setname_np(pthread_self(),
                       rank > 0 ? absl::StrCat("server-", rank - 1).c_str() : "worker");
    if (rank > 0) {
      std::unique_ptr<Server>& server = alive[static_cast<size_t>(rank - 1)];
      server = std::make_unique<Server>(&faulty, nullptr, server_threads);
      return server->Run();
    }
    const std::unique_ptr<Transport> watched = Watched(flags.run.watch, &faulty);
    Status status = WorkWith(watched.get(), layout, flags, MakeContext(config, flags), work);
    // Arms the watchdog: a server that cannot end (a stuck disk) must not hold the process.
    if (!status.ok() && flags.run.watch != nullptr) flags.run.watch->peers()->LoseOwnRank(status);
    return status;
  });
}

// A rank that works and serves: its server is a thread of this process. Whichever role fails first
// ends the other one, too, and its error is the rank's.
Status RunColocated(Transport* transport, const Layout& layout, const JobFlags& flags,
                    const WorkerContext& context,
                    const std::function<Status(const WorkerContext&)>& work) {
  JobWatch* const watch = context.options.watch;
  CHECK(watch != nullptr) << "nobody would end the other role";
  const std::unique_ptr<Transport> for_worker = watch->Watched(transport);
  const std::unique_ptr<Transport> for_server = watch->WatchedForServer(transport);
  Mutex mutex;
  Status first_error;
  const auto run = [&](const std::function<Status()>& role) {
    // The first role that fails holds the cause: LoseOwnRank() ends the waits of the other, whose
    // error is a consequence and is dropped.
    const Status status = Caught(role);
    if (status.ok()) return;
    MutexLock lock(&mutex);
    if (!first_error.ok()) return;
    first_error = status;
    watch->peers()->LoseOwnRank(status);
  };
  std::thread server = StartThread(absl::StrCat("server-", layout.index),
                                   [&] { run([&] { return Serve(for_server.get(), watch); }); });
  run([&] { return WorkWith(for_worker.get(), layout, flags, context, work); });
  // The server ends by kShutdown of worker 0, or by LoseOwnRank().
  server.join();
  return first_error;
}

}  // namespace

double PlannedBytes(const Table& table, const JobConfig& config) {
  return static_cast<double>(table.RowsToPlanFor()) *
             static_cast<double>(ShapeOf(config.train.sparse_optimizer, table).bytes()) +
         static_cast<double>(table.policy.filter_bytes);
}

StatusOr<int> ThreadsOf(const JobFlags& flags) {
  if (flags.threads > 0) return flags.threads;
  return DefaultThreads();
}

Status Serve(Transport* transport, JobWatch* watch) {
  Server server(transport, watch);
  return server.Run();
}

Status RunJob(const JobConfig& config, const JobFlags& given, MpiSession* session,
              const std::function<Status(const WorkerContext&)>& work) {
  JobFlags flags = given;
  PEPNET_ASSIGN_OR_RETURN(flags.threads, ThreadsOf(given));
  PEPNET_ASSIGN_OR_RETURN(const std::vector<Fault> faults, ParseFaultPlan(flags.inject));
  for (const Fault& fault : faults) LOG(WARNING) << "this run injects the fault " << fault.text;
  const bool colocated = flags.placement == "colocated";
  if (colocated && (session == nullptr || session->transport()->size() == 1)) {
    LOG(INFO)
        << "--placement=colocated changes nothing here: one process always brings its own servers";
  }
  // Before threads are started: it writes to the environment.
  if (flags.deterministic && flags.device != "cpu" && FindTorchGpus().count > 0) {
    ComputeDeterministicallyOnGpus();
  }
  if (session == nullptr) return RunEmbedded(config, flags, faults, work);
  JobWatch* const watch = flags.run.watch;
  FaultyTransport faulty(session->transport(), faults);
  const std::unique_ptr<Transport> transport = Watched(watch, &faulty);
  PEPNET_ASSIGN_OR_RETURN(
      Layout layout,
      session->ExchangeRoles({false, flags.num_servers, colocated}, transport.get()));
  if (layout.server_ranks.empty()) return RunEmbedded(config, flags, faults, work);  // mpirun -n 1
  const bool serves = layout.role == Role::kServer;
  std::string role = absl::StrCat(serves ? "server " : "worker ", layout.index);
  SetLogLabel(role);
  if (layout.colocated) absl::StrAppend(&role, " and server ", layout.index);
  if (watch != nullptr) watch->SetRole(role, layout.colocated);
  PEPNET_ASSIGN_OR_RETURN(const StartReport start,
                          CheckStart(transport.get(), layout, WorkerInfo(role, config, flags)));
  if (!serves && layout.index == 0) {
    for (const std::string& line : start.lines) VLOG(1) << line;
    for (const std::string& warning : start.warnings) LOG(WARNING) << warning;
  }
  const FileFaults file_faults(faults, transport->rank());
  if (layout.colocated) {
    return RunColocated(&faulty, layout, flags, MakeContext(config, flags), work);
  }
  if (serves) return Serve(transport.get(), watch);
  return WorkWith(transport.get(), layout, flags, MakeContext(config, flags), work);
}

}  // namespace pepnet

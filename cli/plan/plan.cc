#include "cli/plan/plan.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "absl/strings/str_format.h"
#include "cli/job/load_config.h"
#include "cli/plan/prediction.h"
#include "common/file/file.h"
#include "nlohmann/json.hpp"

namespace pepnet {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMostServersPerHost = 16;

// Powers of 1000, as networks and disks are sold.
std::string Bytes(double bytes) {
  const char* units[] = {"B", "KB", "MB", "GB", "TB"};
  int unit = 0;
  for (; bytes >= 1000 && unit < 4; ++unit) bytes /= 1000;
  return absl::StrFormat("%.*f %s", bytes < 10 && unit > 0 ? 1 : 0, bytes, units[unit]);
}

std::string Duration(double seconds) {
  if (seconds < 120) return absl::StrFormat("%.0f s", seconds);
  if (seconds < 7200) return absl::StrFormat("%.0f min", seconds / 60);
  return absl::StrFormat("%.1f h", seconds / 3600);
}

// Seconds, bytes and rows as plain numbers; names are those of Prediction.
Json JsonOf(const ClusterPlan& cluster, const Prediction& p) {
  return {{"hosts", cluster.hosts},
          {"workers", cluster.hosts * cluster.workers_per_host},
          {"servers", cluster.hosts * cluster.servers_per_host},
          {"samples_per_second", p.samples_per_second},
          {"efficiency", p.efficiency},
          {"bound_by", p.bound_by},
          {"step_s", p.step_s},
          {"worker_s", p.worker_s},
          {"server_s", p.server_s},
          {"link_s", p.link_s},
          {"exchange_s", p.exchange_s},
          {"reader_s", p.reader_s},
          {"link_bytes_per_step", p.link_bytes_per_step},
          {"row_bytes_per_step", p.row_bytes_per_step},
          {"decoded_per_row", p.decoded_per_row},
          {"passed_per_row", p.passed_per_row},
          {"shared_reader", p.shared_reader},
          {"reader_cpu_per_row", p.reader_cpu_per_row}};
}

// A plan without data is an upper bound and says so.
void PrintWorkload(const Workload& load) {
  std::printf(
      "workload    batch %lld per worker; %.0f distinct rows (%s) and %s of dense parameters per "
      "step; "
      "%s\n",
      static_cast<long long>(load.batch_size), load.unique_rows, Bytes(load.row_bytes).c_str(),
      Bytes(load.dense_bytes).c_str(),
      load.sampled_batches > 0
          ? absl::StrFormat("counted on %d batches of the training data", load.sampled_batches)
                .c_str()
          : "no data was read: every lookup counts as a distinct row");
}

void PrintPrediction(const PlanFlags& flags, const Workload& load, const ClusterPlan& cluster,
                     const Prediction& p) {
  const int servers = cluster.hosts * cluster.servers_per_host;
  std::printf("cluster     %d host(s) of %d worker(s) and %d server(s), %g Gbit/s each way\n",
              cluster.hosts, cluster.workers_per_host, cluster.servers_per_host, flags.nic_gbps);
  std::printf("memory      %s per server if every table is full, %s with %g times the ids\n",
              Bytes(ServerBytes(load, servers, 1)).c_str(),
              Bytes(ServerBytes(load, servers, flags.id_growth)).c_str(), flags.id_growth);
  std::printf(
      "link        %s per step and host each way, of which %s are ids, rows and gradients\n",
      Bytes(p.link_bytes_per_step).c_str(), Bytes(p.row_bytes_per_step).c_str());
  std::printf(
      "reader      decodes %.1f and skips %.1f rows per training row%s; %.1f ms per step beside "
      "the "
      "worker\n",
      p.decoded_per_row, p.passed_per_row,
      p.shared_reader ? ", shared by the workers of a host" : "", 1e3 * p.reader_s);
  std::printf("step        %.1f ms: worker %.1f, then exchange %.1f (link %.1f, server %.1f)\n",
              1e3 * p.step_s, 1e3 * p.worker_s, 1e3 * p.exchange_s, 1e3 * p.link_s,
              1e3 * p.server_s);
  std::printf("throughput  %.0f samples/s, %.0f %% of %d workers alone; bound by the %s",
              p.samples_per_second, 100 * p.efficiency, cluster.hosts * cluster.workers_per_host,
              p.bound_by.c_str());
  if (flags.rows > 0) {
    std::printf("; %s for %lld rows",
                Duration(static_cast<double>(flags.rows) / p.samples_per_second).c_str(),
                static_cast<long long>(flags.rows));
  }
  std::printf("\n");
}

// 1, 2, 4, ... workers of the same hosts; one host until it is full.
std::vector<ClusterPlan> Growth(const ClusterPlan& cluster, int most_workers) {
  std::vector<ClusterPlan> plans;
  for (int workers = 1; workers <= most_workers; workers *= 2) {
    ClusterPlan plan = cluster;
    plan.workers_per_host = std::min(workers, cluster.workers_per_host);
    plan.hosts = (workers + plan.workers_per_host - 1) / plan.workers_per_host;
    plans.push_back(plan);
  }
  return plans;
}

}  // namespace

void AddPlanFlags(CLI::App* plan, PlanFlags* flags) {
  const CLI::Range count(1, 1 << 20, "a whole number from 1");
  AddConfigFlags(plan, &flags->config);
  plan->add_option("--train_input_path", flags->config.train_input_path,
                   "comma list of paths and globs");
  plan->add_option("--hosts", flags->hosts, "hosts of the cluster")->check(count);
  plan->add_option("--workers_per_host", flags->workers_per_host, "worker ranks on each")
      ->check(count);
  plan->add_option("--servers_per_host", flags->servers_per_host, "server ranks on each")
      ->check(count);
  plan->add_option("--nic_gbps", flags->nic_gbps,
                   "speed of a host's network, gigabits per second each way")
      ->check(CLI::Range(0.001, 1e5, "a positive number of Gbit/s"));
  plan->add_option("--calibration", flags->calibration,
                   "JSON reports of pepnet bench train, service, reader, allreduce")
      ->delimiter(',')
      ->required();
  plan->add_option("--sample_batches", flags->sample_batches,
                   "batches of the training data in which distinct ids are counted; 0: read none "
                   "and count every lookup as distinct")
      ->check(CLI::Range(0, 1 << 20, "a whole number from 0"));
  plan->add_option("--id_growth", flags->id_growth,
                   "expected number of ids, as a multiple of the tables' rows, for the memory")
      ->check(CLI::Range(1.0, 1e6, "a number from 1"));
  plan->add_option("--rows", flags->rows, "rows of the whole training, for the duration");
  plan->add_option("--up_to_workers", flags->up_to_workers, "also a table for 1, 2, 4, ... workers")
      ->check(count);
  plan->add_option("--json", flags->json, "file for the plan as JSON");
}

// The prediction is of the cluster as given; the table of growth keeps its hosts and fills one
// after the other.
Status PlanCommand(const PlanFlags& flags) {
  PEPNET_ASSIGN_OR_RETURN(const JobConfig config, LoadConfig(flags.config));
  if (!flags.json.empty()) {
    // Every plan begins with this text, as json.dump(1) writes it below.
    PEPNET_RETURN_IF_ERROR(CheckReplaceable("--json", flags.json, {"{\n \"prediction\":"}));
  }
  PEPNET_ASSIGN_OR_RETURN(const Machine machine,
                          ReadMachine(flags.calibration, config.data.batch_size));
  PEPNET_ASSIGN_OR_RETURN(const Workload load, MeasureWorkload(config, flags.sample_batches));
  ClusterPlan cluster;
  cluster.hosts = flags.hosts;
  cluster.workers_per_host = flags.workers_per_host;
  cluster.servers_per_host = flags.servers_per_host;
  cluster.nic_bytes_per_second = flags.nic_gbps * 1e9 / 8;
  cluster.reader_threads = config.data.num_workers;
  const Prediction predicted = Predict(load, machine, cluster);
  PrintWorkload(load);
  PrintPrediction(flags, load, cluster, predicted);
  const int advised = AdviseServersPerHost(load, machine, cluster, kMostServersPerHost);
  std::printf("advice      %d server(s) per host keep the servers below a tenth of the step\n",
              advised);

  Json json = {{"prediction", JsonOf(cluster, predicted)}, {"advised_servers_per_host", advised}};
  if (flags.up_to_workers > 0) {
    std::printf("\nworkers  hosts  samples/s  efficiency  bound by\n");
    for (const ClusterPlan& plan : Growth(cluster, flags.up_to_workers)) {
      const Prediction p = Predict(load, machine, plan);
      std::printf("%7d  %5d  %9.0f  %8.0f %%  %s\n", plan.hosts * plan.workers_per_host, plan.hosts,
                  p.samples_per_second, 100 * p.efficiency, p.bound_by.c_str());
      json["growth"].push_back(JsonOf(plan, p));
    }
  }
  return flags.json.empty() ? absl::OkStatus()
                            : WriteFileAtomically(flags.json, json.dump(1) + "\n");
}

}  // namespace pepnet

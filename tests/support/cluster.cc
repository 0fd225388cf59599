#include "tests/support/cluster.h"

#include <map>
#include <mutex>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/logging.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "common/net/faulty_transport.h"
#include "ps/server.h"

namespace pepnet {
namespace {

// Rows and digest of every non-empty bucket of every table, added over the parts.
std::map<std::pair<std::string, int>, std::pair<int64_t, RowDigest>> Buckets(
    const Manifest& manifest) {
  std::map<std::pair<std::string, int>, std::pair<int64_t, RowDigest>> result;
  const auto add = [&result](const std::string& table, const PartEntry& part) {
    for (const BucketEntry& bucket : part.buckets) {
      auto& [rows, digest] = result[{table, bucket.bucket}];
      rows += bucket.rows;
      digest.Add(bucket.digest);
    }
  };
  for (const PartEntry& part : manifest.parts) add(part.table, part);
  for (const PartEntry& part : manifest.candidates) add(part.table + ", candidates", part);
  return result;
}

// The counters of all admission filters, by table and bucket.
StatusOr<std::map<std::pair<std::string, int>, std::vector<uint64_t>>> FiltersOf(
    const std::string& directory, const Manifest& manifest) {
  std::map<std::pair<std::string, int>, std::vector<uint64_t>> filters;
  for (const FilterEntry& entry : manifest.filters) {
    PEPNET_RETURN_IF_ERROR(
        ReadFilter(directory, entry, [&](int bucket, std::span<const uint64_t> words) {
          filters[{entry.table, bucket}].assign(words.begin(), words.end());
        }));
  }
  return filters;
}

// Two threads a rank, which share its transport: a server, and a worker that does `work_as`.
Status RunColocated(const ClusterShape& shape,
                    const std::function<Status(int, Transport*)>& work_as) {
  CHECK_EQ(shape.servers, shape.workers) << "every rank of a colocated job works and serves";
  InProcessHub hub(shape.workers, shape.network);
  std::mutex mutex;
  Status first_error;
  const auto keep = [&](const Status& status) {
    if (status.ok()) return;
    std::lock_guard lock(mutex);
    if (first_error.ok()) first_error = status;
    hub.Abort(std::string(status.message()));  // so that the others end, too
  };
  std::vector<std::unique_ptr<FaultyTransport>> transports;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < shape.workers; ++rank) {
    Transport* transport =
        transports
            .emplace_back(std::make_unique<FaultyTransport>(hub.transport(rank), shape.faults))
            .get();
    threads.emplace_back([&keep, transport] { keep(Server(transport).Run()); });
    threads.emplace_back([&, rank, transport] { keep(work_as(rank, transport)); });
  }
  for (std::thread& thread : threads) thread.join();
  return first_error;
}

}  // namespace

RunOptions TestOptions(bool continue_train) {
  RunOptions options;
  options.threads = 1;
  options.timeout_s = 60;
  options.continue_train = continue_train;
  return options;
}

Status RunCluster(const JobConfig& config, const ClusterShape& shape, const RunOptions& options,
                  const std::function<Status(const WorkerContext&)>& work) {
  std::vector<int> worker_ranks, server_ranks;
  for (int w = 0; w < shape.workers; ++w) worker_ranks.push_back(w);
  for (int s = 0; s < shape.servers; ++s) {
    server_ranks.push_back(shape.colocated ? s : shape.workers + s);
  }
  const auto work_as = [&](int rank, Transport* transport) -> Status {
    std::unique_ptr<Collective> collective =
        MakeCollective(transport, Channel::kDense, worker_ranks, options.timeout_s);
    std::unique_ptr<Collective> phases =
        MakeCollective(transport, Channel::kControl, worker_ranks, options.timeout_s);
    PsClient client(transport, &config, server_ranks, rank, options.timeout_s);
    client.set_wire_dtype(options.wire_dtype);
    WorkerContext context;
    context.config = &config;
    context.options = options;
    context.collective = collective.get();
    context.phases = phases.get();
    context.client = &client;
    context.worker_ranks = worker_ranks;
    PEPNET_RETURN_IF_ERROR(work(context));
    PEPNET_RETURN_IF_ERROR(collective->Barrier("end of the test"));
    if (rank == 0) PEPNET_RETURN_IF_ERROR(client.Shutdown());
    return absl::OkStatus();
  };
  if (!shape.colocated) {
    return RunRanks(
        shape.workers + shape.servers, shape.network, [&](int rank, Transport* plain) -> Status {
          FaultyTransport transport(plain, shape.faults);
          return rank >= shape.workers ? Server(&transport).Run() : work_as(rank, &transport);
        });
  }
  return RunColocated(shape, work_as);
}

Status Train(const JobConfig& config, const ClusterShape& shape, const RunOptions& options) {
  return RunCluster(config, shape, options,
                    [](const WorkerContext& context) { return Trainer(context).Run(); });
}

std::string CheckpointDifference(const std::string& a, const std::string& b) {
  auto manifest_a = ReadManifest(a), manifest_b = ReadManifest(b);
  if (!manifest_a.ok()) return std::string(manifest_a.status().message());
  if (!manifest_b.ok()) return std::string(manifest_b.status().message());
  for (const char* file : {"dense.safetensors"}) {
    auto bytes_a = ReadFile(a + "/" + file), bytes_b = ReadFile(b + "/" + file);
    if (!bytes_a.ok() || !bytes_b.ok()) return absl::StrCat("cannot read ", file);
    if (*bytes_a != *bytes_b) return absl::StrCat(file, " differs");
  }
  const auto buckets_a = Buckets(*manifest_a), buckets_b = Buckets(*manifest_b);
  for (const auto& [key, value] : buckets_a) {
    auto it = buckets_b.find(key);
    if (it == buckets_b.end() || it->second.first != value.first ||
        !(it->second.second == value.second)) {
      return absl::StrCat("table ", key.first, " bucket ", key.second, " differs");
    }
  }
  if (buckets_a.size() != buckets_b.size()) {
    return "one checkpoint has rows in more buckets than the other";
  }
  if (manifest_a->event_times != manifest_b->event_times) return "the event times differ";
  const auto filters_a = FiltersOf(a, *manifest_a), filters_b = FiltersOf(b, *manifest_b);
  if (!filters_a.ok()) return std::string(filters_a.status().message());
  if (!filters_b.ok()) return std::string(filters_b.status().message());
  if (*filters_a != *filters_b) return "the admission filters differ";
  return "";
}

}  // namespace pepnet

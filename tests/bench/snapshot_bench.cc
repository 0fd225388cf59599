// The cost of a checkpoint while it is written: one server and one worker as threads, rows of 16
//   floats with Adagrad. snapshot_bench [--rows 2000000] [--keys 20000] [--compute_ms 20]
//   [--directory /tmp]
// The worker pulls and pushes `keys` random rows a step and computes for compute_ms between. Steps
// are timed without and with a checkpoint being written.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <future>
#include <random>

#include "common/base/hash.h"
#include "common/base/logging.h"
#include "common/net/in_process.h"
#include "ps/server.h"
#include "worker/checkpoint/save_delays.h"
#include "worker/sparse/ps_client.h"

namespace pepnet {
namespace {

struct Options {
  int64_t rows = 2'000'000, keys = 20'000;
  double compute_ms = 20;
  std::string directory = "/tmp";
};

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void Compute(double seconds) {
  const auto start = Clock::now();
  while (SecondsSince(start) < seconds) {
  }
}

JobConfig MakeConfig(const Options& options) {
  Table table;
  table.name = "user";
  table.rows = options.rows;
  table.dim = 16;
  JobConfig config;
  config.tables = {table};
  config.train.sparse_optimizer.kind = SparseOptimizerKind::kAdagrad;
  return config;
}

class Driver {
 public:
  Driver(const Options& options, Transport* transport)
      : options_(options),
        config_(MakeConfig(options)),
        client_(transport, &config_, {1}, 0, 300) {}

  Status Run() {
    PEPNET_RETURN_IF_ERROR(client_.Configure({0}, 1, 0));
    for (int64_t first = 0; first < options_.rows; first += options_.keys) {
      ids_.clear();
      for (int64_t id = first; id < std::min(first + options_.keys, options_.rows); ++id) {
        ids_.push_back(id);
      }
      PEPNET_RETURN_IF_ERROR(Step(0));
    }
    std::printf("%-10s %10s %10s %10s %12s %12s\n", "saving", "steps", "mean ms", "longest",
                "write s", "MB/s");
    for (int round = 0; round < 4; ++round) PEPNET_RETURN_IF_ERROR(Round(round > 0));
    std::printf("%s\n", delays_.Report().c_str());
    return client_.Shutdown();
  }

 private:
  Status Step(double compute_seconds) {
    ++step_;
    UniqueIds unique;
    unique.ids = {ids_};
    PEPNET_ASSIGN_OR_RETURN(const PullTicket ticket, client_.StartPull(unique, step_, false));
    PEPNET_RETURN_IF_ERROR(client_.FinishPull(ticket, &rows_));
    Compute(compute_seconds);
    gradients_.resize(1);
    gradients_[0].Resize(rows_[0].size());
    std::fill(gradients_[0].begin(), gradients_[0].end(), 0.01f);
    return client_.Push(ticket, gradients_, 0.1, step_);
  }

  // Steps with random rows: 100, or as many as the checkpoint takes.
  Status Round(bool saving) {
    const std::string directory = options_.directory + "/pepnet_snapshot_bench";
    std::atomic<bool> cancelled = false;
    std::future<StatusOr<SavedTables>> saved;
    int64_t steps = 0;
    double seconds = 0, longest = 0;
    const auto begin = Clock::now();
    const auto running = [&] {
      return saved.wait_for(std::chrono::seconds(0)) != std::future_status::ready;
    };
    while (saving ? steps == 0 || running() : steps < 100) {
      RandomIds();
      const auto start = Clock::now();
      if (saving && steps == 0) {
        std::filesystem::create_directories(directory);
        PEPNET_RETURN_IF_ERROR(client_.StartSave(directory, step_));
        saved = std::async(std::launch::async,
                           [&, step = step_] { return client_.FinishSave(step, cancelled); });
      }
      PEPNET_RETURN_IF_ERROR(Step(options_.compute_ms / 1e3));
      const double took = SecondsSince(start);
      delays_.Add(took, saving);
      seconds += took;
      longest = std::max(longest, took);
      ++steps;
    }
    double write_seconds = 0, megabytes = 0;
    if (saving) {
      PEPNET_ASSIGN_OR_RETURN(const SavedTables tables, saved.get());
      write_seconds = SecondsSince(begin);
      for (const PartEntry& part : tables.parts) megabytes += static_cast<double>(part.bytes) / 1e6;
      std::printf(
          "  %lld rows saved, %lld (%.1f MB) copied, peak %.1f MB, %lld waits, held up at most "
          "%.2f ms\n",
          static_cast<long long>(tables.rows), static_cast<long long>(tables.copied_rows),
          static_cast<double>(tables.copied_bytes) / 1e6,
          static_cast<double>(tables.peak_bytes) / 1e6, static_cast<long long>(tables.waits),
          tables.longest_hold_seconds * 1e3);
      std::filesystem::remove_all(directory);
    }
    std::printf("%-10s %10lld %10.2f %10.2f %12.2f %12.1f\n", saving ? "yes" : "no",
                static_cast<long long>(steps), 1e3 * seconds / static_cast<double>(steps),
                1e3 * longest, write_seconds, write_seconds > 0 ? megabytes / write_seconds : 0.0);
    return absl::OkStatus();
  }

  void RandomIds() {  // distinct, about all over the table
    ids_.clear();
    const uint64_t offset = random_();
    const int64_t stride = options_.rows / options_.keys;
    for (int64_t i = 0; i < options_.keys; ++i) {
      ids_.push_back(i * stride + static_cast<int64_t>(Mix64(offset + static_cast<uint64_t>(i)) %
                                                       static_cast<uint64_t>(stride)));
    }
    std::shuffle(ids_.begin(), ids_.end(), random_);
  }

  const Options options_;
  const JobConfig config_;
  PsClient client_;
  int64_t step_ = 0;
  std::vector<int64_t> ids_;
  std::vector<AlignedBuffer<float>> rows_, gradients_;
  std::mt19937_64 random_{7};
  SaveDelays delays_;
};

int Main(int argc, char** argv) {
  InitLogging(argv[0], "");
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--rows") == 0) options.rows = std::atoll(argv[i + 1]);
    if (std::strcmp(argv[i], "--keys") == 0) options.keys = std::atoll(argv[i + 1]);
    if (std::strcmp(argv[i], "--compute_ms") == 0) options.compute_ms = std::atof(argv[i + 1]);
    if (std::strcmp(argv[i], "--directory") == 0) options.directory = argv[i + 1];
  }
  const Status status = RunRanks(2, {}, [&](int rank, Transport* transport) -> Status {
    if (rank == 1) return Server(transport).Run();
    return Driver(options, transport).Run();
  });
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace
}  // namespace pepnet

int main(int argc, char** argv) { return pepnet::Main(argc, argv); }

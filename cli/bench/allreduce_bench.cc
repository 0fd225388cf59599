// bench allreduce: the workers' sum of dense gradients, as threads of one process or as the ranks
// of mpirun.
#include <numeric>

#include "cli/bench/bench.h"
#include "cli/bench/limits.h"
#include "common/net/collective.h"
#include "common/net/in_process.h"

namespace pepnet {
namespace {

// A deadline far beyond any sum: a benchmark must end when a peer is lost (law L6).
constexpr double kTimeoutS = 300;

// Whole numbers, so that the sum is exact: worker w gives (i + w) % 64 in element i.
Status CheckSum(const AlignedBuffer<float>& data, int workers) {
  for (size_t i = 0; i < data.size(); ++i) {
    // Sums of small whole numbers are exact in float, in any order, so that equality is the right
    // test.
    float expected = 0;
    for (int w = 0; w < workers; ++w) expected += static_cast<float>((i + w) % 64);
    if (data[i] != expected) {
      return absl::DataLossError(
          absl::StrCat("element ", i, " is ", data[i], ", expected ", expected));
    }
  }
  return absl::OkStatus();
}

// Every worker; the first one fills the report.
Status Reduce(Transport* transport, const BenchFlags& flags, double bandwidth,
              BenchReport* report) {
  std::vector<int> ranks(transport->size());
  // All ranks are workers here; the collective needs no server.
  std::iota(ranks.begin(), ranks.end(), 0);
  const auto collective = MakeCollective(transport, Channel::kDense, ranks, kTimeoutS);
  const int workers = collective->count();
  for (int64_t floats : flags.floats) {
    AlignedBuffer<float> data(floats);
    std::vector<double> seconds;
    for (int round = 0; round <= flags.rounds; ++round) {  // the first one warms up
      for (int64_t i = 0; i < floats; ++i) {
        data[i] = static_cast<float>((i + collective->index()) % 64);
      }
      // Workers start together, so that nobody's time holds the filling of another's array.
      PEPNET_RETURN_IF_ERROR(collective->Barrier("start of a round"));
      const double start = SecondsNow();
      PEPNET_RETURN_IF_ERROR(collective->AllreduceSum(data.span(), "bench"));
      if (round > 0) seconds.push_back(SecondsNow() - start);
      PEPNET_RETURN_IF_ERROR(CheckSum(data, workers));
    }
    if (collective->index() > 0) continue;
    std::vector<double> milliseconds;
    for (double s : seconds) milliseconds.push_back(1e3 * s);
    // The bytes that each worker sends and receives at least, as nccl-tests counts them.
    const double bus_bytes =
        2.0 * (workers - 1) / workers * static_cast<double>(floats) * sizeof(float);
    const Spread bus = RatesOf(1e-9 * bus_bytes, seconds);
    report->rows.push_back({static_cast<double>(floats), static_cast<double>(workers),
                            SpreadOf(milliseconds),
                            RatesOf(1e-9 * static_cast<double>(floats) * sizeof(float), seconds),
                            bus, 100 * bus.median / bandwidth});
  }
  return collective->Barrier("end of the measurement");
}

}  // namespace

StatusOr<BenchReport> AllreduceBench(const BenchFlags& flags, MpiSession* session) {
  BenchReport report;
  report.name = flags.what;
  // One rank measures the limit while the others wait for it in the first barrier.
  const bool speaks = session == nullptr || session->transport()->rank() == 0;
  double bandwidth = 0;
  if (speaks) {
    bandwidth = MemoryBandwidth(1, flags.quick ? 1 << 20 : 1 << 27);
    report.limits = {{"memory bandwidth of one thread", "GB/s", bandwidth}};
  }
  if (session != nullptr) {
    PEPNET_RETURN_IF_ERROR(Reduce(session->transport(), flags, bandwidth, &report));
    PEPNET_RETURN_IF_ERROR(
        session->transport()->Flush(After(std::chrono::duration<double>(kTimeoutS))));
  } else {
    PEPNET_RETURN_IF_ERROR(RunRanks(flags.workers, {}, [&](int, Transport* transport) {
      return Reduce(transport, flags, bandwidth, &report);
    }));
  }
  if (!speaks) return BenchReport();
  report.settings = {{"transport", session == nullptr ? "threads" : "MPI"},
                     {"rounds", absl::StrCat(flags.rounds)}};
  report.columns = {{"array", "floats"},    {"workers", ""},      {"time", "ms"},
                    {"array rate", "GB/s"}, {"bus rate", "GB/s"}, {"of memory bandwidth", "%"}};
  report.checked = {"every element of every sum is exact"};
  return report;
}

}  // namespace pepnet

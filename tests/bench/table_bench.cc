// The speed at which one core serves rows of 16 floats with Adagrad: what a server does for a pull
//   and for a push, without the wire. table_bench [--keys 20000] [--policy
//   none|limit|expiry|candidates|filter] [--new 0] [rows ...]
//                                              default rows: 1000000 10000000 20000000
// --policy: of a dynamic_table; none, the default, is a table whose rows stay. --new: so many of a
// hundred ids of a push have no row. The rows that were updated are counted in the same run.
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "common/base/hash.h"
#include "ps/step_update.h"
#include "ps/table/row_lifecycle.h"

namespace pepnet {
namespace {

constexpr int kDim = 16;

// Of this thread's computing: other work on the machine takes the core away, but not this time.
double CpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  double total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

RowPolicy PolicyOf(const std::string& name, int64_t rows) {
  if (name == "none") return {};
  if (name == "limit") return {.max_rows = 2 * rows};
  if (name == "expiry") return {.ttl_steps = 1'000'000};
  if (name == "candidates") return {.admit_after_steps = 2};
  if (name == "filter") {
    return {.admit_after_steps = 2, .filter_bytes = 64 << 20, .filter_halve_steps = 1000};
  }
  std::fprintf(stderr, "--policy %s: expected none, limit, expiry, candidates or filter\n",
               name.c_str());
  std::exit(1);
}

// A pull frame of `count` distinct random ids below `rows`, the first of them replaced by new_ids
// others from *next_new on.
Ticket RandomTicket(int64_t rows, int64_t count, std::mt19937_64* random, int64_t new_ids = 0,
                    int64_t* next_new = nullptr) {
  FrameHeader header;
  header.type = MessageType::kPull;
  header.table_count = 1;
  Bytes frame = MakeFrame(header, PullBodyBytes(1, static_cast<size_t>(count)));
  const uint32_t counts[] = {static_cast<uint32_t>(count)};
  int64_t* ids = WritePullCounts(frame, counts);
  const int64_t stride = rows / count;
  const uint64_t offset = (*random)();
  for (int64_t i = 0; i < count; ++i) {
    ids[i] = i * stride + static_cast<int64_t>(Mix64(offset + static_cast<uint64_t>(i)) %
                                               static_cast<uint64_t>(stride));
  }
  for (int64_t i = 0; i < new_ids; ++i) ids[i] = (*next_new)++;
  std::shuffle(ids, ids + count, *random);
  ParsedFrame parsed = ParsedFrame::Parse(std::move(frame)).value();
  const PullBody pull = ParsePull(parsed).value();
  return {std::move(parsed), pull, AlignedBuffer<int64_t>(static_cast<size_t>(count))};
}

// Between two messages other ones come: what one left in the cache is gone when the next is served.
void EvictCache() {
  static std::vector<char> other(size_t{8} << 20);
  for (size_t i = 0; i < other.size(); i += 64) ++other[i];
}

// The limits: random rows of 128 bytes in one array on huge pages; half of each is read (`change`
// false), or all of it is read and written. Seconds by message.
std::vector<double> LimitSeconds(bool change, int64_t rows, int64_t keys, int messages,
                                 std::mt19937_64* random) {
  constexpr size_t kAhead = 24;
  HugeMemory memory(static_cast<size_t>(rows) * 128);
  std::memset(memory.data(), 0, memory.bytes());
  std::vector<double> seconds;
  std::vector<float*> places(static_cast<size_t>(keys));
  float sum = 0;
  for (int message = 0; message < messages; ++message) {
    for (float*& place : places) {
      place =
          reinterpret_cast<float*>(memory.data()) + (*random)() % static_cast<uint64_t>(rows) * 32;
    }
    EvictCache();
    const double start = CpuSeconds();
    for (size_t i = 0; i < places.size(); ++i) {
      if (i + kAhead < places.size()) {
        __builtin_prefetch(places[i + kAhead], 1);
        if (change) __builtin_prefetch(places[i + kAhead] + 16, 1);
      }
      if (change) {
        for (int e = 0; e < 32; ++e) places[i][e] += 1;
      } else {
        for (int e = 0; e < 16; ++e) sum += places[i][e];
      }
    }
    seconds.push_back(CpuSeconds() - start);
  }
  if (sum != 0) std::abort();
  return seconds;
}

void Measure(int64_t rows, int64_t keys, const std::string& policy, int64_t new_percent) {
  Table description;
  description.name = "user";
  description.rows = rows;
  description.dim = kDim;
  description.policy = PolicyOf(policy, rows);
  SparseOptimizer optimizer;
  optimizer.kind = SparseOptimizerKind::kAdagrad;
  const double resident_before = ResidentBytes();
  std::vector<TableShard> tables;
  tables.emplace_back(description, optimizer, 1);
  double start = CpuSeconds();
  for (int64_t id = 0; id < rows; ++id) tables[0].Create(id);
  const double create_seconds = CpuSeconds() - start;
  const double resident = ResidentBytes() - resident_before;

  std::mt19937_64 random(5);
  StepUpdate update;
  std::vector<double> find, read, pull, push;  // seconds by message
  std::vector<float> gradients(static_cast<size_t>(keys * kDim), 0.01f);
  double read_sum = 0;
  const int messages = 120;
  int64_t next_new = rows;
  std::vector<float> out(static_cast<size_t>(keys * kDim));
  for (int message = 0; message < messages; ++message) {
    Ticket ticket = RandomTicket(rows, keys, &random);
    start = CpuSeconds();
    tables[0].Find(ticket.pull.ids, ticket.slots.span());
    find.push_back(CpuSeconds() - start);
    start = CpuSeconds();
    tables[0].ReadValues(ticket.pull.ids, ticket.slots.span(), out.data());
    read.push_back(CpuSeconds() - start);
    read_sum += out[static_cast<size_t>(message)];
    Ticket other = RandomTicket(rows, keys, &random);  // other rows: these are in the cache now
    start = CpuSeconds();
    tables[0].FindAndRead(other.pull.ids, other.slots.span(), out.data());
    pull.push_back(CpuSeconds() - start);
    ticket = RandomTicket(rows, keys, &random, keys * new_percent / 100, &next_new);
    tables[0].Find(ticket.pull.ids, ticket.slots.span());
    EvictCache();
    const PushedGradients pushed{0, &ticket, gradients};
    start = CpuSeconds();
    if (!update.Apply(optimizer, 0.1, message + 1, message + 1, {&pushed, 1}, &tables).ok()) {
      std::abort();
    }
    push.push_back(CpuSeconds() - start);
  }
  // A row that is admitted counts the steps before, in which it was refused or, by a full filter,
  // was not named.
  int64_t changed = 0;
  if (const RowLifecycle* const lifecycle = tables[0].lifecycle(); lifecycle != nullptr) {
    changed = lifecycle->counts().refused -
              lifecycle->counts().admitted * (description.policy.admit_after_steps - 1);
  }
  for (const TableShard::Row& row : tables[0].SortedRows()) {
    changed += tables[0].frequency(row.slot);
  }
  // NaN: rows that were never made
  if (changed != messages * keys || read_sum != read_sum) std::abort();
  // Median, and the best tenth: what is left when nothing else disturbs the caches.
  const auto rate = [&](std::vector<double> seconds, int part) {
    std::sort(seconds.begin(), seconds.end());
    return static_cast<double>(keys) / seconds[seconds.size() / part] / 1e6;
  };
  std::printf("%10lld %8.1f", static_cast<long long>(rows),
              static_cast<double>(rows) / create_seconds / 1e6);
  const std::vector<double> read_limit = LimitSeconds(false, rows, keys, messages, &random);
  const std::vector<double> change_limit = LimitSeconds(true, rows, keys, messages, &random);
  for (const std::vector<double>& seconds : {find, read, pull, push, read_limit, change_limit}) {
    std::printf(" %8.1f %8.1f", rate(seconds, 2), rate(seconds, 10));
  }
  std::printf(" %10.1f %10.1f\n",
              static_cast<double>(tables[0].memory_bytes()) / static_cast<double>(rows),
              resident / static_cast<double>(rows));
}

int Main(int argc, char** argv) {
  int64_t keys = 20'000;
  int64_t new_percent = 0;
  std::string policy = "none";
  std::vector<int64_t> sizes;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--keys") == 0 && i + 1 < argc) {
      keys = std::atoll(argv[++i]);
    } else if (std::strcmp(argv[i], "--policy") == 0 && i + 1 < argc) {
      policy = argv[++i];
    } else if (std::strcmp(argv[i], "--new") == 0 && i + 1 < argc) {
      new_percent = std::clamp(std::atoll(argv[++i]), 0ll, 100ll);
    } else {
      sizes.push_back(std::atoll(argv[i]));
    }
  }
  if (sizes.empty()) sizes = {1'000'000, 10'000'000, 20'000'000};
  std::printf(
      "million rows/s of computing time, median and best tenth of the messages; limits: random 64 "
      "bytes read, 128 "
      "bytes "
      "changed; memory: bytes/row\n");
  std::printf("%10s %8s %17s %17s %17s %17s %17s %17s %10s %10s\n", "rows", "create", "find",
              "read", "pull", "push", "limit: read", "limit: change", "memory", "resident");
  for (int64_t rows : sizes) Measure(rows, keys, policy, new_percent);
  return 0;
}

}  // namespace
}  // namespace pepnet

int main(int argc, char** argv) { return pepnet::Main(argc, argv); }

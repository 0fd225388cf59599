#include "common/health/start_check.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <set>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/file/crc32c.h"
#include "common/file/file.h"
#include "common/net/collective.h"
#include "proto/wire.pb.h"

namespace pepnet {
namespace {

constexpr double kStartSeconds = 60;  // ranks start together; a slow file system may hold one back
constexpr int64_t kFilesPerPeer = 2;  // connections to another rank
constexpr int64_t kOwnFiles = 128;    // libraries, data, checkpoints, mpirun

// Libraries whose versions decide about numbers or messages.
bool Counts(const std::string& name) {
  for (const char* prefix : {"libmpi.so", "libopen-pal.so", "libarrow.so", "libparquet.so", "libtorch_cpu.so",
                             "libtorch_cuda.so", "libcudart.so", "libnccl.so"}) {
    if (absl::StartsWith(name, prefix)) return true;
  }
  return false;
}

std::map<std::string, std::string> LoadedLibraries() {
  std::map<std::string, std::string> libraries;
  // The files that are mapped say which libraries this process runs with, whatever the paths and
  // links of its host; their sizes tell versions apart without reading them.
  std::ifstream maps("/proc/self/maps");
  std::string line;
  while (std::getline(maps, line)) {
    const size_t slash = line.find('/');
    if (slash == std::string::npos) continue;
    const std::string path = line.substr(slash);
    const std::string name = path.substr(path.rfind('/') + 1);
    if (!Counts(name) || libraries.count(name) > 0) continue;
    std::error_code error;
    const auto bytes = std::filesystem::file_size(path, error);
    if (!error) libraries[name] = absl::StrCat(bytes, " bytes");
  }
  return libraries;
}

// MemAvailable, or what the container's limit leaves if that is less.
int64_t AvailableMemory() {
  std::ifstream info("/proc/meminfo");
  std::string line;
  int64_t available = 0;
  while (std::getline(info, line)) {
    int64_t kib = 0;
    absl::string_view text = line;  // "MemAvailable:   12345 kB"
    if (absl::ConsumePrefix(&text, "MemAvailable:") && absl::ConsumeSuffix(&text, "kB") &&
        absl::SimpleAtoi(text, &kib)) {
      available = 1024 * kib;
    }
  }
  // In a container (cgroup v2) the host's free memory is not what this process may take. "max" is
  // not a number, so that a container without a limit leaves `available` as it is.
  int64_t limit = 0, used = 0;
  if (std::ifstream("/sys/fs/cgroup/memory.max") >> limit && std::ifstream("/sys/fs/cgroup/memory.current") >> used) {
    available = std::min(available, limit - used);
  }
  return available;
}

std::string Encode(const RankFacts& facts) {
  wire::RankFacts out;
  out.set_host(facts.host);
  out.set_role(facts.role);
  out.set_program(facts.program);
  out.set_program_sum(facts.program_sum);
  out.set_config_sum(facts.config_sum);
  out.set_cpu(facts.cpu);
  for (const auto& [name, version] : facts.libraries) (*out.mutable_libraries())[name] = version;
  out.set_memory_bytes(facts.memory_bytes);
  out.set_open_files(facts.open_files);
  out.set_table_bytes(facts.table_bytes);
  return out.SerializeAsString();
}

StatusOr<RankFacts> Decode(const std::string& bytes, int rank) {
  wire::RankFacts in;
  if (!in.ParseFromString(bytes)) {
    return InvalidInput("rank ", rank, " runs another version of pepnet: start all ranks with the same build");
  }
  RankFacts facts;
  facts.host = in.host();
  facts.role = in.role();
  facts.program = in.program();
  facts.program_sum = in.program_sum();
  facts.config_sum = in.config_sum();
  facts.cpu = in.cpu();
  facts.libraries.insert(in.libraries().begin(), in.libraries().end());
  facts.memory_bytes = in.memory_bytes();
  facts.open_files = in.open_files();
  facts.table_bytes = in.table_bytes();
  return facts;
}

std::string Name(const std::vector<RankFacts>& facts, size_t rank) {
  return absl::StrCat("rank ", rank, " (", facts[rank].role, " on host ", facts[rank].host, ")");
}

// `rank` is compared with the first rank that runs the same program.
Status CompareWithFirst(const std::vector<RankFacts>& facts, size_t first, size_t rank) {
  const RankFacts &a = facts[first], &b = facts[rank];
  const std::string who = absl::StrCat(Name(facts, first), " and ", Name(facts, rank));
  if (a.program_sum != b.program_sum) {
    return absl::FailedPreconditionError(absl::StrCat(who, " run different builds of ", a.program, " (", a.program_sum,
                                                      "; ", b.program_sum, "): install the same one on all hosts"));
  }
  for (const auto& [name, version] : a.libraries) {
    const auto other = b.libraries.find(name);
    if (other != b.libraries.end() && other->second == version) continue;
    return absl::FailedPreconditionError(
        absl::StrCat(who, " have different libraries: ", name, " has ", version, " there and ",
                     other == b.libraries.end() ? "is not loaded here" : other->second + " here",
                     ": install the same versions on all hosts"));
  }
  for (const auto& [name, version] : b.libraries) {
    if (a.libraries.contains(name)) continue;
    return absl::FailedPreconditionError(absl::StrCat(who, " have different libraries: ", name,
                                                      " is not loaded there and has ", version,
                                                      " here: install the same versions on all hosts"));
  }
  if (!a.config_sum.empty() && !b.config_sum.empty() && a.config_sum != b.config_sum) {
    return absl::FailedPreconditionError(
        absl::StrCat(who,
                     " have different configs or flags: start all workers with the same "
                     "--pipeline_config_path, --edit_config_json and flags"));
  }
  return absl::OkStatus();
}

}  // namespace

RankFacts FactsOfThisRank(const std::string& role, const std::string& config_text, const std::string& cpu) {
  RankFacts facts;
  char host[256] = {};
  facts.host = gethostname(host, sizeof(host) - 1) == 0 ? host : "unknown host";
  facts.role = role;
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) {
    facts.program = program.filename();
    if (const StatusOr<FileSum> sum = SumFile(program); sum.ok()) {
      facts.program_sum = absl::StrFormat("%d bytes, crc32c %08x", sum->bytes, sum->crc32c);
    }
  }
  if (!config_text.empty())
    facts.config_sum = absl::StrFormat("%08x", ExtendCrc32c(0, config_text.data(), config_text.size()));
  facts.cpu = cpu;
  facts.libraries = LoadedLibraries();
  facts.memory_bytes = AvailableMemory();
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY)
    facts.open_files = static_cast<int64_t>(files.rlim_cur);
  return facts;
}

StatusOr<StartReport> JudgeStart(const std::vector<RankFacts>& facts, const Layout& layout) {
  StartReport report;
  const int64_t files_needed = kOwnFiles + kFilesPerPeer * static_cast<int64_t>(facts.size());
  std::map<std::string, size_t> first_of_program;
  std::map<std::string, std::vector<size_t>> ranks_of_host;
  std::set<std::string> cpus;
  double table_bytes = 0;
  for (size_t rank = 0; rank < facts.size(); ++rank) {
    // Programs are compared among their like: pepnet_ps is another file than pepnet, and loads no
    // libtorch.
    const size_t first = first_of_program.emplace(facts[rank].program, rank).first->second;
    PEPNET_RETURN_IF_ERROR(CompareWithFirst(facts, first, rank));
    if (facts[rank].open_files > 0 && facts[rank].open_files < files_needed) {
      return absl::FailedPreconditionError(absl::StrCat(Name(facts, rank), " may open ", facts[rank].open_files,
                                                        " files, a job of ", facts.size(), " ranks needs ",
                                                        files_needed, ": raise the limit (ulimit -n)"));
    }
    ranks_of_host[facts[rank].host].push_back(rank);
    table_bytes = std::max(table_bytes, facts[rank].table_bytes);
    if (!facts[rank].cpu.empty()) cpus.insert(facts[rank].cpu);
  }
  if (cpus.size() > 1) {
    report.warnings.push_back(absl::StrCat("the workers' hosts have different CPUs (", absl::StrJoin(cpus, "; "),
                                           "): their results differ in the last bits from those of equal hosts"));
  }
  const std::set<int> servers(layout.server_ranks.begin(), layout.server_ranks.end());
  const std::set<int> workers(layout.worker_ranks.begin(), layout.worker_ranks.end());
  for (const auto& [host, ranks_of_this] : ranks_of_host) {
    const std::vector<size_t>& ranks = ranks_of_this;  // a lambda cannot use a structured binding
    const auto count_in = [&ranks](const std::set<int>& role) {
      return std::count_if(ranks.begin(), ranks.end(),
                           [&](size_t rank) { return role.count(static_cast<int>(rank)) > 0; });
    };
    const int64_t working = count_in(workers), serving = count_in(servers);
    const double memory = static_cast<double>(facts[ranks[0]].memory_bytes);
    // Rows are spread over servers by a hash, so each needs about the same.
    const double need =
        servers.empty() ? 0 : table_bytes * static_cast<double>(serving) / static_cast<double>(servers.size());
    report.lines.push_back(
        absl::StrFormat("host %s: %d worker(s), %d server(s), %.1f GB free, %.1f GB if every table fills", host,
                        working, serving, 1e-9 * memory, 1e-9 * need));
    if (memory > 0 && need > memory) {
      report.warnings.push_back(
          absl::StrFormat("host %s has %.1f GB free, its %d server(s) will need %.1f GB if every table fills: spread "
                          "the servers over more hosts",
                          host, 1e-9 * memory, serving, 1e-9 * need));
    }
  }
  return report;
}

StatusOr<StartReport> CheckStart(Transport* transport, const Layout& layout, const RankFacts& mine) {
  std::vector<int> ranks(static_cast<size_t>(transport->size()));
  std::iota(ranks.begin(), ranks.end(), 0);
  // All ranks, servers too, judge the same facts in the same way, so that all end with the same
  // error.
  const std::unique_ptr<Collective> all = MakeCollective(transport, Channel::kControl, ranks, kStartSeconds);
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> texts,
                          all->Allgather(Encode(mine), "check of all ranks before the start"));
  std::vector<RankFacts> facts;
  for (size_t rank = 0; rank < texts.size(); ++rank) {
    PEPNET_ASSIGN_OR_RETURN(RankFacts fact, Decode(texts[rank], static_cast<int>(rank)));
    facts.push_back(std::move(fact));
  }
  return JudgeStart(facts, layout);
}

}  // namespace pepnet

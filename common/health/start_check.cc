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
  for (const char* prefix : {"libmpi.so", "libopen-pal.so", "libarrow.so", "libparquet.so",
                             "libtorch_cpu.so", "libtorch_cuda.so", "libcudart.so", "libnccl.so"}) {
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
  if (std::ifstream("/sys/fs/cgroup/memory.max") >> limit &&
      std::ifstream("/sys/fs/cgroup/memory.current") >> used) {
    available = std::min(available, limit - used);
  }
  return available;
}

std::string Encode(const RankInfo& info) {
  wire::RankInfo out;
  out.set_host(info.host);
  out.set_role(info.role);
  out.set_program(info.program);
  out.set_program_checksum(info.program_checksum);
  out.set_config_checksum(info.config_checksum);
  out.set_cpu(info.cpu);
  for (const auto& [name, version] : info.libraries) (*out.mutable_libraries())[name] = version;
  out.set_memory_bytes(info.memory_bytes);
  out.set_open_files(info.open_files);
  out.set_table_bytes(info.table_bytes);
  return out.SerializeAsString();
}

StatusOr<RankInfo> Decode(const std::string& bytes, int rank) {
  wire::RankInfo in;
  if (!in.ParseFromString(bytes)) {
    return InvalidInput("rank ", rank,
                        " runs another version of pepnet: start all ranks with the same build");
  }
  RankInfo info;
  info.host = in.host();
  info.role = in.role();
  info.program = in.program();
  info.program_checksum = in.program_checksum();
  info.config_checksum = in.config_checksum();
  info.cpu = in.cpu();
  info.libraries.insert(in.libraries().begin(), in.libraries().end());
  info.memory_bytes = in.memory_bytes();
  info.open_files = in.open_files();
  info.table_bytes = in.table_bytes();
  return info;
}

std::string Name(const std::vector<RankInfo>& info, size_t rank) {
  return absl::StrCat("rank ", rank, " (", info[rank].role, " on host ", info[rank].host, ")");
}

// `rank` is compared with the first rank that runs the same program.
Status CompareWithFirst(const std::vector<RankInfo>& info, size_t first, size_t rank) {
  const RankInfo &a = info[first], &b = info[rank];
  const std::string who = absl::StrCat(Name(info, first), " and ", Name(info, rank));
  if (a.program_checksum != b.program_checksum) {
    return absl::FailedPreconditionError(
        absl::StrCat(who, " run different builds of ", a.program, " (", a.program_checksum, "; ",
                     b.program_checksum, "): install the same one on all hosts"));
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
    return absl::FailedPreconditionError(
        absl::StrCat(who, " have different libraries: ", name, " is not loaded there and has ",
                     version, " here: install the same versions on all hosts"));
  }
  if (!a.config_checksum.empty() && !b.config_checksum.empty() &&
      a.config_checksum != b.config_checksum) {
    return absl::FailedPreconditionError(
        absl::StrCat(who,
                     " have different configs or flags: start all workers with the same "
                     "--pipeline_config_path, --edit_config_json and flags"));
  }
  return absl::OkStatus();
}

}  // namespace

RankInfo InfoOfThisRank(const std::string& role, const std::string& config_text,
                        const std::string& cpu) {
  RankInfo info;
  char host[256] = {};
  info.host = gethostname(host, sizeof(host) - 1) == 0 ? host : "unknown host";
  info.role = role;
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) {
    info.program = program.filename();
    if (const StatusOr<FileChecksum> sum = ChecksumFile(program); sum.ok()) {
      info.program_checksum = absl::StrFormat("%d bytes, crc32c %08x", sum->bytes, sum->crc32c);
    }
  }
  if (!config_text.empty()) {
    info.config_checksum =
        absl::StrFormat("%08x", ExtendCrc32c(0, config_text.data(), config_text.size()));
  }
  info.cpu = cpu;
  info.libraries = LoadedLibraries();
  info.memory_bytes = AvailableMemory();
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY) {
    info.open_files = static_cast<int64_t>(files.rlim_cur);
  }
  return info;
}

StatusOr<StartReport> CheckStart(const std::vector<RankInfo>& info, const Layout& layout) {
  StartReport report;
  const int64_t files_needed = kOwnFiles + kFilesPerPeer * static_cast<int64_t>(info.size());
  std::map<std::string, size_t> first_of_program;
  std::map<std::string, std::vector<size_t>> ranks_of_host;
  std::set<std::string> cpus;
  double table_bytes = 0;
  for (size_t rank = 0; rank < info.size(); ++rank) {
    // Programs are compared among their like: pepnet_ps is another file than pepnet, and loads no
    // libtorch.
    const size_t first = first_of_program.emplace(info[rank].program, rank).first->second;
    PEPNET_RETURN_IF_ERROR(CompareWithFirst(info, first, rank));
    if (info[rank].open_files > 0 && info[rank].open_files < files_needed) {
      return absl::FailedPreconditionError(absl::StrCat(
          Name(info, rank), " may open ", info[rank].open_files, " files, a job of ", info.size(),
          " ranks needs ", files_needed, ": raise the limit (ulimit -n)"));
    }
    ranks_of_host[info[rank].host].push_back(rank);
    table_bytes = std::max(table_bytes, info[rank].table_bytes);
    if (!info[rank].cpu.empty()) cpus.insert(info[rank].cpu);
  }
  if (cpus.size() > 1) {
    report.warnings.push_back(
        absl::StrCat("the workers' hosts have different CPUs (", absl::StrJoin(cpus, "; "),
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
    const double memory = static_cast<double>(info[ranks[0]].memory_bytes);
    // Rows are spread over servers by a hash, so each needs about the same.
    const double need = servers.empty() ? 0
                                        : table_bytes * static_cast<double>(serving) /
                                              static_cast<double>(servers.size());
    report.lines.push_back(absl::StrFormat(
        "host %s: %d worker(s), %d server(s), %.1f GB free, %.1f GB if every table fills", host,
        working, serving, 1e-9 * memory, 1e-9 * need));
    if (memory > 0 && need > memory) {
      report.warnings.push_back(
          absl::StrFormat("host %s has %.1f GB free, its %d server(s) will need %.1f GB if every "
                          "table fills: spread "
                          "the servers over more hosts",
                          host, 1e-9 * memory, serving, 1e-9 * need));
    }
  }
  return report;
}

StatusOr<StartReport> CheckStart(Transport* transport, const Layout& layout, const RankInfo& mine) {
  std::vector<int> ranks(static_cast<size_t>(transport->size()));
  std::iota(ranks.begin(), ranks.end(), 0);
  // All ranks, servers too, check the same info in the same way, so that all end with the same
  // error.
  const std::unique_ptr<Collective> all =
      MakeCollective(transport, Channel::kControl, ranks, kStartSeconds);
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> texts,
                          all->Allgather(Encode(mine), "check of all ranks before the start"));
  std::vector<RankInfo> info;
  for (size_t rank = 0; rank < texts.size(); ++rank) {
    PEPNET_ASSIGN_OR_RETURN(RankInfo one, Decode(texts[rank], static_cast<int>(rank)));
    info.push_back(std::move(one));
  }
  return CheckStart(info, layout);
}

}  // namespace pepnet

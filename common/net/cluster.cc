#include "common/net/cluster.h"

#include <mpi.h>

#include <cstdlib>
#include <cstring>
#include <numeric>
#include <thread>

#include "common/base/logging.h"
#include "common/base/mutex.h"
#include "common/base/threads.h"
#include "common/net/collective.h"
#include "common/net/mpi_transport.h"

namespace pepnet {
namespace {

// Ranks start together; a slow file system may hold one back.
constexpr double kRoleExchangeSeconds = 60;
constexpr double kLastMessagesSeconds = 10;
// MPI_Finalize waits for all ranks, and has no deadline of its own
constexpr double kFinalizeSeconds = 60;

StatusOr<Layout> MakeLayout(std::vector<int> workers, std::vector<int> servers, int rank) {
  Layout layout;
  layout.worker_ranks = std::move(workers);
  layout.server_ranks = std::move(servers);
  for (size_t i = 0; i < layout.worker_ranks.size(); ++i) {
    if (layout.worker_ranks[i] == rank) layout.index = static_cast<int>(i);
  }
  for (size_t i = 0; i < layout.server_ranks.size(); ++i) {
    if (layout.server_ranks[i] != rank) continue;
    layout.role = Role::kServer;
    layout.index = static_cast<int>(i);
  }
  return layout;
}

// The form in which a request travels.
struct WireRoleRequest {
  int32_t wants_to_serve;
  int32_t num_servers;
  int32_t colocated;
};

// Open MPI writes the whole of a long message to a TCP connection as soon as its receiver asks for
// it, and what that receiver's own message has to be asked for with stands behind it: two ranks
// that send to each other at the same time do it one after the other. In fragments both go at once
// (a sum over two hosts takes 0.7 of the time; docs/performance.md). What mpirun or the environment
// sets counts.
void ShareLinksBothWays() {
  setenv("OMPI_MCA_btl_tcp_rdma_pipeline_frag_size", "262144", /*replace=*/0);
}

const char* PlacementName(bool colocated) { return colocated ? "colocated" : "dedicated"; }

}  // namespace

StatusOr<Layout> LayoutFromRequests(std::span<const RoleRequest> requests, int rank) {
  const int size = static_cast<int>(requests.size());
  std::vector<int> servers, workers;
  for (int r = 0; r < size; ++r) {
    (requests[static_cast<size_t>(r)].wants_to_serve ? servers : workers).push_back(r);
  }
  const int served = static_cast<int>(servers.size());
  if (workers.empty()) {
    return InvalidInput("mpirun started ", size,
                        " pepnet_ps ranks and no worker: start workers beside them, for example ",
                        "mpirun -n ", size, " pepnet_ps : -n 1 pepnet train ...");
  }
  // Flags of pepnet_ps ranks do not count: that they serve is all they say.
  const int num_servers = requests[static_cast<size_t>(workers[0])].num_servers;
  const bool colocated = requests[static_cast<size_t>(workers[0])].colocated;
  for (int r : workers) {
    const RoleRequest& other = requests[static_cast<size_t>(r)];
    if (other.num_servers != num_servers) {
      return InvalidInput("rank ", workers[0], " was started with --num_servers=", num_servers,
                          " and rank ", r, " with ", other.num_servers,
                          ": give all workers the same value");
    }
    if (other.colocated != colocated) {
      return InvalidInput("rank ", workers[0],
                          " was started with --placement=", PlacementName(colocated), " and rank ",
                          r, " with ", PlacementName(other.colocated),
                          ": give all workers the same value");
    }
  }
  if (num_servers < 0) {
    return InvalidInput("--num_servers=", num_servers, ": expected 0 (not given) or more");
  }
  if (served > 0 && colocated) {
    return InvalidInput("--placement=colocated lets every worker serve as well, but ", served,
                        " pepnet_ps ranks were started: leave them out, or drop --placement");
  }
  if (served > 0) {
    if (num_servers > 0 && num_servers != served) {
      return InvalidInput("--num_servers=", num_servers, ", but ", served,
                          " pepnet_ps ranks were started: drop --num_servers, ",
                          "or make both numbers equal");
    }
    return MakeLayout(workers, servers, rank);
  }
  if (size == 1) return MakeLayout(workers, servers, rank);
  if (colocated) {
    if (num_servers > 0 && num_servers != size) {
      return InvalidInput("--num_servers=", num_servers,
                          " with --placement=colocated: each of the ", size,
                          " ranks works and serves, drop --num_servers or make it ", size);
    }
    Layout layout{workers, workers};
    layout.index = rank;
    layout.colocated = true;
    return layout;
  }
  if (num_servers == 0) {
    return InvalidInput("mpirun started ", size,
                        " ranks but no server: add --num_servers=N (N of the ", size,
                        " ranks will serve), or --placement=colocated (each rank works and "
                        "serves), or start pepnet_ps "
                        "ranks beside this program (mpirun -n N pepnet_ps : -n ",
                        size, " pepnet train ...)");
  }
  if (num_servers >= size) {
    return InvalidInput("--num_servers=", num_servers, " of ", size,
                        " ranks leaves no worker: use at most ", size - 1, ", or start more ranks");
  }
  // The last ranks serve, so that worker 0, which opens the job's files and its report, is rank 0.
  servers.assign(workers.end() - num_servers, workers.end());
  workers.resize(static_cast<size_t>(size - num_servers));
  return MakeLayout(workers, servers, rank);
}

struct MpiSession::State {
  std::unique_ptr<MpiTransport> transport;
};

bool MpiSession::StartedByLauncher() {
  return std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr || std::getenv("PMIX_RANK") != nullptr;
}

MpiSession::MpiSession() : state_(std::make_unique<State>()) {}

StatusOr<std::unique_ptr<MpiSession>> MpiSession::Start(MpiOptions options) {
  int provided = MPI_THREAD_SINGLE;
  ShareLinksBothWays();
  PEPNET_RETURN_IF_ERROR(
      MpiStatus(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), "start"));
  if (provided < MPI_THREAD_MULTIPLE) {
    return absl::FailedPreconditionError(
        "this MPI library was built without MPI_THREAD_MULTIPLE: use one that has it (Open MPI: "
        "--enable-mpi-thread-multiple)");
  }
  // By default MPI ends all ranks at an error. Returned instead, it becomes a message that says
  // what was being done, and the other ranks learn the cause.
  PEPNET_RETURN_IF_ERROR(MpiStatus(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN),
                                   "set the error handler"));
  std::unique_ptr<MpiSession> session(new MpiSession());
  PEPNET_ASSIGN_OR_RETURN(session->state_->transport,
                          MpiTransport::Create(MPI_COMM_WORLD, {options.split_bytes}));
  return session;
}

MpiSession::~MpiSession() {
  // Start() failed half way: the process ends with its error
  if (state_->transport == nullptr) return;
  const Status flushed =
      state_->transport->Flush(After(std::chrono::duration<double>(kLastMessagesSeconds)));
  // The thread "mpi-send" ends here: no thread may call MPI beside or behind MPI_Finalize.
  state_->transport.reset();
  if (!flushed.ok()) {
    LOG(ERROR) << "at the end of the job: " << flushed.message();
    return;
  }
  Mutex mutex;
  CondVar changed;
  bool done = false;
  std::thread guard;
  const auto watch_over = [&] {
    MutexLock lock(&mutex);
    const Deadline deadline = After(std::chrono::duration<double>(kFinalizeSeconds));
    while (!done && changed.WaitUntil(&mutex, deadline)) {
    }
    if (done) return;
    LOG(ERROR) << "this rank has done its part, but another has not ended within "
               << kFinalizeSeconds << " s (MPI_Finalize)";
    // exit() would run destructors while the main thread is still inside MPI_Finalize.
    std::_Exit(1);
  };
  // Without a thread to spare MPI_Finalize has no deadline of ours; the job is done all the same.
  if (const Status started = Caught([&] {
        guard = StartThread("finalize", watch_over);
        return absl::OkStatus();
      });
      !started.ok()) {
    LOG(WARNING) << "at the end of the job: " << started.message();
  }
  MPI_Finalize();
  {
    MutexLock lock(&mutex);
    done = true;
  }
  changed.NotifyAll();
  if (guard.joinable()) guard.join();
}

Transport* MpiSession::transport() { return state_->transport.get(); }

StatusOr<Layout> MpiSession::ExchangeRoles(const RoleRequest& request, Transport* transport) {
  std::vector<int> ranks(static_cast<size_t>(transport->size()));
  std::iota(ranks.begin(), ranks.end(), 0);
  const WireRoleRequest mine{request.wants_to_serve ? 1 : 0, request.num_servers,
                             request.colocated ? 1 : 0};
  PEPNET_ASSIGN_OR_RETURN(
      const std::vector<std::string> all,
      MakeCollective(transport, Channel::kControl, ranks, kRoleExchangeSeconds)
          ->Allgather(std::string(reinterpret_cast<const char*>(&mine), sizeof(mine)),
                      "roles of the ranks"));
  std::vector<RoleRequest> requests;
  for (size_t r = 0; r < all.size(); ++r) {
    WireRoleRequest other;
    if (all[r].size() != sizeof(other)) {
      return InvalidInput("rank ", r,
                          " runs another version of pepnet: start all ranks with the same build");
    }
    // The struct travels as it lies in memory. Ranks of one job have one build, which the size
    // checks roughly here and CheckStart() (common/health) exactly.
    std::memcpy(&other, all[r].data(), sizeof(other));
    requests.push_back({other.wants_to_serve != 0, other.num_servers, other.colocated != 0});
  }
  return LayoutFromRequests(requests, transport->rank());
}

void MpiSession::Abort(int exit_status) {
  MPI_Abort(MPI_COMM_WORLD, exit_status);
  std::_Exit(exit_status);  // should MPI_Abort return
}

std::string MpiSession::host() const {
  char name[MPI_MAX_PROCESSOR_NAME] = {};
  int length = 0;
  if (MPI_Get_processor_name(name, &length) != MPI_SUCCESS) return "unknown host";
  return std::string(name, static_cast<size_t>(length));
}

}  // namespace pepnet

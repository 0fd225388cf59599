// Cluster: who is who in a job. Owns the transport and, in one process, the threads of the embedded
// servers.
//
//   one process, no mpirun      -> 1 worker, its servers are threads of this process (embedded)
//   mpirun, --num_servers=N > 0 -> the last N ranks serve, the others work
//   mpirun with pepnet_ps ranks -> those serve, the others work (roles are exchanged at start)
//   mpirun, colocated           -> every rank works, and serves with a thread of its own: one
//                                  address, reached as a server on Channel::kRequests and as a
//                                  worker on the others
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/net/transport.h"

namespace pepnet {

enum class Role { kServer, kWorker };

struct Layout {
  std::vector<int> worker_ranks;  // by worker index
  std::vector<int> server_ranks;  // by server index
  Role role = Role::kWorker;      // colocated: kWorker
  int index = 0;                  // worker or server index of this rank; colocated: both
  bool colocated = false;
};

// The request of one rank.
struct RoleRequest {
  bool wants_to_serve = false;  // this is pepnet_ps
  int num_servers = 0;          // --num_servers; 0: not given
  bool colocated = false;       // --placement=colocated
};
// The layout of a job whose rank r asked for requests[r], as `rank` sees it. The same requests give
// every rank the same lists or the same error. One rank alone works, whatever it asked for: its
// caller embeds the servers.
StatusOr<Layout> LayoutFromRequests(std::span<const RoleRequest> requests, int rank);

struct MpiOptions {
  size_t split_bytes = size_t{1} << 30;  // longer messages travel in pieces; tests take a small one
};

// MPI for the life of the object. Initialises MPI with MPI_THREAD_MULTIPLE (an error if the library
// gives less).
class MpiSession {
 public:
  // True if this process was started by mpirun (or Slurm's PMIx) as one of several ranks or of one.
  static bool StartedByLauncher();
  static StatusOr<std::unique_ptr<MpiSession>> Start(MpiOptions options = {});
  // MPI_Finalize. If messages are left that their receivers do not take, it says so and leaves MPI
  // unfinalised, which mpirun reports as a failure: a lost message must not look like success.
  ~MpiSession();

  Transport* transport();
  // The role that each rank requests: exchanged here, so every rank returns the same lists. Errors
  // (same on all ranks): more servers than ranks, no worker left, several ranks without any server,
  // requests that do not fit together. `via`: transport() or one in front of it.
  StatusOr<Layout> ExchangeRoles(const RoleRequest& request, Transport* via);
  // Ends all ranks of the job with `exit_status`. Only main() calls it.
  [[noreturn]] void Abort(int exit_status);

  std::string host() const;

 private:
  MpiSession();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pepnet

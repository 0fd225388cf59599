// RunJob: wires the roles together (who serves, who works) and runs `work` on every worker of the
// job.
//
//   no mpirun:  the servers are threads of this process, the worker is the calling thread.
//   mpirun:     this rank serves until it is told to stop, or works; roles as in
//               common/net/cluster.h. Colocated it does both: the server is the thread "server-N".
// Failure: a failing worker or server ends its role with an error; main() then ends all ranks. Of a
// rank that does both, the first error ends the waits of the other role, too. Waits are watched by
// flags.run.watch (may be null unless colocated).
#pragma once

#include <functional>

#include "cli/job/flags.h"
#include "common/base/status.h"
#include "common/job_config/job_config.h"
#include "common/net/cluster.h"
#include "worker/context/worker_context.h"

namespace pepnet {

Status RunJob(const JobConfig& config, const JobFlags& flags, MpiSession* session,
              const std::function<Status(const WorkerContext&)>& work);

// --threads, else OMP_NUM_THREADS, else the cores of this host shared among its ranks. Error: a
// variable that is no number.
StatusOr<int> ThreadsOf(const JobFlags& flags);

// The bytes of a table on all servers, counters for admission included, when it holds the rows to
// plan for.
double PlannedBytes(const Table& table, const JobConfig& config);

// Ends after kShutdown: the body of serving ranks. watch: may be null.
Status Serve(Transport* transport, JobWatch* watch);

}  // namespace pepnet

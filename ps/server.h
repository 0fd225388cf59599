// Server: the event loop of one parameter server. Owns the rows whose buckets fall into its range.
//
// Threads:   Run() on one thread; no locks. With `threads` > 1 it shares the tables of a pull or of
//            a step out among a team of its own; no bit depends on how many. Borrows the transport,
//            while it runs.
// Lifetime:  rows that workers of this process pulled by reference lie in it: it outlives their
//            use.
// Protocol:  common/net/message.h. Pulls of step t are answered once step t-1 is applied; when all
//            workers' pushes of step t have arrived, they are added in worker order and applied
//            once per row (design section 5).
// Failure:   a request that cannot be served is answered with an error frame. A broken frame, a
//            push that cannot be applied or a lost transport ends Run(); all workers then get an
//            error frame with the cause.
// Waiting:   an idle server waits on the transport and uses next to no core. With a JobWatch the
//            next request has a deadline: the plan's, the longer one while a worker announces a
//            phase; and it ends when a rank of the job is lost. Without one (a job of one process)
//            it waits until kShutdown or until the transport fails.
#pragma once

#include <memory>

#include "common/base/status.h"
#include "common/health/job_watch.h"
#include "common/net/transport.h"

namespace pepnet {

class Server {
 public:
  // watch: may be null. Borrows both.
  explicit Server(Transport* transport, JobWatch* watch = nullptr, int threads = 1);
  ~Server();
  // Serves until kShutdown (OK) or an error.
  Status Run();

 private:
  Status Serve();

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pepnet

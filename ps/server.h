// Server: the event loop of one parameter server. Owns the rows whose buckets fall into its range.
//
// Threads:   Run() on one thread; no locks. Borrows the transport.
// Protocol:  common/net/message.h. Pulls of step t are answered once step t-1 is applied; when all workers' pushes of
//            step t have arrived, they are added in worker order and applied once per row (design section 5).
// Failure:   a request that cannot be served is answered with an error frame. A broken frame, a push that cannot be
//            applied or a lost transport ends Run(); all workers then get an error frame with the cause.
// Waiting:   an idle server waits on the transport and uses next to no core; it waits for work without a deadline of
//            its own (workers hold the deadlines) and ends on kShutdown or when the transport fails.
#pragma once

#include <memory>

#include "common/base/status.h"
#include "common/net/transport.h"

namespace pepnet {

class Server {
 public:
  explicit Server(Transport* transport);
  ~Server();
  // Serves until kShutdown (OK) or an error.
  Status Run();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pepnet

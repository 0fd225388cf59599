// WatchedWait: one wait of this rank, registered in the table of open waits while it lasts. It
// fails when a rank of the job is lost, with the root cause in the error. Time during which this
// process was suspended (a scheduler, a debugger) does not count towards the deadline.
//
//   WatchedWait wait(status, peers, peer, deadline, what);
//   while (nothing has come by wait.NextProbe()) PEPNET_RETURN_IF_ERROR(wait.Probe(words));
//
// Ownership: borrows `status` and `peers`; both may be null (nobody watches: the deadline alone
//            counts).
// Threads:   used by the thread that waits.
#pragma once

#include <functional>
#include <string>

#include "common/base/status.h"
#include "common/health/peer_watch.h"
#include "common/health/rank_status.h"
#include "common/net/transport.h"

namespace pepnet {

class WatchedWait {
 public:
  // peer: the endpoint that is waited for; its rank may be kAnyRank. by_server: the waiting thread
  // is the server of a colocated rank.
  WatchedWait(RankStatus* status, const PeerWatch* peers, Endpoint peer, Deadline deadline,
              const std::string& what, bool by_server = false);

  // The time until which the caller may poll before it calls Probe(): at most 250 ms from
  // now.
  Deadline NextProbe();
  // Nothing has come by then. OK: wait on. Unavailable: a rank of the job is lost. Else the
  // deadline has passed: the error that `words` makes of the time at which the wait began, and
  // the root cause (a wait of at most 250 ms is a probe, whose error names none).
  Status Probe(const std::function<Status(Clock::time_point start)>& words);
  // The wait ends with this error: returns it with the root cause, and keeps it for the job's
  // report.
  Status Fail(const Status& error);

 private:
  RankStatus* const status_;
  const PeerWatch* const peers_;
  const Endpoint peer_;
  const bool by_server_;
  const std::string what_;
  Clock::time_point start_ = Clock::now();
  Deadline deadline_;
  Deadline probe_ = start_;
  RankStatus::Wait wait_;
};

}  // namespace pepnet

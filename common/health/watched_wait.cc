#include "common/health/watched_wait.h"

#include <algorithm>

namespace pepnet {
namespace {

// A thread that wakes up so late was suspended, or starved: that time does not count.
constexpr std::chrono::seconds kSuspended(2);
constexpr std::chrono::milliseconds kProbe(250);  // how often a wait probes whether a peer is lost

}  // namespace

WatchedWait::WatchedWait(RankStatus* status, const PeerWatch* peers, Endpoint peer,
                         Deadline deadline, const std::string& what, bool by_server)
    : status_(status),
      peers_(peers),
      peer_(peer),
      by_server_(by_server),
      what_(what),
      deadline_(deadline),
      wait_(status, peer.rank, deadline, what, peer.server) {}

Deadline WatchedWait::NextProbe() {
  const Clock::time_point now = Clock::now();
  probe_ = std::max(now, std::min(deadline_, now + kProbe));
  return probe_;
}

Status WatchedWait::Probe(const std::function<Status(Clock::time_point start)>& words) {
  // The time lost by suspension is given back first, so that no deadline has passed because of it.
  if (const Clock::duration late = Clock::now() - probe_; late > kSuspended) {
    start_ += late;
    deadline_ += late;
    wait_.Extend(late);
  }
  // A lost rank comes before the deadline: it is the cause, the deadline a symptom. Any rank
  // counts, not only the one that is waited for, since no step ends without all of them.
  if (peers_ != nullptr) {
    const Status lost = peers_->Lost();
    if (!lost.ok()) {
      const Status ended = Annotate(lost, absl::StrCat("waiting for ", what_));
      wait_.Fail(ended);
      return ended;
    }
  }
  if (Clock::now() < deadline_) return absl::OkStatus();
  const Status timed_out = words(start_);
  // Its caller only probed whether something has come.
  if (deadline_ - start_ <= kProbe) return timed_out;
  return Fail(timed_out);
}

Status WatchedWait::Fail(const Status& error) {
  // A wait for any rank is one for the rank that Expect() has named.
  const int rank = peer_.rank == kAnyRank && status_ != nullptr ? wait_.view().peer : peer_.rank;
  const std::string why =
      peers_ == nullptr ? "" : peers_->Explain({rank, peer_.server}, by_server_);
  const Status failed =
      why.empty() ? error : Status(error.code(), absl::StrCat(error.message(), "; ", why));
  wait_.Fail(failed);
  return failed;
}

}  // namespace pepnet

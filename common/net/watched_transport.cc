#include "common/net/watched_transport.h"

#include <algorithm>

#include "common/net/wait_error.h"

namespace pepnet {
namespace {

// Who wakes up so late was suspended, or starved: that time does not count.
constexpr std::chrono::seconds kSuspended(2);
constexpr std::chrono::milliseconds kLook(
    250);  // how often a wait looks whether a peer is lost; shorter waits just poll

}  // namespace

StatusOr<Message> WatchedTransport::Receive(Channel channel, int source, Deadline deadline, const std::string& what) {
  Clock::time_point start = Clock::now();
  const bool on_server = channel == Channel::kRows || channel == Channel::kSave;  // these come from servers only
  RankStatus::Wait wait(status_, source, deadline, what, on_server);
  while (true) {
    const Clock::time_point now = Clock::now();
    const Deadline look = std::min(deadline, now + kLook);
    StatusOr<Message> message = inner_->Receive(channel, source, look, what);
    if (!absl::IsDeadlineExceeded(message.status())) return message;
    if (const Clock::duration late = Clock::now() - std::max(look, now); late > kSuspended) {
      start += late;
      deadline += late;
      wait.Extend(late);
    }
    if (peers_ != nullptr) {
      const Status lost = peers_->Lost();
      if (!lost.ok()) {
        const Status ended = Annotate(lost, absl::StrCat("waiting for ", what));
        wait.Fail(ended);
        return ended;
      }
    }
    if (Clock::now() < deadline) continue;
    Status timed_out = WaitTimedOut(what, channel, source, start);
    if (deadline - start <= kLook) return timed_out;  // its caller only looked whether something has come
    const int peer = source == kAnyRank && status_ != nullptr ? wait.view().peer : source;
    const std::string why = peers_ == nullptr ? "" : peers_->Explain({peer, on_server}, of_server_);
    if (!why.empty()) timed_out = absl::DeadlineExceededError(absl::StrCat(timed_out.message(), "; ", why));
    wait.Fail(timed_out);
    return timed_out;
  }
}

}  // namespace pepnet

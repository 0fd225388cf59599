#include "common/health/watched_transport.h"

#include "common/health/watched_wait.h"
#include "common/net/wait_error.h"

namespace pepnet {

StatusOr<Message> WatchedTransport::Receive(Channel channel, int source, Deadline deadline,
                                            const std::string& what) {
  // These come from servers only.
  const bool on_server = channel == Channel::kRows || channel == Channel::kSave;
  WatchedWait wait(status_, peers_, {source, on_server}, deadline, what, of_server_);
  while (true) {
    StatusOr<Message> message = inner_->Receive(channel, source, wait.NextProbe(), what);
    if (!absl::IsDeadlineExceeded(message.status())) return message;
    PEPNET_RETURN_IF_ERROR(wait.Probe(
        [&](Clock::time_point start) { return WaitTimedOut(what, channel, source, start); }));
  }
}

}  // namespace pepnet

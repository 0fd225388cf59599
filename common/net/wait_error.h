// The one wording of a wait whose deadline has passed, for every transport.
#pragma once

#include <string>

#include "common/net/transport.h"

namespace pepnet {

inline const char* ChannelName(Channel channel) {
  switch (channel) {
    case Channel::kRows:
      return "rows";
    case Channel::kDense:
      return "dense";
    case Channel::kControl:
      return "control";
    case Channel::kSave:
      return "save";
    case Channel::kHeartbeats:
      return "heartbeats";
    case Channel::kRequests:
      return "requests";
  }
  return "unknown";
}

// "waited 30.0 s for rows of step 17 from rank 2 (channel rows), nothing came". `start`: when the
// wait began.
inline Status WaitTimedOut(const std::string& what, Channel channel, int source,
                           Clock::time_point start) {
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return absl::DeadlineExceededError(
      absl::StrCat("waited ", absl::SixDigits(seconds), " s for ", what, " from ",
                   source == kAnyRank ? std::string("any rank") : absl::StrCat("rank ", source),
                   " (channel ", ChannelName(channel), "), nothing came"));
}

}  // namespace pepnet

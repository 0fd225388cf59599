// PeerView: what one rank knows of another, and of itself, in data and in words.
#pragma once

#include <cstdint>
#include <string>

#include "common/health/rank_status.h"
#include "common/net/transport.h"
#include "common/process/process_identity.h"

namespace pepnet {

enum class PeerState { kUnheard, kAlive, kSilent, kStopped, kDead, kFailed, kLeft };
const char* PeerStateName(PeerState state);  // "unheard", "alive", "silent", ...

// Whom a wait is for: a rank, or in a rank that works and serves one of the two.
struct Endpoint {
  int rank = kAnyRank;
  bool server = false;  // of no meaning for a rank with one role
};

// PeerView is what this rank knows of one rank (of itself, too).
struct PeerView {
  int rank = -1;
  std::string role;
  ProcessIdentity process;
  PeerState state = PeerState::kUnheard;
  double age_s = 0;  // of its last heartbeat (kUnheard: since the start)
  int64_t step = 0;
  std::string phase, failure;
  RankStatus::WaitView wait;         // what == "": none
  bool colocated = false;            // it works and serves; step, phase and wait are its worker's
  RankStatus::WaitView server_wait;  // its server's, if colocated
  // "rank 2 (server 0 on host h, pid 7)"
  std::string Name() const;
  // "in step 17, waits 3.1 s for rows of step 18 from rank 2"; of a colocated rank both roles.
  std::string Doing() const;
  // The open wait of one of its roles.
  const RankStatus::WaitView& WaitOf(bool server) const {
    return colocated && server ? server_wait : wait;
  }
};

// "3.1 s"
std::string Tenths(double seconds);

}  // namespace pepnet

// The lost rank, and the root cause of a wait, as pure functions of a rank's knowledge.
// PeerWatch brings the heartbeats that it knows it from.
//
// Words:   dead: the process is gone (seen on the same host). hung: silent, its process is there or
//          on another host. slow: it heartbeats, but somebody's deadline passed. failed: it said
//          so.
// Time:    is counted in heartbeats of this rank, so a job that was suspended as a whole does not
//          wake up to dead peers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "common/health/peer_view.h"
#include "common/process/process_identity.h"

namespace pepnet {

// One other rank, as this one has heard it.
struct PeerRecord {
  PeerView view;
  int64_t silent_periods = 0;  // own heartbeats since its last one
  int gone_probes = 0;         // probes in a row that found no process
  int64_t failed_periods = 0;  // own heartbeats since it said that it fails
};

struct Patience {
  double period_s = 0;         // between two own heartbeats
  double silence_s = 0;        // after which a rank counts as hung
  double failure_grace_s = 0;  // what a rank that says it fails has to end the job itself
};

// True if the rank is so late that its process is to be probed for.
bool NeedsProbe(const PeerRecord& peer);
// To be called once per own heartbeat, with view.age_s up to date. Notes in `peer` how it stands
// now, and returns why the job cannot go on with it, "is dead: its process is gone", or "".
// `process`: what a probe has shown; of no meaning if there was no need for one.
std::string WhyLost(ProcessState process, const Patience& patience, PeerRecord* peer);
// The sentence about a rank that is lost: its name, `how` of WhyLost(), and what was last heard of
// it.
std::string LossText(const PeerView& view, absl::string_view how);

// JobView is what one rank knows of the job at one moment.
struct JobView {
  std::vector<PeerView> ranks;  // by rank, with the own one
  int own = 0;                  // who asks
  double period_s = 0;          // shorter waits are no news
};

// The root cause of a wait for `peer`. Follows the open waits, as long as a rank is
// alive and waits for another one than the asker. For any rank (kAnyRank): the first that has
// failed, else one that is dead or stopped, else one that is silent. kAnyRank if nobody. by_server:
// it is the server of the asking rank that waits, which works as well.
Endpoint RootCause(const JobView& job, Endpoint peer, bool by_server);
// One clause for the end of the message about a wait for `peer` that timed out: how `cause`, of
// RootCause(), stands. "" if there is no root cause, or it is the asker itself.
std::string CauseText(const JobView& job, Endpoint peer, Endpoint cause, bool by_server);

}  // namespace pepnet

#include "common/health/root_cause.h"

#include "absl/strings/str_cat.h"

#include "common/base/mutant.h"

namespace pepnet {
namespace {

constexpr int64_t kProbeAfterPeriods = 3;  // a rank that is late by so many is probed for in /proc

// For any rank: one that sends no heartbeats.
Endpoint LeastHealthy(const std::vector<PeerView>& ranks) {
  for (const PeerView& view : ranks) {  // others may be dead because it ended the job
    if (view.state == PeerState::kFailed) return {view.rank};
  }
  int silent = kAnyRank;
  for (const PeerView& view : ranks) {
    if (view.state == PeerState::kDead || view.state == PeerState::kStopped) return {view.rank};
    if (view.state == PeerState::kSilent && silent == kAnyRank) silent = view.rank;
  }
  return {silent};
}

}  // namespace

bool NeedsProbe(const PeerRecord& peer) {
  return peer.silent_periods >= kProbeAfterPeriods && peer.view.state != PeerState::kLeft &&
         peer.view.state != PeerState::kFailed;
}

std::string WhyLost(ProcessState process, const Patience& patience, PeerRecord* peer) {
  PeerView& view = peer->view;
  // The rank gets time to end the job itself: its own message is the better one.
  if (view.state == PeerState::kFailed &&
      static_cast<double>(peer->failed_periods) * patience.period_s > patience.failure_grace_s) {
    return absl::StrCat("has failed: ", view.failure);
  }
  if (!NeedsProbe(*peer)) return "";
  // A probe is possible only on the same host; ranks elsewhere are classified by their silence
  // alone.
  peer->gone_probes = process == ProcessState::kGone ? peer->gone_probes + 1 : 0;
  if (view.state != PeerState::kUnheard) {
    view.state = process == ProcessState::kStopped ? PeerState::kStopped : PeerState::kSilent;
  }
  if (peer->gone_probes > 1) {  // a single probe may have met a process between two states
    view.state = PeerState::kDead;
    return "is dead: its process is gone";
  }
  // A rank that stops is left to its silence, too: a debugger may let it go on.
  if (view.age_s < patience.silence_s || MutantActive(Mutant::kSilenceIsHealth)) return "";
  return process == ProcessState::kStopped
             ? "hangs: its process is stopped by a signal or a debugger"
         : process == ProcessState::kRunning ? "hangs: its process is there, but is silent"
                                             : "hangs or cannot be reached: it is silent";
}

std::string LossText(const PeerView& view, absl::string_view how) {
  std::string text = absl::StrCat(view.Name(), " ", how);
  if (view.state == PeerState::kUnheard) {
    absl::StrAppend(&text, "; it has not been heard of in the ", Tenths(view.age_s),
                    " of this rank's life");
  } else if (view.state != PeerState::kFailed) {
    absl::StrAppend(&text, "; its last heartbeat is ", Tenths(view.age_s), " old: ", view.Doing());
  }
  return text;
}

Endpoint RootCause(const JobView& job, Endpoint peer, bool by_server) {
  if (peer.rank == kAnyRank) return LeastHealthy(job.ranks);
  // The open waits form a chain, and its end is the root cause. For example, worker 0 on rank 0
  // asks about a wait for rank 3:
  //
  //   rank 0 --rows of step 8--> rank 3 (a server) --push of step 7--> rank 2 (computes)
  //
  // The server cannot answer before rank 2 has pushed, so the cause is rank 2.
  const int size = static_cast<int>(job.ranks.size());
  const bool colocated = job.ranks[static_cast<size_t>(job.own)].colocated;
  // The bound ends a cycle: every rank has two roles at most.
  for (int hops = 0; peer.rank >= 0 && peer.rank < size && hops < 2 * size; ++hops) {
    // Between the two roles of this rank the way goes on; a rank with one role does not ask itself.
    if (peer.rank == job.own && !colocated) return peer;
    const PeerView& view = job.ranks[static_cast<size_t>(peer.rank)];
    const RankStatus::WaitView& wait = view.WaitOf(peer.server);
    // A rank that waits for the asker closes the circle: both wait for each other, so a message
    // between them is lost, and the other one is named.
    const bool for_the_asker = wait.peer == job.own && (!colocated || wait.on_server == by_server);
    // A heartbeat is up to one period old: a shorter wait may have ended since.
    const bool waits_for_another = view.state == PeerState::kAlive && !wait.what.empty() &&
                                   wait.peer >= 0 && !for_the_asker &&
                                   wait.waited_s >= job.period_s;
    if (!waits_for_another) return peer;
    peer = {wait.peer, wait.on_server};
  }
  return peer.rank < size ? peer : Endpoint{};
}

std::string CauseText(const JobView& job, Endpoint peer, Endpoint cause, bool by_server) {
  if (cause.rank < 0) return "";
  const PeerView& view = job.ranks[static_cast<size_t>(cause.rank)];
  if (cause.rank == job.own) {
    if (!view.colocated || cause.server == by_server) return "";
    return absl::StrCat("the ", cause.server ? "server" : "worker",
                        " of this rank is slow: ", view.Doing());
  }
  const bool direct = cause.rank == peer.rank || peer.rank == kAnyRank;
  std::string text =
      direct ? "" : absl::StrCat("rank ", peer.rank, " waits for others, in the end for ");
  absl::StrAppend(&text, view.Name(), " ");
  const std::string age = Tenths(view.age_s);
  switch (view.state) {
    case PeerState::kUnheard:
      return absl::StrCat(text, "has never been heard of");
    case PeerState::kAlive:
      if (view.WaitOf(cause.server).peer == job.own) {
        return absl::StrCat(text,
                            "is alive and waits for this rank: a message between the two is lost; ",
                            view.Doing());
      }
      return absl::StrCat(text, "is slow: its last heartbeat came ", age, " ago, ", view.Doing());
    case PeerState::kSilent:
      return absl::StrCat(text, "is hung or unreachable: its last heartbeat is ", age, " old, ",
                          view.Doing());
    case PeerState::kStopped:
      return absl::StrCat(text, "is hung: its process is stopped; its last heartbeat is ", age,
                          " old, ", view.Doing());
    case PeerState::kDead:
      return absl::StrCat(text, "is dead: its process is gone; its last heartbeat is ", age,
                          " old, ", view.Doing());
    case PeerState::kFailed:
      return absl::StrCat(text, "has failed: ", view.failure);
    case PeerState::kLeft:
      return absl::StrCat(text, "has ended already");
  }
  return "";
}

}  // namespace pepnet

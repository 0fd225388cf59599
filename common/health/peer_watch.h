// PeerWatch: heartbeats between the ranks of a job, and what follows from them: which rank is dead,
// hung, slow or has failed. This is the link that sends heartbeats; the deduction is in
// root_cause.h.
//
// Sending:   a thread of its own tells every other rank once per period that it is alive, at which
//            step, in which phase, and what it waits for (wire::Heartbeat on Channel::kHeartbeats).
//            The period grows with the number of ranks; between heartbeats the thread sleeps.
// Silence:   is counted in own heartbeats, not in time: a job that was suspended as a whole does
//            not wake up to dead peers.
// Verdicts:  dead: its process is gone (seen on the same host, within seconds). hung: silent for
//            `silence_s`, its process is there or on another host. slow: its heartbeats come, but
//            somebody's deadline passed. failed: it said so.
// Watchdog:  the same thread calls `end_now` when a wait of this rank outlives its deadline (a read
//            of a stuck file system), or when a lost peer has not ended this rank by itself after
//            some seconds.
// Threads:   any thread may call any method. Owns the thread "heartbeats". Borrows transport and
//            status.
#pragma once

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "common/base/mutex.h"
#include "common/base/status.h"
#include "common/health/peer_view.h"
#include "common/health/rank_status.h"
#include "common/health/root_cause.h"
#include "common/net/transport.h"
#include "common/process/process_identity.h"

namespace pepnet {

struct PeerWatchOptions {
  double period_s = 0;  // 0: 0.5, less for a short silence, more for many ranks
  double silence_s = 300;
  // The time that this rank has to end by itself once a peer is lost or a deadline has passed.
  double grace_s = 5;
  // The time that a rank which reports a failure has to end the job itself, with its own message.
  double failure_grace_s = 3;
  ProcessIdentity self = ThisProcess();
  // Ends the process; called in the thread "heartbeats", at most once. May be empty.
  std::function<void(const Status&)> end_now;
};

class PeerWatch {
 public:
  // transport: nullptr if there is no other process; then only the watchdog works.
  PeerWatch(Transport* transport, RankStatus* status, PeerWatchOptions options);
  ~PeerWatch();  // deregisters this rank from its peers

  int rank() const;  // this one
  // server: of a rank that works and serves what its server does (outlives this object); nullptr
  // for a rank with one role.
  void SetRole(const std::string& role, const RankStatus* server = nullptr);
  void SetSilence(double seconds);
  // Tells the others why this rank ends.
  void AnnounceFailure(const std::string& failure);
  // One role of this rank has failed: the waits of the other end as if this rank were lost, and the
  // watchdog ends the process if that does not.
  void LoseOwnRank(const Status& failure);

  // Sends a heartbeat, and hears what the others have sent so far, at once; waits at most wait_s
  // until that is done.
  void Refresh(double wait_s);

  // All ranks, by rank. `probe`: ask /proc about every process of this host now.
  std::vector<PeerView> Ranks(bool probe = false) const;
  // OK, or why the job cannot go on: a rank is dead, hung or has failed. *rank: which one.
  Status Lost(int* rank = nullptr) const;
  // Root cause of a wait for `peer`: follows the wait-for graph. For kAnyRank: a rank without
  // heartbeats. kAnyRank if there is none. by_server: the waiting thread is the server of this
  // colocated rank.
  Endpoint RootCauseOf(Endpoint peer, bool by_server = false) const;
  // One clause for the end of a timed-out wait's message: the root cause and its state. "" if there
  // is none.
  std::string Explain(Endpoint peer, bool by_server = false) const;
  // True while another rank announces a phase, or the worker beside this server does.
  bool PhaseAnnounced() const;

 private:
  void Run();
  void Collect();
  void Send(int kind, const std::string& failure);
  void ClassifyPeers() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Status Overdue();
  double period() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Patience patience() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  PeerView Own() const;
  PeerView OwnLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The state of all ranks, itself included. `probe`: as in Ranks().
  JobView View(bool probe) const;

  Transport* const transport_;
  RankStatus* const status_;
  const PeerWatchOptions options_;
  mutable Mutex mutex_;
  CondVar wakes_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t rounds_ ABSL_GUARDED_BY(mutex_) = 0;         // of the thread's loop, done
  int64_t rounds_wanted_ ABSL_GUARDED_BY(mutex_) = 0;  // before it sleeps again
  std::string role_ ABSL_GUARDED_BY(mutex_);
  // Set if this rank works and serves.
  const RankStatus* server_status_ ABSL_GUARDED_BY(mutex_) = nullptr;
  double silence_s_ ABSL_GUARDED_BY(mutex_);
  std::vector<PeerRecord> peers_ ABSL_GUARDED_BY(mutex_);  // by rank; the own entry is unused
  Status lost_ ABSL_GUARDED_BY(mutex_);
  int lost_rank_ ABSL_GUARDED_BY(mutex_) = kAnyRank;
  Clock::time_point lost_since_ ABSL_GUARDED_BY(mutex_);
  Clock::time_point patient_until_ = Clock::time_point::min();  // used by the thread only
  std::thread thread_;
};

}  // namespace pepnet

// RankStatus: what this rank is doing: its step, the announced phase, and its open waits. The
// heartbeats carry it to the other ranks, the job report shows it. A rank that works and serves
// (colocated) has one for each of its roles.
//
// Threads: any. All helpers accept a null RankStatus (nobody watches) and then do nothing.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "common/base/mutex.h"
#include "common/net/transport.h"

namespace pepnet {

struct OpenWait {
  std::string what;
  int peer;
  Clock::time_point start;
  Deadline deadline;
  bool on_server;
};

class RankStatus {
 public:
  // A wait as it is right now. peer: a rank, or kAnyRank.
  struct WaitView {
    std::string what;
    int peer = kAnyRank;
    double waited_s = 0;
    double overdue_s = 0;    // how long its deadline has passed; negative: not yet
    bool on_server = false;  // if the peer works and serves: its server is waited for
  };
  struct View {
    int64_t step = 0;             // the step under way, or the last one
    std::string phase;            // "" within a step
    std::vector<WaitView> waits;  // longest first
  };

  void SetStep(int64_t step);
  // A wait for any rank is in truth one for `rank` (kAnyRank: it is not): a server that lacks one
  // worker's push.
  void Expect(int rank);
  View view() const;
  // The wait whose error became part of `error`, if there is one.
  std::optional<WaitView> FailedWait(absl::string_view error) const;

  // An announced phase for the life of the object: evaluation, saving, restoring. Meanwhile a
  // server may be idle for longer than a step's deadline.
  class Phase {
   public:
    Phase(RankStatus* status, const std::string& name);
    ~Phase();
    Phase(const Phase&) = delete;
    Phase& operator=(const Phase&) = delete;

   private:
    RankStatus* const status_;
  };

  // A wait for the life of the object. Waits on the transport are entered by WatchedTransport.
  class Wait {
   public:
    // on_server: as in WaitView.
    Wait(RankStatus* status, int peer, Deadline deadline, const std::string& what,
         bool on_server = false);
    ~Wait();
    Wait(const Wait&) = delete;
    Wait& operator=(const Wait&) = delete;
    void Extend(Clock::duration by);
    WaitView view() const;           // empty without a RankStatus
    void Fail(const Status& error);  // keeps it for FailedWait()

   private:
    RankStatus* const status_;
    std::list<OpenWait>::iterator entry_;
  };

 private:
  static WaitView ViewOf(const OpenWait& wait, int expected);

  mutable Mutex mutex_;
  int64_t step_ ABSL_GUARDED_BY(mutex_) = 0;
  int expected_ ABSL_GUARDED_BY(mutex_) = kAnyRank;
  std::vector<std::string> phases_ ABSL_GUARDED_BY(mutex_);  // innermost last
  // In the order in which they began.
  std::list<OpenWait> waits_ ABSL_GUARDED_BY(mutex_);
  // By message; the last few.
  std::deque<std::pair<std::string, WaitView>> failed_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pepnet

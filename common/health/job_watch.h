// JobWatch: everything a rank has to know about its own job's health: what it does (RankStatus),
// how the others are (PeerWatch), and the job's report. main() makes one per process; the roles
// borrow it. A null JobWatch means that nobody watches (tests).
//
// A report that cannot be written is a warning: it must not end a job that is well.
// Threads: any thread may call any method.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"

#include "common/base/mutex.h"
#include "common/base/status.h"
#include "common/health/job_report.h"
#include "common/health/peer_watch.h"
#include "common/health/rank_status.h"
#include "common/health/watched_transport.h"

namespace pepnet {

class JobWatch {
 public:
  // transport: of this rank among processes; nullptr in a job of one process. timeout_s: how long a
  // rank may be silent. end_now: ends the process with this error; see PeerWatch.
  JobWatch(Transport* transport, double timeout_s, std::function<void(const Status&)> end_now);

  RankStatus* status() { return &status_; }
  PeerWatch* peers() { return &peers_; }
  // The same transport with watched waits. Borrows this object.
  std::unique_ptr<Transport> Watched(Transport* transport);

  // The role is known, "worker 0"; `colocated`: of a rank that serves beside its worker. To be
  // called before either role begins.
  void SetRole(const std::string& role, bool colocated);
  // The activity of this rank's server: status() unless a worker stands beside it.
  RankStatus* server_status() { return colocated_ ? &server_status_ : &status_; }
  // The transport of the server beside a worker.
  std::unique_ptr<Transport> WatchedForServer(Transport* transport);

  // model_dir is known to belong to this job: its report goes there from now on. `run_file`: a path
  // in model_dir that no other run has (the nonce of its lock). `first`: this is worker 0, which
  // opens and closes the report. A rank that works and serves may enter twice.
  void EnterModelDir(const std::string& run_file, bool first);
  // Worker 0: "done" or "stopped". Does nothing on others.
  void Close(const std::string& how);
  // This rank ends with an error: tells the others, and writes the report.
  void Fail(const Status& error);
  // A signal ends this process: writes the report and returns a line for the log. `signal`:
  // "SIGTERM".
  std::string EndedBy(const std::string& signal);

 private:
  JobReport Describe(const Status& error);
  void Write(JobReport report);

  Transport* const transport_;
  RankStatus status_, server_status_;  // the second only of a rank that works and serves
  // Set before the roles begin; the thread of the heartbeats may probe at once.
  std::atomic<bool> colocated_ = false;
  PeerWatch peers_;
  Mutex mutex_;
  // "" before EnterModelDir
  std::string directory_ ABSL_GUARDED_BY(mutex_), run_ ABSL_GUARDED_BY(mutex_);
  bool first_ ABSL_GUARDED_BY(mutex_) = false;
};

// The RankStatus of a watch that may be null.
inline RankStatus* StatusOf(JobWatch* watch) {
  return watch == nullptr ? nullptr : watch->status();
}

}  // namespace pepnet

// Program: one process of pepnet or pepnet_ps around its work: the command line, the ranks of its
// job, its last words.
//
// Exit status:  0 done; 1 failed; 2 the command line cannot be understood, nothing was started;
//               75 a signal asked for a stop, and there is a checkpoint to go on from; 128 + N
//               ended at once by signal N
// Failure:      the last line on stderr of a process that fails is "<name>: <cause>".
// Threads:      of main(); Fail() also of the watchdog of the ranks, whichever comes first.
#pragma once

#include <CLI/App.hpp>
#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "common/base/status.h"
#include "common/health/job_watch.h"
#include "common/net/cluster.h"
#include "common/process/stop_signal.h"

namespace pepnet {

class Program {
 public:
  // To be made by main() before anything else. `name`: "pepnet" or "pepnet_ps".
  Program(std::string name, const char* argv0);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Sets the flags of `app` and calls its callbacks. Ends the process if the line asks for the help
  // or the version, or cannot be understood.
  void Parse(CLI::App* app, int argc, const char* const* argv);

  // Meets SIGUSR1, SIGTERM and SIGINT from now on (stop_signal.h). To be called before any thread
  // is started. Returns the signal that asked for a stop, 0 for none so far; lives as long as this
  // object.
  const std::atomic<int>* MeetSignals();
  // Joins the other ranks that a launcher started; a process that none started is a job by itself.
  // timeout_s: how long a rank may be silent before it counts as lost.
  Status Join(double timeout_s);
  MpiSession* session() { return session_.get(); }  // null without a launcher, and before Join()
  JobWatch* watch() { return watch_.get(); }        // null before Join()

  // Does the work, then closes the job and returns the exit status. Does not return after an error
  // of the work, or if what it wrote to standard output is lost: see Fail().
  int Run(const std::function<Status()>& work);
  // Writes the cause as the last line, ends the other ranks and this process.
  [[noreturn]] void Fail(const Status& status);

 private:
  [[noreturn]] void Exit(const std::string& last_words, int exit_status);
  [[noreturn]] void EndBySignal(int signal);

  const std::string name_;
  std::unique_ptr<MpiSession> session_;
  std::unique_ptr<JobWatch> watch_;  // ends before the session
  // The same, for the thread that meets signals.
  std::atomic<JobWatch*> watch_for_signals_ = nullptr;
  std::unique_ptr<StopSignal> stop_;
};

// InvalidArgument if mpirun started this process as one of several ranks: for commands that write
// one thing.
Status CheckOneProcess(const std::string& command);

}  // namespace pepnet

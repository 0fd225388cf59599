// StopSignal: turns signals into a request to stop that the training loop can ask for, instead of a
// sudden end.
//
//   one process:   SIGUSR1, SIGTERM, SIGINT ask for a checkpoint at the next step boundary; a
//                  second SIGTERM or SIGINT ends the process at once.
//   under mpirun:  SIGUSR1 (which mpirun forwards) asks for the checkpoint. SIGTERM leaves 1 s
//                  before SIGKILL, so it ends the process at once. SIGINT is mpirun's own: it
//                  answers with SIGTERM.
//
// Threads: owns one, "signals", the only one in which these signals are delivered: construct it
//          before any other thread is started. requested() from any thread.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <thread>

#include "common/base/status.h"

namespace pepnet {

// Exit status of a job that a signal ended after its checkpoint (EX_TEMPFAIL: try again, with
// --continue_train).
inline constexpr int kStoppedExitStatus = 75;

class StopSignal {
 public:
  // `end_now(signal)` ends the process: called in the thread "signals" when there is no time for a
  // checkpoint.
  StopSignal(bool under_mpirun, std::function<void(int)> end_now);
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // The signal that asked for a stop; 0: none so far.
  const std::atomic<int>& requested() const { return requested_; }

 private:
  void Listen();

  const bool under_mpirun_;
  const std::function<void(int)> end_now_;
  std::atomic<int> requested_ = 0;  // written by "signals"; only its own value matters
  // Set before the signal that wakes "signals" for the last time.
  std::atomic<bool> ending_ = false;
  std::thread listener_;
};

// "stopped by SIGUSR1 ...": what a command returns when it ends early on request. main() exits with
// kStoppedExitStatus.
Status StoppedOnRequest(const std::string& message);
bool IsStoppedOnRequest(const Status& status);

// Waits briefly between the error message and the exit when mpirun ends all ranks, so that peers
// can report their own errors and do not take this rank for the one that died first. The wait is
// well below mpirun's second.
void LingerBeforeExit();

// "SIGUSR1", "SIGTERM", ...
std::string SignalName(int signal);

}  // namespace pepnet

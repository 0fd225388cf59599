#include "common/process/stop_signal.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

#include "common/base/log_functions.h"
#include "common/base/threads.h"

namespace pepnet {
namespace {

// The type of the payload by which a stop is told from a failure.
constexpr char kStoppedPayload[] = "pepnet/stopped_on_request";

// The signals that are taken here, by who else answers them (table in the header).
sigset_t Signals(bool under_mpirun) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGTERM);
  if (!under_mpirun) sigaddset(&set, SIGINT);
  // A closed terminal ends the run like SIGTERM; nohup asks that it does not.
  struct sigaction action;
  if (sigaction(SIGHUP, nullptr, &action) == 0 && action.sa_handler != SIG_IGN) {
    sigaddset(&set, SIGHUP);
  }
  return set;
}

}  // namespace

StopSignal::StopSignal(bool under_mpirun, std::function<void(int)> end_now)
    : under_mpirun_(under_mpirun), end_now_(std::move(end_now)) {
  const sigset_t set = Signals(under_mpirun_);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);  // inherited by every later thread
  // A thread waits for signals instead of a handler: a handler may do next to nothing, while the
  // thread may log, take locks and write a report.
  listener_ = StartThread("signals", [this] { Listen(); });
}

StopSignal::~StopSignal() {
  ending_ = true;
  // The thread waits in sigwait(); ending_ tells it that this signal is no request.
  pthread_kill(listener_.native_handle(), SIGUSR1);
  listener_.join();
  const sigset_t set = Signals(under_mpirun_);
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

// Signals are blocked in all threads, so sigwait() here is the only place where they arrive.
void StopSignal::Listen() {
  pthread_setname_np(pthread_self(), "signals");
  const sigset_t set = Signals(under_mpirun_);
  while (true) {
    int signal = 0;
    if (sigwait(&set, &signal) != 0) continue;
    if (ending_) return;
    // A second request means that somebody will not wait for the checkpoint.
    const bool ends_now = signal != SIGUSR1 && (under_mpirun_ || requested_ != 0);
    if (ends_now) {
      end_now_(signal);
      return;
    }
    LogInfo(absl::StrCat(SignalName(signal),
                         ": training stops after the next step, with a checkpoint"));
    requested_ = signal;
  }
}

// A payload marks the status: the code alone, Cancelled, may come from elsewhere.
Status StoppedOnRequest(const std::string& message) {
  Status status = absl::CancelledError(message);
  status.SetPayload(kStoppedPayload, absl::Cord("1"));
  return status;
}

bool IsStoppedOnRequest(const Status& status) {
  return status.GetPayload(kStoppedPayload).has_value();
}

void LingerBeforeExit() { usleep(300 * 1000); }

std::string SignalName(int signal) {
  switch (signal) {
    case SIGUSR1:
      return "SIGUSR1";
    case SIGTERM:
      return "SIGTERM";
    case SIGHUP:
      return "SIGHUP";
    case SIGINT:
      return "SIGINT";
    default:
      return absl::StrCat("signal ", signal);
  }
}

}  // namespace pepnet

// pepnet_ps: a parameter server without torch, for `mpirun -n 2 pepnet_ps : -n 4 pepnet train ...`.
#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdlib>
#include <iostream>

#include "common/base/logging.h"
#include "common/base/mutex.h"
#include "common/health/job_watch.h"
#include "common/health/start_check.h"
#include "common/net/cluster.h"
#include "common/net/faulty_transport.h"
#include "common/process/fault_plan.h"
#include "common/process/file_faults.h"
#include "common/process/keep_freed_memory.h"
#include "common/process/stop_signal.h"
#include "ps/server.h"

namespace pepnet {
namespace {

constexpr double kSilenceSeconds = 300;  // until the plan says what --timeout_s is

// What main() owns, in the order in which it is made.
struct Job {
  std::unique_ptr<MpiSession> session;
  std::unique_ptr<JobWatch> watch;
  std::atomic<JobWatch*> watch_for_signals = nullptr;  // the same, for the thread that meets signals
};

// The last line on stderr is the cause. Called by main() and by the watchdog, whichever comes first.
[[noreturn]] void Fail(const Status& status, Job* job) {
  static Mutex once;
  once.Lock();  // never unlocked: the process ends here
  if (job->watch != nullptr) job->watch->Fail(status);
  std::cerr << "pepnet_ps: " << status.message() << std::endl;
  if (job->session != nullptr) job->session->Abort(1);
  std::_Exit(1);
}

Status Run(const std::string& inject, Job* job) {
  PEPNET_ASSIGN_OR_RETURN(const std::vector<Fault> faults, ParseFaultPlan(inject));
  if (!MpiSession::StartedByLauncher()) {
    return InvalidInput(
        "pepnet_ps serves the workers of an mpirun job; write mpirun -n 2 pepnet_ps : -n 4 pepnet train ..., "
        "or run pepnet train alone, which brings its own servers");
  }
  PEPNET_ASSIGN_OR_RETURN(job->session, MpiSession::Start());
  job->watch = std::make_unique<JobWatch>(job->session->transport(), kSilenceSeconds,
                                          [job](const Status& error) { Fail(error, job); });
  job->watch_for_signals = job->watch.get();
  FaultyTransport faulty(job->session->transport(), faults);
  const std::unique_ptr<Transport> transport = job->watch->Watched(&faulty);
  PEPNET_ASSIGN_OR_RETURN(Layout layout, job->session->ExchangeRoles({.wants_to_serve = true}, transport.get()));
  const std::string role = absl::StrCat("server ", layout.index);
  SetLogLabel(role);
  job->watch->peers()->SetRole(role);
  // A worker says what the check found.
  PEPNET_RETURN_IF_ERROR(CheckStart(transport.get(), layout, FactsOfThisRank(role, "", "")).status());
  const FileFaults file_faults(faults, transport->rank());
  Server server(transport.get(), job->watch.get());
  return server.Run();
}

int Main(int argc, char** argv) {
  InitLogging(argv[0], "");
  CLI::App app("pepnet_ps: parameter server; takes its tables and settings from worker 0.", "pepnet_ps");
  app.set_version_flag("--version", PEPNET_VERSION);
  std::string inject;
  app.add_option("--inject", inject,
                 "rehearse failures; give every program of the job the same plan (docs/reliability.md)");
  CLI11_PARSE(app, argc, argv);
  Job job;
  // mpirun forwards SIGUSR1 to all ranks: the workers checkpoint and then end the job, a server goes on until then.
  auto stop = std::make_unique<StopSignal>(/*under_mpirun=*/true, [&](int signal) {
    JobWatch* const now = job.watch_for_signals;
    LOG(WARNING) << (now == nullptr ? absl::StrCat("ended by ", SignalName(signal)) : now->EndedBy(SignalName(signal)));
    LingerBeforeExit();
    std::_Exit(128 + signal);
  });
  const Status status = Run(inject, &job);
  if (!status.ok()) Fail(status, &job);
  stop.reset();
  job.watch.reset();  // says goodbye to the other ranks
  return 0;
}

}  // namespace
}  // namespace pepnet

int main(int argc, char** argv) {
  pepnet::KeepFreedMemory();
  return pepnet::Main(argc, argv);
}

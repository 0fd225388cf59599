// pepnet_ps: a parameter server without torch, for `mpirun -n 2 pepnet_ps : -n 4 pepnet train ...`.
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <iostream>

#include "common/base/fault_plan.h"
#include "common/base/file_faults.h"
#include "common/base/logging.h"
#include "common/base/stop_signal.h"
#include "common/net/cluster.h"
#include "common/net/faulty_transport.h"
#include "ps/server.h"

namespace pepnet {
namespace {

Status Run(const std::string& inject, std::unique_ptr<MpiSession>* session) {
  PEPNET_ASSIGN_OR_RETURN(const std::vector<Fault> faults, ParseFaultPlan(inject));
  if (!MpiSession::StartedByLauncher()) {
    return InvalidInput("pepnet_ps serves the workers of an mpirun job; write mpirun -n 2 pepnet_ps : -n 4 pepnet train ..., "
                        "or run pepnet train alone, which brings its own servers");
  }
  PEPNET_ASSIGN_OR_RETURN(*session, MpiSession::Start());
  PEPNET_ASSIGN_OR_RETURN(Layout layout, (*session)->ExchangeRoles(/*wants_to_serve=*/true, 0));
  SetLogLabel(absl::StrCat("server ", layout.index));
  const FileFaults file_faults(faults, (*session)->transport()->rank());
  FaultyTransport transport((*session)->transport(), faults);
  Server server(&transport);
  return Annotate(server.Run(), absl::StrCat("server ", layout.index));
}

int Main(int argc, char** argv) {
  InitLogging(argv[0], "");
  CLI::App app("pepnet_ps: parameter server; takes its tables and settings from worker 0.", "pepnet_ps");
  app.set_version_flag("--version", PEPNET_VERSION);
  std::string inject;
  app.add_option("--inject", inject, "rehearse failures; give every program of the job the same plan (docs/reliability.md)");
  CLI11_PARSE(app, argc, argv);
  std::unique_ptr<MpiSession> session;
  // mpirun forwards SIGUSR1 to all ranks: the workers checkpoint and then end the job, a server goes on until then.
  auto stop = std::make_unique<StopSignal>(/*under_mpirun=*/true, [](int signal) { std::_Exit(128 + signal); });
  const Status status = Run(inject, &session);
  stop.reset();
  if (status.ok()) return 0;
  std::cerr << "pepnet_ps: " << status.message() << std::endl;
  if (session != nullptr) session->Abort(1);
  return 1;
}

}  // namespace
}  // namespace pepnet

int main(int argc, char** argv) { return pepnet::Main(argc, argv); }

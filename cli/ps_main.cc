// pepnet_ps: a parameter server without torch, for `mpirun -n 2 pepnet_ps : -n 4 pepnet train ...`.
#include <CLI/CLI.hpp>

#include "cli/program/program.h"
#include "common/base/logging.h"
#include "common/health/start_check.h"
#include "common/net/faulty_transport.h"
#include "common/process/fault_plan.h"
#include "common/process/file_faults.h"
#include "ps/server.h"

namespace pepnet {
namespace {

constexpr double kSilenceSeconds = 300;  // until the plan says what --timeout_s is

Status Serve(const std::string& inject, Program* program) {
  PEPNET_ASSIGN_OR_RETURN(const std::vector<Fault> faults, ParseFaultPlan(inject));
  if (!MpiSession::StartedByLauncher()) {
    return InvalidInput(
        "pepnet_ps serves the workers of an mpirun job; write mpirun -n 2 pepnet_ps : -n 4 pepnet "
        "train ..., "
        "or run pepnet train alone, which brings its own servers");
  }
  PEPNET_RETURN_IF_ERROR(program->Join(kSilenceSeconds));
  JobWatch* const watch = program->watch();
  FaultyTransport faulty(program->session()->transport(), faults);
  const std::unique_ptr<Transport> transport = watch->Watched(&faulty);
  PEPNET_ASSIGN_OR_RETURN(
      Layout layout, program->session()->ExchangeRoles({.wants_to_serve = true}, transport.get()));
  const std::string role = absl::StrCat("server ", layout.index);
  SetLogLabel(role);
  watch->peers()->SetRole(role);
  // A worker says what the check found.
  PEPNET_RETURN_IF_ERROR(
      CheckStart(transport.get(), layout, InfoOfThisRank(role, "", "")).status());
  // File faults begin behind the check: a rehearsed fault is for the job, not for its start.
  const FileFaults file_faults(faults, transport->rank());
  Server server(transport.get(), watch);
  return server.Run();
}

}  // namespace
}  // namespace pepnet

int main(int argc, char** argv) {
  pepnet::Program program("pepnet_ps", argv[0]);
  CLI::App app("pepnet_ps: parameter server; takes its tables and settings from worker 0.",
               "pepnet_ps");
  std::string inject;
  app.add_option(
      "--inject", inject,
      "rehearse failures; give every program of the job the same plan (docs/reliability.md)");
  CLI::Option* const verbose = app.add_flag_callback(
      "--verbose", [] { pepnet::SetLogDetail(pepnet::LogDetail::kVerbose); },
      "log what this server does");
  app.add_flag_callback(
         "--quiet", [] { pepnet::SetLogDetail(pepnet::LogDetail::kQuiet); },
         "log warnings and errors only")
      ->excludes(verbose);
  program.Parse(&app, argc, argv);
  // mpirun forwards SIGUSR1 to all ranks: the workers checkpoint and then end the job, a server
  // goes on until then.
  program.MeetSignals();
  return program.Run([&] { return pepnet::Serve(inject, &program); });
}

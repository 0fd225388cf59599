// pepnet: one binary, one command per file (cli/commands/<command>.cc). This file lists the
// commands.
#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "cli/bench/bench.h"
#include "cli/commands/commands.h"
#include "cli/commands/init.h"
#include "cli/inspect/inspect_command.h"
#include "cli/plan/plan.h"
#include "cli/program/program.h"

namespace pepnet {
namespace {

// One command, and what runs it once the command line is read.
struct Command {
  CLI::App* app;
  std::function<Status()> run;
};

class CommandList {
 public:
  CommandList(CLI::App* app, Program* program) : app_(app), program_(program) {
    app->require_subcommand(1);
  }

  // A job joins the ranks that a launcher started. `stops`: a signal asks it for a checkpoint.
  template <typename Flags>
  void AddJob(const char* name, const char* help, void (*add_flags)(CLI::App*, Flags*),
              Status (*command)(const Flags&, MpiSession*), bool stops = false) {
    Add<Flags>(name, help, add_flags, [this, command, stops](Flags* flags) -> Status {
      // Signals are met before the job is joined: MPI starts threads, and only threads that are
      // started later inherit the blocked signals.
      if (stops) flags->job.run.stop_request = program_->MeetSignals();
      PEPNET_RETURN_IF_ERROR(program_->Join(flags->job.run.timeout_s));
      flags->job.run.watch = program_->watch();
      return command(*flags, program_->session());
    });
  }

  // A command that writes one thing is one process.
  template <typename Flags>
  void AddSingle(const char* name, const char* help, void (*add_flags)(CLI::App*, Flags*),
                 Status (*command)(const Flags&)) {
    Add<Flags>(name, help, add_flags, [name, command](Flags* flags) -> Status {
      PEPNET_RETURN_IF_ERROR(CheckOneProcess(name));
      return command(*flags);
    });
  }

  // A command that writes nothing may run on every rank.
  template <typename Flags>
  void AddReader(const char* name, const char* help, void (*add_flags)(CLI::App*, Flags*),
                 Status (*command)(const Flags&)) {
    Add<Flags>(name, help, add_flags, [command](Flags* flags) { return command(*flags); });
  }

  Status RunTheOneGiven() const {
    for (const Command& command : commands_) {
      if (command.app->parsed()) return command.run();
    }
    return absl::InternalError("the command line names no command");  // the parser has refused that
  }

 private:
  template <typename Flags>
  void Add(const char* name, const char* help, void (*add_flags)(CLI::App*, Flags*),
           std::function<Status(Flags*)> run) {
    CLI::App* const app = app_->add_subcommand(name, help);
    // The flags are shared because std::function copies what it holds, while the parser writes to
    // one object.
    const auto flags = std::make_shared<Flags>();
    add_flags(app, flags.get());
    commands_.push_back({app, [flags, run = std::move(run)] { return run(flags.get()); }});
  }

  CLI::App* const app_;
  Program* const program_;
  std::vector<Command> commands_;
};

}  // namespace
}  // namespace pepnet

int main(int argc, char** argv) {
  using namespace pepnet;
  Program program("pepnet", argv[0]);
  CLI::App app("pepnet trains PEPNet with parameter servers: one process, or many under mpirun.",
               "pepnet");
  CommandList list(&app, &program);
  // Its flags are those of the Python package.
  if (argc > 1 && argv[1] == std::string_view("init")) {
    return program.Run([&]() -> Status {
      PEPNET_RETURN_IF_ERROR(CheckOneProcess("init"));
      return BecomeInit(argc, argv);
    });
  }
  list.AddJob("train", "train and evaluate", AddTrainFlags, TrainCommand, /*stops=*/true);
  list.AddJob("eval", "metrics of a checkpoint on a data set", AddEvalFlags, EvalCommand);
  list.AddJob("explain", "which features a model needs, by task and domain", AddExplainFlags,
              ExplainCommand);
  list.AddJob("predict", "probabilities and logits of every row", AddPredictFlags, PredictCommand);
  list.AddSingle("export", "a checkpoint for other programs: safetensors, parquet, onnx",
                 AddExportFlags, ExportCommand);
  list.AddSingle("import", "model.ckpt-0 from tensors under the reference's names", AddImportFlags,
                 ImportCommand);
  list.AddReader("inspect", "what a checkpoint or export holds", AddInspectFlags, InspectCommand);
  list.AddSingle(
      "report",
      "one page of a run, or of several: curves, domains, calibration, speed, tables, config",
      AddReportFlags, ReportCommand);
  list.AddReader("compare", "runs side by side, for a terminal", AddCompareFlags, CompareCommand);
  list.AddReader("check-config", "parse, validate, print the effective config", AddConfigFlags,
                 CheckConfigCommand);
  list.AddSingle("plan",
                 "memory, traffic and throughput on a cluster, predicted from measured speeds",
                 AddPlanFlags, PlanCommand);
  list.AddJob("bench", "measures a part of the system beside the machine's limits", AddBenchFlags,
              BenchCommand);
  app.add_subcommand("init", "writes a commented config from Parquet or CSV files (needs Python)");
  program.Parse(&app, argc, argv);
  return program.Run([&] { return list.RunTheOneGiven(); });
}

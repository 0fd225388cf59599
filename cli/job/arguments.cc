#include "cli/job/arguments.h"

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "common/base/spelling.h"

namespace pepnet {
namespace {

// "--help", "--table", ...: all long flags of a command.
std::vector<std::string> Flags(const CLI::App& command) {
  std::vector<std::string> flags;
  for (const CLI::Option* option : command.get_options([](const CLI::Option*) { return true; })) {
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
  }
  return flags;
}

}  // namespace

Status CheckArguments(const CLI::App& app, int argc, const char* const* argv) {
  const CLI::App* command = &app;
  std::string name;  // "", "train ", "bench dense "
  int next = 1;
  for (; next < argc && argv[next][0] != '-'; ++next) {
    const auto all = [](const CLI::App*) { return true; };
    const std::vector<const CLI::App*> subs = command->get_subcommands(all);
    if (subs.empty()) break;  // a positional argument
    std::vector<std::string> commands;
    const CLI::App* chosen = nullptr;
    for (const CLI::App* sub : subs) {
      commands.push_back(sub->get_name());
      if (sub->get_name() == argv[next]) chosen = sub;
    }
    if (chosen == nullptr) {
      return InvalidInput("unknown command '", name, argv[next], "'", Suggestion(argv[next], commands),
                          "; expected one of ", absl::StrJoin(commands, ", "));
    }
    command = chosen;
    absl::StrAppend(&name, argv[next], " ");
  }
  const std::vector<std::string> known = Flags(*command);
  for (int i = next; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--") break;
    if (!absl::StartsWith(argument, "--")) continue;
    const std::string flag = argument.substr(0, argument.find('='));
    if (std::find(known.begin(), known.end(), flag) != known.end()) continue;
    return InvalidInput("unknown flag ", flag, Suggestion(flag, known), "; pepnet ", name, "--help lists the flags");
  }
  return absl::OkStatus();
}

}  // namespace pepnet

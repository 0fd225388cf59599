#include "cli/arguments.h"

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
  std::vector<std::string> commands;
  const CLI::App* command = nullptr;
  const std::string first = argc > 1 ? argv[1] : "";
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(sub->get_name());
    if (sub->get_name() == first) command = sub;
  }
  if (!first.empty() && first[0] != '-' && command == nullptr) {
    return InvalidInput("unknown command '", first, "'", Suggestion(first, commands), "; expected one of ", absl::StrJoin(commands, ", "));
  }
  const std::vector<std::string> known = Flags(command == nullptr ? app : *command);
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--") break;
    if (!absl::StartsWith(argument, "--")) continue;
    const std::string flag = argument.substr(0, argument.find('='));
    if (std::find(known.begin(), known.end(), flag) != known.end()) continue;
    return InvalidInput("unknown flag ", flag, Suggestion(flag, known), "; pepnet ", command == nullptr ? "" : first + " ",
                        "--help lists the flags");
  }
  return absl::OkStatus();
}

}  // namespace pepnet

#include "cli/program/arguments.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/spelling.h"
#include "common/base/text.h"

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

// An empty value means something for these flags: no edits, no columns.
bool MayBeEmpty(const std::string& flag) {
  return flag == "--edit_config_json" || flag == "--reserved_columns";
}

bool IsDigits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(),
                                      [](unsigned char c) { return absl::ascii_isdigit(c); });
}

// `type` is CLI11's word for the type of a flag. CLI11 would take the nearest value for one out of
// range.
Status CheckNumber(const std::string& flag, const std::string& type, const std::string& value) {
  if (type == "FLOAT") {
    double number = 0;
    if (absl::SimpleAtod(value, &number) && std::isfinite(number)) return absl::OkStatus();
    return InvalidInput(flag, " is \"", Printable(value, 200), "\", expected a finite number");
  }
  const bool negative = value.size() > 1 && value[0] == '-';
  uint64_t natural = 0;
  int64_t whole = 0;
  const bool digits = IsDigits(std::string_view(value).substr(negative ? 1 : 0));
  if (type == "UINT") {
    if (digits && absl::SimpleAtoi(value, &natural)) return absl::OkStatus();
    return InvalidInput(flag, " is \"", Printable(value, 200),
                        "\", expected a whole number from 0 to ", UINT64_MAX);
  }
  if (digits && absl::SimpleAtoi(value, &whole)) return absl::OkStatus();
  return InvalidInput(flag, " is \"", Printable(value, 200), "\", expected a whole number from ",
                      INT64_MIN, " to ", INT64_MAX);
}

Status CheckValue(const CLI::Option& option, const std::string& flag, const std::string& value) {
  if (value.empty() && !MayBeEmpty(flag)) {
    return InvalidInput(flag, " is empty; give a value or leave the flag out (an unset variable?)");
  }
  // "INT", or "INT:" and what its validators say.
  const std::string type =
      option.get_type_name().substr(0, option.get_type_name().find_first_of(": "));
  if (type != "INT" && type != "UINT" && type != "FLOAT") return absl::OkStatus();
  if (option.get_delimiter() == '\0') return CheckNumber(flag, type, value);
  for (const absl::string_view piece : absl::StrSplit(value, option.get_delimiter())) {
    PEPNET_RETURN_IF_ERROR(CheckNumber(flag, type, std::string(piece)));
  }
  return absl::OkStatus();
}

}  // namespace

Status CheckArguments(const CLI::App& app, int argc, const char* const* argv) {
  // CLI11 reports the first thing that it cannot place, which is seldom what is wrong: these checks
  // come before it, with suggestions. They walk down the commands first, so that flags are those of
  // the last.
  const CLI::App* command = &app;
  std::string name;  // "", "train ", "bench dense "
  int next = 1;
  for (;; ++next) {
    std::vector<std::string> commands;
    const CLI::App* chosen = nullptr;
    for (const CLI::App* sub : command->get_subcommands([](const CLI::App*) { return true; })) {
      commands.push_back(sub->get_name());
      if (next < argc && sub->get_name() == argv[next]) chosen = sub;
    }
    if (commands.empty()) break;  // what follows are arguments
    if (next == argc) {
      return InvalidInput("no ", name, "command is given; expected one of ",
                          absl::StrJoin(commands, ", "));
    }
    if (argv[next][0] == '-') break;
    if (chosen == nullptr) {
      return InvalidInput("unknown command '", name, Printable(argv[next], 200), "'",
                          Suggestion(argv[next], commands), "; expected one of ",
                          absl::StrJoin(commands, ", "));
    }
    command = chosen;
    absl::StrAppend(&name, argv[next], " ");
  }
  const std::vector<std::string> known = Flags(*command);
  const bool changes_fields = std::find(known.begin(), known.end(), "--set") != known.end();
  for (int i = next; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--") break;
    if (!absl::StartsWith(argument, "--")) continue;
    const std::string flag = argument.substr(0, argument.find('='));
    if (std::find(known.begin(), known.end(), flag) == known.end()) {
      return InvalidInput("unknown flag ", Printable(flag, 200), Suggestion(flag, known), "; ",
                          app.get_name(), " ", name, "--help lists the flags",
                          changes_fields ? "; a field of the config is set with --set" : "");
    }
    const CLI::Option* option = command->get_option_no_throw(flag);
    if (option == nullptr || option->get_items_expected_max() == 0) continue;  // has no value
    if (flag.size() < argument.size()) {
      PEPNET_RETURN_IF_ERROR(CheckValue(*option, flag, argument.substr(flag.size() + 1)));
    } else if (i + 1 < argc) {
      // The value is skipped: it may begin with dashes, as negative numbers do.
      PEPNET_RETURN_IF_ERROR(CheckValue(*option, flag, argv[++i]));
    }
  }
  return absl::OkStatus();
}

}  // namespace pepnet

// `pepnet inspect`: what a checkpoint or an export holds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/base/status.h"

namespace CLI {
class App;
}

namespace pepnet {

struct InspectFlags {
  std::string path, table, diff, report, what_if;
  // In place of the path, or with "best" beside it.
  std::string checkpoint_path, model_dir, pipeline_config_path;
  std::optional<int64_t> id;
  int64_t neighbours = 0;  // of the id; 0: none
  bool verify = false;
  bool json = false;
  bool quiet = false;  // with diff: the exit status alone
};
void AddInspectFlags(CLI::App* command, InspectFlags* flags);

// Prints on stdout and writes flags.report. Errors: what is not there, or not what its manifest
// says; checkpoints that differ, with flags.diff.
Status InspectCommand(const InspectFlags& flags);

}  // namespace pepnet

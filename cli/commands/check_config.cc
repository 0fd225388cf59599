#include <iostream>

#include "cli/commands/commands.h"
#include "cli/job/load_config.h"

namespace pepnet {

Status CheckConfigCommand(const ConfigFlags& config_flags) {
  PEPNET_ASSIGN_OR_RETURN(JobConfig config, LoadConfig(config_flags));
  LogNotes(config);
  std::cout << config.effective_text;
  return absl::OkStatus();
}

}  // namespace pepnet

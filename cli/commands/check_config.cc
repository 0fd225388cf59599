#include <iostream>

#include "cli/commands/commands.h"
#include "cli/commands/train_plan.h"
#include "cli/job/load_config.h"
#include "common/base/logging.h"

namespace pepnet {

Status CheckConfigCommand(const ConfigFlags& given) {
  ConfigFlags flags = given;
  flags.for_training = true;
  std::vector<std::string> faults;
  const StatusOr<JobConfig> config = LoadConfig(flags, /*ignore_unknown_fields=*/false, &faults);
  if (!config.ok()) {
    if (faults.size() < 2) return config.status();
    for (const std::string& fault : faults) std::cerr << fault << "\n";
    return InvalidInput(flags.pipeline_config_path, " is refused for ", faults.size(),
                        " reasons, all of them above; the first: ", faults.front());
  }
  LogNotes(*config);
  for (const Warning& warning : ConfigWarnings(*config)) LOG(WARNING) << warning.text;
  if (config->eval_input_path.empty()) {
    LOG(INFO) << "eval_input_path is empty: a training with it evaluates nothing";
  }
  std::cout << config->effective_text;
  LOG(INFO) << flags.pipeline_config_path << " is accepted";
  return absl::OkStatus();
}

}  // namespace pepnet

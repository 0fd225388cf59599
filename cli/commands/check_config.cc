#include <iostream>

#include "cli/commands/commands.h"
#include "cli/commands/train_plan.h"
#include "cli/job/load_config.h"
#include "common/base/logging.h"

namespace pepnet {

// Nothing is read but the config and its vocabularies, so the command answers at once on any
// machine.
Status CheckConfigCommand(const ConfigFlags& given) {
  ConfigFlags flags = given;
  // The needs of a training alone, such as evaluations for keep_best, are checked as well.
  flags.for_training = true;
  std::vector<std::string> faults;
  const StatusOr<JobConfig> config = LoadConfig(flags, /*ignore_unknown_fields=*/false, &faults);
  if (!config.ok()) {
    // One fault is the error itself; several are listed first, each on its line.
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
  // The effective config is the result and goes to stdout alone, so that it can be piped into a
  // file; all else is log.
  std::cout << config->effective_text;
  LOG(INFO) << flags.pipeline_config_path << " is accepted";
  return absl::OkStatus();
}

}  // namespace pepnet

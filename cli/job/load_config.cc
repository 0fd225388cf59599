#include "cli/job/load_config.h"

#include "common/base/logging.h"
#include "common/config/load.h"
#include "worker/optim/part_optimizers.h"

namespace pepnet {

StatusOr<JobConfig> LoadConfig(const ConfigFlags& flags, bool ignore_unknown_fields, std::vector<std::string>* all) {
  ConfigOverrides overrides;
  overrides.edit_config_json = flags.edit_config_json;
  overrides.set = flags.set;
  overrides.model_dir = flags.model_dir;
  overrides.train_input_path = flags.train_input_path;
  overrides.eval_input_path = flags.eval_input_path;
  overrides.fine_tune_checkpoint = flags.fine_tune_checkpoint;
  overrides.dataset_type = flags.dataset_type;
  overrides.ignore_unknown_fields = ignore_unknown_fields;
  overrides.for_training = flags.for_training;
  return LoadJobConfig(flags.pipeline_config_path, overrides, all);
}

void LogNotes(const JobConfig& config) {
  for (const std::string& note : config.notes) LOG(INFO) << note;
  for (const std::string& note : IdlePartOptimizers(config)) LOG(INFO) << note;
}

}  // namespace pepnet

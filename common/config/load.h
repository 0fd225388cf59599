// From a pipeline config file (TorchEasyRec's text protobuf, both dialects, or the same message in
// JSON where the name ends in .json) to a validated JobConfig.
//
// Order of work: parse -> apply --edit_config_json and --set -> apply flag overrides -> rewrite the
// old dialect -> leave out unused features that are not supported -> reject unsupported fields
// (message names field and line) -> default and validate -> plain structs.
// Threads: no state. Failure: InvalidArgument with file, line, field, value seen and what to do;
// NotFound for the file.
#pragma once

#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/job_config.h"

namespace pepnet {

struct ConfigOverrides {
  std::string edit_config_json;  // "" or a JSON object of dotted paths (spec 6.3)
  std::vector<std::string> set;  // "path=value", behind edit_config_json
  // "" = leave as in the file.
  std::string train_input_path, eval_input_path, model_dir, fine_tune_checkpoint;
  std::string dataset_type;            // a value of DatasetType
  bool ignore_unknown_fields = false;  // predict accepts an exported config of a newer version
  bool for_training = false;           // what decides by evaluations then needs eval_input_path
};

// With `all`, work goes on behind a fault as far as it can, and every fault found is a sentence
// there; the error is the first.
StatusOr<JobConfig> LoadJobConfig(const std::string& path, const ConfigOverrides& overrides,
                                  std::vector<std::string>* all = nullptr);

// As above from text; `source` stands for the file name in messages. vocab_file paths are relative
// to the current directory.
StatusOr<JobConfig> ParseJobConfig(const std::string& text, const std::string& source,
                                   const ConfigOverrides& overrides,
                                   std::vector<std::string>* all = nullptr);

}  // namespace pepnet

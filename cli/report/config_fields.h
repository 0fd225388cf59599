// The effective config of a run, field by field, and where the configs of several runs differ.
#pragma once

#include <string>
#include <vector>

#include "cli/report/run_record.h"
#include "common/base/status.h"

namespace pepnet {

// The fields of a config in text format, as `pepnet train` writes it: one field or bracket a line.
// Messages that occur several times are told apart by their feature_name, group_name, tower_name or
// embedding_name, else by a number. InvalidArgument names the first line of another form.
StatusOr<std::vector<ConfigField>> FieldsOfConfig(const std::string& text);

// A field that is not the same in all runs, or a message that some run lacks as a whole.
struct ConfigDifference {
  std::string path;
  // By run; "": the run does not have it. Of a message the number of its fields; of a repeated
  // field the values that not all runs have, behind the number of those that all have.
  std::vector<std::string> values;
};

// In the order of the first config that has the field. model_dir is left out: no two runs share
// one.
std::vector<ConfigDifference> DifferencesOf(const std::vector<RunRecord>& runs);

}  // namespace pepnet

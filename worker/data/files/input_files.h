// Input files: from the user's comma list of paths and globs to the sorted list of files that are
// read.
//
// Threads: no state.
// Failure: the message names the path or pattern at fault, and where a relative one does not lead.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/data_config.h"

namespace pepnet {

struct JobConfig;

struct InputFiles {
  // In the order of reading: FindInputFiles() sorts. Existing, at least one, none twice.
  std::vector<std::string> paths;
  DatasetType type = DatasetType::kCsv;
};

// `type` as in DataConfig::dataset_type; with nullopt the endings of the paths decide and
// `type_name` stands in messages. A path that exists is taken literally, also if it holds glob
// characters.
StatusOr<InputFiles> FindInputFiles(const std::string& input_path, std::optional<DatasetType> type,
                                    const std::string& type_name);
// The same for one of the job's input paths. A message begins with the field of the config that has
// it, if one has.
StatusOr<InputFiles> FindJobFiles(const JobConfig& config, const std::string& input_path);
// The same for files that are known, at least one, in the order given.
StatusOr<InputFiles> InputFilesOf(std::vector<std::string> paths, std::optional<DatasetType> type,
                                  const std::string& type_name);

}  // namespace pepnet

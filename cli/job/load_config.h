// The pipeline config as the flags of a command say.
#pragma once

#include "cli/job/flags.h"
#include "common/base/status.h"
#include "common/job_config/job_config.h"

namespace pepnet {

// Parses and validates the config that the flags name, with their changes. Errors and `all`: those
// of LoadJobConfig().
StatusOr<JobConfig> LoadConfig(const ConfigFlags& flags, bool ignore_unknown_fields = false,
                               std::vector<std::string>* all = nullptr);

// An error of a job about an input path begins with the field of the config that has the path
// (FindJobFiles()). Where a flag gave it, the error returned names the flag instead.
Status NameInputFlags(const ConfigFlags& flags, const Status& status);

// Writes one log line for each setting that has no effect or was rewritten (law L7).
void LogNotes(const JobConfig& config);

}  // namespace pepnet

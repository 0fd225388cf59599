// One function per command of the command line (docs/design.md section 9). Each returns the first error; main() prints it.
#pragma once

#include "cli/flags.h"
#include "common/base/status.h"
#include "common/config/job_config.h"

namespace pepnet {

class MpiSession;

// What the config says without effect, and what was rewritten: one log line each (law L7).
void LogNotes(const JobConfig& config);

// Parses and validates the config as the flags say.
StatusOr<JobConfig> LoadConfig(const ConfigFlags& flags, bool ignore_unknown_fields = false);

// `session` is null without mpirun.
Status TrainCommand(const ConfigFlags& config_flags, const JobFlags& job_flags, MpiSession* session);
Status EvalCommand(const ConfigFlags& config_flags, const JobFlags& job_flags, const EvalFlags& flags,
                   MpiSession* session);
Status PredictCommand(const ConfigFlags& config_flags, const JobFlags& job_flags, const PredictFlags& flags,
                      MpiSession* session);
Status ExportCommand(const ConfigFlags& config_flags, const ExportFlags& flags);
Status ImportCommand(const ConfigFlags& config_flags, const ImportFlags& flags);
Status InspectCommand(const InspectFlags& flags);
Status CheckConfigCommand(const ConfigFlags& config_flags);

}  // namespace pepnet

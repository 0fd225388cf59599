// One function per command of the command line (docs/design.md section 9). Each returns the first error; main() prints it.
#pragma once

#include "cli/job/flags.h"
#include "common/base/status.h"

namespace pepnet {

class MpiSession;

// `session` is null without mpirun.
Status TrainCommand(const ConfigFlags& config_flags, const JobFlags& job_flags, MpiSession* session);
Status EvalCommand(const ConfigFlags& config_flags, const JobFlags& job_flags, const EvalFlags& flags,
                   MpiSession* session);
Status PredictCommand(const ConfigFlags& config_flags, const JobFlags& job_flags, const PredictFlags& flags,
                      MpiSession* session);
Status ExportCommand(const ConfigFlags& config_flags, const ExportFlags& flags);
Status ImportCommand(const ConfigFlags& config_flags, const ImportFlags& flags);
Status CheckConfigCommand(const ConfigFlags& config_flags);

}  // namespace pepnet

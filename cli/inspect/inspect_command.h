// `pepnet inspect`: what a checkpoint or an export holds.
#pragma once

#include "cli/job/flags.h"
#include "common/base/status.h"

namespace pepnet {

// Prints on stdout and writes flags.report. Errors: what is not there, or not what its manifest says.
Status InspectCommand(const InspectFlags& flags);

}  // namespace pepnet

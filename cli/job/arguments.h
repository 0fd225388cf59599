// The command line before CLI11 reads it: an unknown command or flag, with the one that was meant.
#pragma once

#include <CLI/App.hpp>

#include "common/base/status.h"

namespace pepnet {

// InvalidArgument for the first word that is no command of `app`, or the first --flag that its command does not have. What
// stands behind a flag is CLI11's business.
Status CheckArguments(const CLI::App& app, int argc, const char* const* argv);

}  // namespace pepnet

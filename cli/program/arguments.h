// The command line before CLI11 reads it: an unknown command or flag, with the one that was meant.
#pragma once

#include <CLI/App.hpp>

#include "common/base/status.h"

namespace pepnet {

// InvalidArgument for the first word that is no command of `app`, the first --flag that its command
// does not have, the first value that is empty where only something makes sense, and the first that
// is no number, or too large for one, where a number belongs. Ranges within the type are the flags'
// own validators.
Status CheckArguments(const CLI::App& app, int argc, const char* const* argv);

}  // namespace pepnet

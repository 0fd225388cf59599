// --device and --deterministic, which several commands have.
#pragma once

#include <CLI/App.hpp>

#include "cli/job/flags.h"

namespace pepnet {

void AddDeviceFlags(CLI::App* command, JobFlags* flags);

}  // namespace pepnet

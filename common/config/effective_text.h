// The effective config: what a job runs with, as text that can be given to it again.
#pragma once

#include <string>

#include "proto/pipeline.pb.h"

namespace pepnet {

// `config` after edits, flags and rewriting, with the default of every field that is not set and
// has an effect (but for a few that say something by being set at all). Loading the
// text gives the same job and the same text.
std::string EffectiveText(const config::EasyRecConfig& config);

}  // namespace pepnet

// Features that the model does not use change no number, so they may be of any kind.
#pragma once

#include "common/config/parse/config_source.h"
#include "proto/pipeline.pb.h"

namespace pepnet {

// Removes from `config` (today's dialect) the features that would be refused and whose names stand
// nowhere in its model_config or eval_config.slice_by. Each leaves a note with what it would be
// refused for. Nothing is removed where a part of model_config cannot be read: nobody knows then
// what it uses.
void DropUnusedFeatures(ConfigSource* source, config::EasyRecConfig* config);

}  // namespace pepnet

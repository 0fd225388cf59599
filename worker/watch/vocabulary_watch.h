// VocabularyWarnings: which features have a vocabulary that lacks many of the tokens that were
// read, or hash whole numbers that are written with a point.
#pragma once

#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/job_config.h"
#include "common/net/collective.h"
#include "worker/data/encode/encode_counts.h"
#include "worker/watch/warning.h"

namespace pepnet {

// Of what this worker encoded, added up over all of them: features of which at least a twentieth of
// at least 100 tokens are unknown, or have such a point. The example is that of the first worker
// that has one. `rows`: what was read, "training", "eval". Empty on workers other than 0. A
// collective operation.
StatusOr<std::vector<Warning>> VocabularyWarnings(const JobConfig& config,
                                                  const EncodeCounts& counts,
                                                  const std::string& rows, Collective* collective);

}  // namespace pepnet

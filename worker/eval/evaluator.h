// Evaluate: one pass over a data set with the current weights; metrics and losses, equal on every worker (law L5).
// A collective operation. The tables are read as of `finished_steps` applied steps and are not changed.
#pragma once

#include <map>
#include <string>

#include "common/base/status.h"
#include "worker/model/pepnet_model.h"
#include "worker/train/worker_context.h"

namespace pepnet {

StatusOr<std::map<std::string, double>> Evaluate(const WorkerContext& context, PepnetModel* model,
                                                 const std::string& input_path, int64_t finished_steps);

}  // namespace pepnet

// MakeModel: the one place that knows both engines.
#pragma once

#include <memory>

#include "worker/model/pepnet_model.h"

namespace pepnet {

// A model of options.engine. Borrows `config` and `parameters`, whose values every call of the
// model reads anew. Logs it where the fused engine was asked for and gives way.
StatusOr<std::unique_ptr<PepnetModel>> MakeModel(const JobConfig* config,
                                                 DenseParameters* parameters,
                                                 const ModelOptions& options);

}  // namespace pepnet

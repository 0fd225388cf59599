// The reference engine: PepnetModel in plain libtorch with autograd, on the host's arrays in place
// or on a device with copies.
#pragma once

#include <memory>

#include "worker/model/pepnet_model.h"

namespace pepnet {

// Null-free. Of `options` the engine and the threads are the caller's business.
std::unique_ptr<PepnetModel> MakeTorchModel(const JobConfig* config, DenseParameters* parameters,
                                            const ModelOptions& options);

}  // namespace pepnet

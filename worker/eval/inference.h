// InferenceModel: the weights of a checkpoint, ready for eval and predict. Opening it is a
// collective operation that also configures the servers and loads their tables.
#pragma once

#include <memory>
#include <string>

#include "common/base/status.h"
#include "worker/checkpoint/train_state.h"
#include "worker/context/worker_context.h"
#include "worker/model/pepnet_model.h"

namespace pepnet {

struct InferenceModel {
  std::unique_ptr<DenseParameters> parameters;
  std::unique_ptr<PepnetModel> model;
  int64_t finished_steps = 0;
  std::string checkpoint;
};

// `path`: a model.ckpt-N directory or its parent. `which`: of the dense parameters.
StatusOr<InferenceModel> OpenForInference(const WorkerContext& context, const std::string& path,
                                          DenseValues which);

}  // namespace pepnet

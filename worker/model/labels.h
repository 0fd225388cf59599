// The model's requirements on a batch's labels, without torch.
#pragma once

#include "common/base/status.h"
#include "common/job_config/job_config.h"
#include "worker/data/batch.h"
#include "worker/model/pepnet_model.h"

namespace pepnet {

// InvalidArgument if a label column that a loss or the domain selection reads is missing, not
// integer where it must be, or out of range. The message names the column, the batch's origin and
// the row within the batch.
Status CheckLabels(const JobConfig& config, const Batch& batch);

// Checks the input of an engine before it computes losses: CheckLabels(). It is a fault of
// the program if there are no row scales; `call` names the caller's method.
Status CheckLossInput(const JobConfig& config, const ModelInput& input, const char* call);

// As CheckLabels, for the domain column alone; OK if the model has no domain towers.
Status CheckDomains(const JobConfig& config, const Batch& batch);

}  // namespace pepnet

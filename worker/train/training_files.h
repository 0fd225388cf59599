// The choice of the files that this run trains on: worker 0 looks at them and chooses, for all
// workers.
//
// Collective operations: every worker calls them at the same time.
// Failure: an error of worker 0 is returned by all workers.
#pragma once

#include <vector>

#include "common/base/status.h"
#include "worker/checkpoint/train_state.h"
#include "worker/context/worker_context.h"
#include "worker/data/history/data_choice.h"

namespace pepnet {

// The rest that is to be read behind `counters`, of the files that the config's train_input_path
// names. Worker 0 reads the parts of them that tell them apart, and logs what it found; the others
// are told the files by name.
StatusOr<DataChoice> ChooseTrainingFiles(const WorkerContext& context,
                                         const TrainCounters& counters);

// FailedPrecondition on all workers if one of them does not see the files at their sizes.
Status CheckFilesSeen(const WorkerContext& context, const std::vector<FileIdentity>& files);

}  // namespace pepnet

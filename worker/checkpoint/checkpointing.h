// Saving and restoring a job: the workers' and servers' parts together. Collective operations:
// every worker calls them at the same step, with the same arguments; worker 0 talks to the servers
// and writes the files.
//
// Failure: an error on worker 0 is returned by all workers. An incomplete checkpoint never gets its
//          final name. A save that fails after BeginCheckpoint() shows in CheckpointSaver::Check()
//          on worker 0 and in the next of these calls.
#pragma once

#include <functional>
#include <string>

#include "common/base/status.h"
#include "worker/checkpoint/checkpoint_saver.h"
#include "worker/checkpoint/train_state.h"
#include "worker/context/worker_context.h"

namespace pepnet {

// Begins to save the state after state.counters.finished_steps, to be called before the next step
// is pushed; waits for a save that is still running. `saver`: worker 0's; others pass nullptr.
// best_step() is asked on worker 0, while no save is running, for the step whose checkpoint stays
// beside the newest ones (-1: none); it may be empty.
Status BeginCheckpoint(const WorkerContext& context, TrainState& state, CheckpointSaver* saver,
                       const std::function<StatusOr<int64_t>()>& best_step = nullptr);

// Waits for a running save. Returns the path of the last checkpoint that `saver` wrote, "" if there
// is none.
StatusOr<std::string> FinishCheckpoint(const WorkerContext& context, CheckpointSaver* saver);

// The checkpoint that `path` (a model.ckpt-N directory, its parent, or "best" for that of
// model_dir) means, checked file by file and against this config.
// NotFound if there is none.
StatusOr<std::string> FindCheckpoint(const WorkerContext& context, const std::string& path);

// Full restore for --continue_train. With ignore_restore_optimizer the optimizers and the rows'
// counts of updates begin afresh, and the optimizers may be others than those that the checkpoint
// was written with; adam of tables cannot.
Status RestoreForTraining(const WorkerContext& context, const std::string& directory,
                          TrainState* state);

// Weights only, by name (fine_tune_checkpoint): step, schedules and optimizer state start fresh.
Status RestoreForFineTuning(const WorkerContext& context, const std::string& path,
                            TrainState* state);

// Weights or averages only, for eval and predict. Returns the checkpoint's finished steps.
StatusOr<int64_t> RestoreForInference(const WorkerContext& context, const std::string& directory,
                                      DenseValues which, DenseParameters* parameters);

// Runs `body` on worker 0 and gives its result (or error) to all workers.
StatusOr<std::string> OnFirstWorker(const WorkerContext& context, const std::string& what,
                                    const std::function<StatusOr<std::string>()>& body);
// The same where there is no result but the error.
Status RunOnFirstWorker(const WorkerContext& context, const std::string& what,
                        const std::function<Status()>& body);

}  // namespace pepnet

// The checkpoint that a training job goes on from, and what to do when the newest one is damaged:
// nothing silently. A job never starts from an older checkpoint, or from scratch, because a newer
// one cannot be read; it says which one is whole.
//
// Threads: worker 0 only, while it holds the lock of model_dir.
#pragma once

#include <string>

#include "common/base/status.h"
#include "worker/context/worker_context.h"

namespace pepnet {

// The directory to resume from, "" for a fresh start.
//   options.checkpoint_path empty: the newest one; DataLoss if the newest model.ckpt-N has no
//   manifest. else: that one, verified; newer ones are renamed to model.ckpt-N.rejected, so that
//   the run can write them again.
StatusOr<std::string> ChooseCheckpoint(const std::string& model_dir, const RunOptions& options);

// `damage` of the checkpoint `directory`, with the newest older one that is whole and how to use
// it.
Status AdviseOnDamage(const Status& damage, const std::string& directory);

}  // namespace pepnet

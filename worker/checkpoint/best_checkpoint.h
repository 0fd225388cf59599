// best_checkpoint.json in model_dir: the checkpoint that a training keeps as its best one.
//
//   {"step": 785, "metric": "auc_like", "larger_is_better": true, "value": 0.7028, "path":
//   "model.ckpt-785"}
//
// `path` is relative to model_dir, which may be moved. The file is replaced as a whole and fsynced,
// after the checkpoint that it names is complete.
//
// Threads: no state; worker 0 alone writes.
// Failure: a file of another form is DataLoss, one that is not there NotFound.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/best_rule.h"
#include "worker/checkpoint/best_evaluation.h"

namespace pepnet {

inline constexpr char kBestCheckpointFile[] = "best_checkpoint.json";
// The value of --checkpoint_path for it.
inline constexpr char kBestCheckpointWord[] = "best";

struct BestCheckpoint {
  int64_t step = 0;
  std::string metric;  // NameOf(rule)
  bool larger_is_better = true;
  double value = 0;
  std::string path;  // in model_dir
};

// NotFound also says how to have one.
StatusOr<BestCheckpoint> ReadBestCheckpoint(const std::string& model_dir);
Status WriteBestCheckpoint(const std::string& model_dir, const BestCheckpoint& best);

// Removes the file that an earlier run with another config left: nobody keeps what it names any
// more.
Status ForgetBestCheckpoint(const std::string& model_dir);

// The directory of the checkpoint that best_checkpoint.json names. NotFound, with what to do, if
// there is no such file or its checkpoint is gone.
StatusOr<std::string> ResolveBestCheckpoint(const std::string& model_dir);

// The meaning of a flag --checkpoint_path: "best" is the best checkpoint of model_dir, all else is
// ResolveCheckpoint()'s.
StatusOr<std::string> ResolveCheckpointFlag(const std::string& path, const std::string& model_dir);

// Of `steps`, those whose checkpoint is complete in model_dir.
StatusOr<std::vector<ValuedStep>> KeptSteps(const std::string& model_dir,
                                            const std::vector<ValuedStep>& steps);

}  // namespace pepnet

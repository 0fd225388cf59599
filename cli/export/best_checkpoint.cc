#include "cli/export/best_checkpoint.h"

#include <vector>

#include "common/base/logging.h"
#include "common/checkpoint/checkpoint.h"
#include "worker/checkpoint/best_checkpoint.h"
#include "worker/checkpoint/best_evaluation.h"

namespace pepnet {

StatusOr<std::string> ChooseBestCheckpoint(const JobConfig& config) {
  if (!config.export_config.no_best.empty()) return InvalidInput(config.export_config.no_best);
  const BestRule& rule = config.train.best;
  const std::string metric = NameOf(rule);
  // best_checkpoint.json is not asked: the config of an export may have another rule than that of
  // the training, and the evaluations are all there.
  const std::vector<ValuedStep> steps = ReadValuedSteps(config.model_dir, rule);
  PEPNET_ASSIGN_OR_RETURN(const std::vector<ValuedStep> kept, KeptSteps(config.model_dir, steps));
  if (kept.empty()) {
    return absl::NotFoundError(absl::StrCat("exporter_type is best, but ", config.model_dir,
                                            " holds no checkpoint with an evaluation of ", metric,
                                            " in train_eval_result.txt; pass --checkpoint_path"));
  }
  // A later save may have removed the best checkpoint of a run without keep_best; the next best one
  // is exported, and the log says so.
  const ValuedStep best = *StandingOf(rule, kept).best, ever = *StandingOf(rule, steps).best;
  if (ever.step == best.step) {
    LOG(INFO) << "step " << best.step << " was the best by " << metric << " ("
              << MetricText(best.value) << "), and " << CheckpointName(best.step) << " is there";
  } else {
    LOG(WARNING) << "step " << ever.step << " was the best by " << metric << " ("
                 << MetricText(ever.value) << "), but " << CheckpointName(ever.step)
                 << " is not in " << config.model_dir << "; the best that is there is "
                 << CheckpointName(best.step) << " (" << MetricText(best.value) << ")";
  }
  return absl::StrCat(config.model_dir, "/", CheckpointName(best.step));
}

}  // namespace pepnet

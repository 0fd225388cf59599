#include "cli/export/best_checkpoint.h"

#include <set>

#include "common/base/logging.h"
#include "common/checkpoint/checkpoint.h"
#include "worker/checkpoint/best_step.h"

namespace pepnet {

StatusOr<std::string> BestCheckpoint(const std::string& model_dir, const ExportConfig& config) {
  PEPNET_ASSIGN_OR_RETURN(const std::vector<int64_t> steps, ListCheckpoints(model_dir));
  const std::set<int64_t> there(steps.begin(), steps.end());
  PEPNET_ASSIGN_OR_RETURN(const BestStep best,
                          FindBestStep(model_dir, config, [&](int64_t step) { return there.count(step) > 0; }));
  PEPNET_ASSIGN_OR_RETURN(const BestStep ever, FindBestStep(model_dir, config, [](int64_t) { return true; }));
  const std::string& metric = config.best_exporter_metric;
  if (ever.step == best.step) {
    LOG(INFO) << "step " << best.step << " was the best by " << metric << " (" << best.value << "), and "
              << CheckpointName(best.step) << " is there";
  } else {
    LOG(WARNING) << "step " << ever.step << " was the best by " << metric << " (" << ever.value << "), but "
                 << CheckpointName(ever.step) << " is not in " << model_dir << "; the best that is there is "
                 << CheckpointName(best.step) << " (" << best.value << ")";
  }
  return absl::StrCat(model_dir, "/", CheckpointName(best.step));
}

}  // namespace pepnet

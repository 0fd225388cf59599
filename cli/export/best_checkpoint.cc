#include "cli/export/best_checkpoint.h"

#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/str_join.h"
#include "cli/export/model_card.h"
#include "common/base/text.h"
#include "common/checkpoint/checkpoint.h"

namespace pepnet {

StatusOr<std::string> BestCheckpoint(const std::string& model_dir, const ExportConfig& config) {
  PEPNET_ASSIGN_OR_RETURN(const std::vector<int64_t> steps, ListCheckpoints(model_dir));
  const std::string& metric = config.best_exporter_metric;
  std::string best;
  double best_value = 0;
  std::set<std::string> names;
  for (const int64_t step : steps) {
    const std::string checkpoint = absl::StrCat(model_dir, "/", CheckpointName(step));
    const std::string line = EvaluationOf(checkpoint, step);
    if (line.empty()) continue;
    const nlohmann::json json = nlohmann::json::parse(line);
    for (const auto& [name, value] : json.items()) {
      if (name != "global_step" && (value.is_number() || value.is_null())) names.insert(Printable(name, 200));
    }
    if (!json.contains(metric) || !json[metric].is_number()) continue;
    const double value = json[metric];
    if (best.empty() || (config.metric_larger_is_better ? value > best_value : value < best_value)) {
      best = checkpoint;
      best_value = value;
    }
  }
  if (!best.empty()) return best;
  if (names.empty()) {
    return absl::NotFoundError(
        absl::StrCat("exporter_type is best, but ", model_dir,
                     " holds no checkpoint with an evaluation in train_eval_result.txt; pass --checkpoint_path"));
  }
  return InvalidInput("best_exporter_metric \"", metric, "\" is in no evaluation of ", model_dir, "; expected one of ",
                      absl::StrJoin(names, ", "));
}

}  // namespace pepnet

#include "worker/checkpoint/best_step.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/text.h"
#include "common/file/file.h"

namespace pepnet {

std::vector<EvaluationLine> ReadEvaluations(const std::string& model_dir) {
  const std::string text = ReadFile(absl::StrCat(model_dir, "/train_eval_result.txt")).value_or("");
  std::vector<EvaluationLine> lines;
  std::set<int64_t> seen;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const auto json = nlohmann::json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
    if (!json.is_object() || !json.contains("global_step") || !json["global_step"].is_number_integer()) continue;
    const int64_t step = json["global_step"];
    if (seen.insert(step).second) lines.push_back({step, std::string(line)});
  }
  return lines;
}

StatusOr<BestStep> FindBestStep(const std::string& model_dir, const ExportConfig& config,
                                const std::function<bool(int64_t step)>& counts) {
  const std::string& metric = config.best_exporter_metric;
  std::optional<BestStep> best;
  std::set<std::string> names;
  for (const auto& [step, line] : ReadEvaluations(model_dir)) {
    if (!counts(step)) continue;
    const nlohmann::json json = nlohmann::json::parse(line);
    for (const auto& [name, value] : json.items()) {
      if (name != "global_step" && (value.is_number() || value.is_null())) names.insert(Printable(name, 200));
    }
    if (!json.contains(metric) || !json[metric].is_number()) continue;
    const double value = json[metric];
    if (!best.has_value() || (config.metric_larger_is_better ? value > best->value : value < best->value)) {
      best = BestStep{step, value};
    }
  }
  if (best.has_value()) return *best;
  if (names.empty()) {
    return absl::NotFoundError(
        absl::StrCat("exporter_type is best, but ", model_dir,
                     " holds no checkpoint with an evaluation in train_eval_result.txt; pass --checkpoint_path"));
  }
  return InvalidInput("best_exporter_metric \"", metric, "\" is in no evaluation of ", model_dir, "; expected one of ",
                      absl::StrJoin(names, ", "));
}

}  // namespace pepnet

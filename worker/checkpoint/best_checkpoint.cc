#include "worker/checkpoint/best_checkpoint.h"

#include <cmath>
#include <limits>
#include <set>

#include "common/base/text.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/strict_json.h"
#include "common/file/file.h"

namespace pepnet {
namespace {

constexpr int64_t kMaxBestBytes = int64_t{1} << 20;

StatusOr<BestCheckpoint> Parse(const std::string& text) {
  PEPNET_ASSIGN_OR_RETURN(const nlohmann::json json, ParseStrictJson(text));
  BestCheckpoint best;
  PEPNET_ASSIGN_OR_RETURN(best.step,
                          JsonInteger(json, "step", 0, std::numeric_limits<int64_t>::max()));
  PEPNET_ASSIGN_OR_RETURN(best.metric, JsonString(json, "metric"));
  PEPNET_ASSIGN_OR_RETURN(best.path, JsonString(json, "path"));
  const auto larger = json.find("larger_is_better"), value = json.find("value");
  if (larger == json.end() || !larger->is_boolean()) {
    return absl::DataLossError("\"larger_is_better\" is not true or false");
  }
  if (value == json.end() || !value->is_number()) {
    return absl::DataLossError("\"value\" is not a number");
  }
  best.larger_is_better = larger->get<bool>();
  best.value = value->get<double>();
  // The path is not free text: it must be the checkpoint of the step, in model_dir, and cannot lead
  // anywhere else.
  if (best.path != CheckpointName(best.step)) {
    return absl::DataLossError(absl::StrCat("\"path\" is \"", Printable(best.path, 100),
                                            "\", expected ", CheckpointName(best.step),
                                            ", the checkpoint of its step"));
  }
  return best;
}

}  // namespace

StatusOr<BestCheckpoint> ReadBestCheckpoint(const std::string& model_dir) {
  const std::string path = absl::StrCat(model_dir, "/", kBestCheckpointFile);
  if (!PathExists(path)) {
    return absl::NotFoundError(absl::StrCat(
        "there is no best checkpoint in ", model_dir, ": ", kBestCheckpointFile,
        " is missing; a training with train_config.keep_best and eval_input_path leaves one"));
  }
  PEPNET_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxBestBytes));
  StatusOr<BestCheckpoint> best = Parse(text);
  if (best.ok()) return best;
  return absl::DataLossError(absl::StrCat(path, " is damaged: ", best.status().message()));
}

Status WriteBestCheckpoint(const std::string& model_dir, const BestCheckpoint& best) {
  const nlohmann::ordered_json json = {{"step", best.step},
                                       {"metric", best.metric},
                                       {"larger_is_better", best.larger_is_better},
                                       {"value", best.value},
                                       {"path", best.path}};
  PEPNET_ASSIGN_OR_RETURN(const std::string text, DumpJson(json));
  // The file is replaced atomically: a reader (eval, a copying script) sees the old verdict or the
  // new one.
  return WriteFileAtomically(absl::StrCat(model_dir, "/", kBestCheckpointFile), text + "\n");
}

Status ForgetBestCheckpoint(const std::string& model_dir) {
  if (!ReadBestCheckpoint(model_dir).ok()) return absl::OkStatus();  // none, or not ours
  return RemoveTree(absl::StrCat(model_dir, "/", kBestCheckpointFile));
}

StatusOr<std::string> ResolveBestCheckpoint(const std::string& model_dir) {
  PEPNET_ASSIGN_OR_RETURN(const BestCheckpoint best, ReadBestCheckpoint(model_dir));
  const std::string directory = absl::StrCat(model_dir, "/", best.path);
  if (!PathExists(directory)) {
    return absl::NotFoundError(absl::StrCat(
        "the best checkpoint of ", model_dir, " is gone: ", directory, ", ", best.metric, " ",
        MetricText(best.value), ", is not there; name another one with --checkpoint_path"));
  }
  return ResolveCheckpoint(directory);
}

StatusOr<std::string> ResolveCheckpointFlag(const std::string& path, const std::string& model_dir) {
  if (path == kBestCheckpointWord) return ResolveBestCheckpoint(model_dir);
  StatusOr<std::string> checkpoint = ResolveCheckpoint(path);
  // Without the flag: the path comes from the config, whose field is named.
  if (path == model_dir && !PathExists(path)) return Annotate(checkpoint.status(), "model_dir");
  return checkpoint;
}

StatusOr<std::vector<ValuedStep>> KeptSteps(const std::string& model_dir,
                                            const std::vector<ValuedStep>& steps) {
  PEPNET_ASSIGN_OR_RETURN(const std::vector<int64_t> complete, ListCheckpoints(model_dir));
  const std::set<int64_t> there(complete.begin(), complete.end());
  std::vector<ValuedStep> kept;
  for (const ValuedStep& step : steps) {
    if (there.count(step.step) > 0) kept.push_back(step);
  }
  return kept;
}

}  // namespace pepnet

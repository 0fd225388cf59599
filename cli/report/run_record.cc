#include "cli/report/run_record.h"

#include <cmath>
#include <filesystem>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "cli/report/json_lines.h"
#include "cli/report/run_files.h"
#include "common/base/text.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/strict_json.h"
#include "common/file/file.h"

namespace pepnet {
namespace {

constexpr double kMostSeconds = 1e12;  // 30,000 years
constexpr int64_t kMostSteps = std::numeric_limits<int64_t>::max();

// Numbers of `json` into `figures`; returns how many members are null. Members of other types are
// not known here.
int64_t TakeFigures(const nlohmann::json& json, const std::set<std::string>& skip,
                    Figures* figures) {
  int64_t nulls = 0;
  for (const auto& [name, value] : json.items()) {
    if (skip.count(name) > 0) continue;
    if (value.is_number()) figures->emplace(name, value.get<double>());
    nulls += value.is_null() ? 1 : 0;
  }
  return nulls;
}

// The logs are read strictly (a wrong line is an error), because every figure of the report comes
// from them; unknown members are let through, since later versions may write more.
Status ReadSteps(const std::string& directory, std::vector<LoggedStep>* steps) {
  return ReadJsonLines(directory + "/metrics.jsonl", [steps](const nlohmann::json& json) -> Status {
    LoggedStep step;
    PEPNET_ASSIGN_OR_RETURN(step.step, JsonInteger(json, "step", 0, kMostSteps));
    PEPNET_ASSIGN_OR_RETURN(step.epoch, JsonInteger(json, "epoch", 0, kMostSteps));
    step.not_finite = TakeFigures(json, {"step", "epoch"}, &step.values);
    const auto why = json.find("why");
    if (why != json.end() && why->is_object()) {
      for (const auto& [name, reason] : why->items()) {
        const auto explained = json.find(name);
        step.not_finite -= explained != json.end() && explained->is_null() ? 1 : 0;
      }
    }
    const auto stages = json.find("stage_seconds");
    if (stages != json.end() && stages->is_object()) TakeFigures(*stages, {}, &step.stage_seconds);
    for (const auto& [stage, seconds] : step.stage_seconds) {
      if (seconds >= 0 && seconds <= kMostSeconds) continue;
      return absl::DataLossError(absl::StrCat("\"stage_seconds\" has ", seconds, " for ",
                                              Printable(stage, 50), ", expected seconds"));
    }
    steps->push_back(std::move(step));
    return absl::OkStatus();
  });
}

Status ReadEvaluationFigures(const std::string& directory,
                             std::vector<LoggedEvaluation>* evaluations) {
  return ReadJsonLines(
      directory + "/train_eval_result.txt", [evaluations](const nlohmann::json& json) -> Status {
        LoggedEvaluation evaluation;
        PEPNET_ASSIGN_OR_RETURN(evaluation.step, JsonInteger(json, "global_step", 0, kMostSteps));
        TakeFigures(json, {"global_step"}, &evaluation.values);
        evaluations->push_back(std::move(evaluation));
        return absl::OkStatus();
      });
}

// A number that may be null or absent, such as the AUC of one class.
std::optional<double> NumberAt(const nlohmann::json& json, const char* name) {
  const auto found = json.find(name);
  if (found == json.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

// The file has only intervals with rows, each by its lower end; the number of the interval is
// computed back.
StatusOr<std::vector<CalibrationBin>> BinsFromJson(const nlohmann::json& json) {
  std::vector<CalibrationBin> bins;
  const auto list = json.find("calibration");
  if (list == json.end()) return bins;
  if (!list->is_array()) return absl::DataLossError("\"calibration\" is no list");
  for (const nlohmann::json& item : *list) {
    const auto from = item.is_object() ? NumberAt(item, "from") : std::nullopt;
    if (!from.has_value() || *from < 0 || *from >= 1) {
      return absl::DataLossError("an interval of \"calibration\" has no \"from\" in [0, 1)");
    }
    CalibrationBin bin;
    bin.bin = static_cast<int>(std::lround(*from * kCalibrationBins));
    PEPNET_ASSIGN_OR_RETURN(bin.rows, JsonInteger(item, "rows", 0, kMostSteps));
    const auto prediction = NumberAt(item, "mean_prediction"), label = NumberAt(item, "mean_label");
    // Of predictions that are not finite.
    if (!prediction.has_value() || !label.has_value()) continue;
    bin.mean_prediction = *prediction;
    bin.mean_label = *label;
    bins.push_back(bin);
  }
  return bins;
}

// The slice that a line of train_eval_slices.jsonl or train_slices.jsonl is of, without its
// figures.
StatusOr<Slice> SlicePlaceFromJson(const nlohmann::json& json) {
  Slice slice;
  PEPNET_ASSIGN_OR_RETURN(slice.column, JsonString(json, "slice_by"));
  PEPNET_ASSIGN_OR_RETURN(slice.task, JsonString(json, "task"));
  PEPNET_ASSIGN_OR_RETURN(const std::string kind, JsonString(json, "slice"));
  if (kind == "value") {
    const auto value = json.find("value");
    if (value == json.end() || (!value->is_string() && !value->is_null())) {
      return absl::DataLossError("\"value\" is neither a text nor null");
    }
    if (value->is_string()) slice.value = value->get<std::string>();
  } else if (kind == "rest") {
    slice.kind = Slice::Kind::kRest;
  } else if (kind == "all") {
    slice.kind = Slice::Kind::kAll;
  } else {
    return absl::DataLossError(
        absl::StrCat("\"slice\" is \"", Printable(kind, 50), "\", expected value, rest or all"));
  }
  return slice;
}

// The line that SliceJson() wrote.
StatusOr<Slice> SliceFromJson(const nlohmann::json& json) {
  PEPNET_ASSIGN_OR_RETURN(Slice slice, SlicePlaceFromJson(json));
  SliceQuality& quality = slice.quality;
  PEPNET_ASSIGN_OR_RETURN(quality.rows, JsonInteger(json, "rows", 0, kMostSteps));
  PEPNET_ASSIGN_OR_RETURN(quality.positives, JsonInteger(json, "positives", 0, quality.rows));
  quality.auc = NumberAt(json, "auc");
  quality.logloss = NumberAt(json, "logloss");
  quality.normalized_entropy = NumberAt(json, "normalized_entropy");
  quality.pcoc = NumberAt(json, "pcoc");
  quality.ece = NumberAt(json, "ece");
  quality.has_groups = json.contains("grouped_auc");
  quality.grouped_auc = NumberAt(json, "grouped_auc");
  quality.grouped_auc_by_impressions = NumberAt(json, "grouped_auc_by_impressions");
  PEPNET_ASSIGN_OR_RETURN(quality.calibration, BinsFromJson(json));
  // The file has no sum of predictions; PCOC = predicted / observed gives it back.
  if (quality.pcoc.has_value()) {
    quality.predicted = *quality.pcoc * static_cast<double>(quality.positives);
  }
  return slice;
}

// A line is a slice; the lines of one evaluation follow each other.
Status ReadSliceFigures(const std::string& directory, std::vector<SlicedEvaluation>* slices) {
  return ReadJsonLines(directory + "/train_eval_slices.jsonl",
                       [slices](const nlohmann::json& json) -> Status {
                         PEPNET_ASSIGN_OR_RETURN(const int64_t step,
                                                 JsonInteger(json, "global_step", 0, kMostSteps));
                         PEPNET_ASSIGN_OR_RETURN(Slice slice, SliceFromJson(json));
                         if (slices->empty() || slices->back().step != step) {
                           slices->push_back({step, {}});
                         }
                         slices->back().slices.push_back(std::move(slice));
                         return absl::OkStatus();
                       });
}

// A window without a value must say why: the page shows the reason in its place.
StatusOr<WindowValue> WindowFromJson(const nlohmann::json& json, const char* name) {
  const auto found = json.find(name);
  if (found == json.end() || !found->is_object()) {
    return absl::DataLossError(absl::StrCat("\"", name, "\" is no object"));
  }
  WindowValue window;
  PEPNET_ASSIGN_OR_RETURN(window.rows, JsonInteger(*found, "rows", 0, kMostSteps));
  if (found->contains("positives")) {
    PEPNET_ASSIGN_OR_RETURN(window.positives, JsonInteger(*found, "positives", 0, window.rows));
  }
  window.value = NumberAt(*found, "value");
  if (window.value.has_value()) return window;
  PEPNET_ASSIGN_OR_RETURN(window.why_none, JsonString(*found, "why"));
  return window;
}

// The lines that TrainSliceJson() wrote.
Status ReadTrainSlices(const std::string& directory, std::vector<SlicedStep>* steps) {
  return ReadJsonLines(
      directory + "/train_slices.jsonl", [steps](const nlohmann::json& json) -> Status {
        PEPNET_ASSIGN_OR_RETURN(const int64_t step, JsonInteger(json, "step", 0, kMostSteps));
        PEPNET_ASSIGN_OR_RETURN(const Slice place, SlicePlaceFromJson(json));
        TrainSlice slice{place.column, place.kind, place.value, place.task, {}};
        PEPNET_ASSIGN_OR_RETURN(slice.windows.metric, JsonString(json, "metric"));
        PEPNET_ASSIGN_OR_RETURN(slice.windows.window, WindowFromJson(json, "window"));
        PEPNET_ASSIGN_OR_RETURN(slice.windows.lifetime, WindowFromJson(json, "lifetime"));
        if (steps->empty() || steps->back().step != step) steps->push_back({step, {}});
        steps->back().slices.push_back(std::move(slice));
        return absl::OkStatus();
      });
}

// Warnings are read in the order in which they were given, which is that of the file.
Status ReadWarnings(const std::string& directory, std::vector<LoggedWarning>* warnings) {
  return ReadJsonLines(
      directory + "/warnings.jsonl", [warnings](const nlohmann::json& json) -> Status {
        LoggedWarning warning;
        PEPNET_ASSIGN_OR_RETURN(warning.step, JsonInteger(json, "step", 0, kMostSteps));
        PEPNET_ASSIGN_OR_RETURN(warning.kind, JsonString(json, "kind"));
        PEPNET_ASSIGN_OR_RETURN(warning.text, JsonString(json, "text"));
        warnings->push_back(std::move(warning));
        return absl::OkStatus();
      });
}

// "runs/a/" is called a, "." by its real name.
std::string BaseName(const std::string& directory) {
  std::error_code error;
  const std::filesystem::path real = std::filesystem::weakly_canonical(directory, error);
  const std::string name = error ? directory : real.filename().string();
  return name.empty() ? directory : name;
}

}  // namespace

StatusOr<RunRecord> ReadRun(const std::string& directory, const RunReadOptions& options) {
  if (!IsDirectory(directory)) {
    return absl::NotFoundError(absl::StrCat(
        Printable(directory, 500), PathExists(directory) ? " is no directory" : " does not exist",
        "; expected the model_dir of a training"));
  }
  RunRecord run;
  run.directory = directory;
  run.name = BaseName(directory);
  PEPNET_RETURN_IF_ERROR(ReadSteps(directory, &run.steps));
  PEPNET_RETURN_IF_ERROR(ReadEvaluationFigures(directory, &run.evaluations));
  PEPNET_RETURN_IF_ERROR(ReadSliceFigures(directory, &run.slices));
  PEPNET_RETURN_IF_ERROR(ReadTrainSlices(directory, &run.train_slices));
  PEPNET_RETURN_IF_ERROR(ReadWarnings(directory, &run.warnings));
  PEPNET_ASSIGN_OR_RETURN(const std::vector<int64_t> checkpoints, ListCheckpoints(directory));
  // Any of the three makes a run: an import has only a checkpoint, a short run only a log.
  if (run.steps.empty() && run.evaluations.empty() && checkpoints.empty()) {
    return absl::NotFoundError(absl::StrCat(
        Printable(directory, 500),
        " is no run: it has neither a logged step in metrics.jsonl, nor an evaluation, nor a ",
        "checkpoint; expected the model_dir of a training that has got that far"));
  }
  ReadRunFiles(options.rows, &run);
  if (run.config.has_value()) {
    const BestRule& rule = run.config->train.best;
    const bool is_member =
        // Such a rule is a figure of the evaluation itself, which has its curve already.
        rule.metrics.size() == 1 && rule.metrics[0].weight == 1 && rule.metrics[0].slice_by.empty();
    if (rule.enabled() && !is_member) run.ruled = ReadValuedSteps(directory, rule);
  }
  return run;
}

StatusOr<std::vector<RunRecord>> ReadRuns(const std::vector<std::string>& directories,
                                          const RunReadOptions& options) {
  // Two ways to one directory would compare a run with itself, so paths are compared as the file
  // system knows them.
  std::map<std::string, std::string> real_paths;
  for (const std::string& directory : directories) {
    std::error_code error;
    const std::string real = std::filesystem::weakly_canonical(directory, error).string();
    const auto [found, is_new] = real_paths.emplace(error ? directory : real, directory);
    if (!is_new) {
      return InvalidInput(
          "the run ", Printable(directory, 500), " is named twice",
          found->second == directory ? "" : absl::StrCat(" (also as ", found->second, ")"),
          "; name each run once");
    }
  }
  std::vector<RunRecord> runs;
  for (const std::string& directory : directories) {
    PEPNET_ASSIGN_OR_RETURN(RunRecord run, ReadRun(directory, options));
    runs.push_back(std::move(run));
  }
  // Names stand in legends and headings; where two runs have the same, their whole paths do.
  std::map<std::string, int> names;
  for (const RunRecord& run : runs) ++names[run.name];
  for (RunRecord& run : runs) {
    if (names[run.name] > 1) run.name = run.directory;
  }
  return runs;
}

const SlicedEvaluation* ShownSlices(const RunRecord& run) {
  if (run.slices.empty()) return nullptr;
  for (const SlicedEvaluation& evaluation : run.slices) {
    if (run.best.has_value() && evaluation.step == run.best->step) return &evaluation;
  }
  return &run.slices.back();
}

}  // namespace pepnet

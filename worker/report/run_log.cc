#include "worker/report/run_log.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/log_functions.h"
#include "common/base/screen.h"
#include "common/file/file.h"
#include "worker/report/json_number.h"
#include "worker/report/run_lines.h"
#include "worker/report/slice_report.h"

namespace pepnet {
namespace {

constexpr char kMetricsFile[] = "metrics.jsonl";
constexpr char kEvaluationFile[] = "train_eval_result.txt";
constexpr char kSlicesFile[] = "train_eval_slices.jsonl";
constexpr char kTrainSlicesFile[] = "train_slices.jsonl";
constexpr char kWarningsFile[] = "warnings.jsonl";
constexpr char kEvaluationEvents[] = "eval_val";  // the reference's name

constexpr char kWindow[] = "window_", kLifetime[] = "lifetime_";

// "window_auc_ctr" and "lifetime_auc_ctr", those that have a value.
std::vector<std::pair<std::string, double>> WindowScalars(const StepRecord& record) {
  std::vector<std::pair<std::string, double>> scalars;
  for (const TrainWindows& windows : record.train_windows) {
    if (windows.window.value.has_value()) {
      scalars.push_back({kWindow + windows.metric, *windows.window.value});
    }
    if (windows.lifetime.value.has_value()) {
      scalars.push_back({kLifetime + windows.metric, *windows.lifetime.value});
    }
  }
  return scalars;
}

nlohmann::ordered_json IntervalJson(const std::optional<Interval>& interval) {
  if (!interval.has_value()) return nullptr;
  return {{"value", interval->value}, {"low", interval->low}, {"high", interval->high}};
}

// Puts what stands at `path` aside, as "<path>.damaged" or with a number behind it. Returns its new
// name.
StatusOr<std::string> PutAside(const std::string& path) {
  std::string aside = path + ".damaged";
  for (int number = 2; NameIsTaken(aside); ++number) {
    aside = absl::StrCat(path, ".damaged-", number);
  }
  PEPNET_RETURN_IF_ERROR(RenameAndSync(path, aside));
  return aside;
}

// Keeps the leading lines whose `key` is at most `step`: later lines belong to steps that will be
// run again. Returns the `key` of the last line kept, -1 if there is none. A damaged line in front
// of others is left out with a warning, and the file as it was is kept beside.
StatusOr<int64_t> CutBack(const std::string& path, const char* key, int64_t step) {
  int64_t last = -1;
  if (!PathExists(path)) return last;
  PEPNET_ASSIGN_OR_RETURN(std::string text, ReadFile(path));
  std::string kept;
  int64_t number = 0, damaged = 0, first_damaged = 0,
          behind = 0;  // lines; behind: that are whole, behind a damaged one
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    ++number;
    const nlohmann::json json =
        nlohmann::json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
    if (json.is_discarded() || !json.is_object() || !json.contains(key) ||
        !json[key].is_number_integer()) {
      if (++damaged == 1) first_damaged = number;
      continue;
    }
    if (damaged > 0) ++behind;
    // Steps ascend, so all that follows is later, too.
    if (json[key].get<int64_t>() > step) break;
    last = json[key].get<int64_t>();
    // Lines are kept as they stand and not written anew, so that no digit of them changes.
    absl::StrAppend(&kept, line, "\n");
  }
  // A crash leaves one line at the end that is cut short.
  if (damaged > 1 || behind > 0) {
    PEPNET_ASSIGN_OR_RETURN(const std::string aside, PutAside(path));
    LogWarning(absl::StrCat(path, " is damaged in ", damaged, " of its lines, the first is line ",
                            first_damaged,
                            "; they are left out, and the file as it was is kept as ", aside));
  }
  if (kept != text) PEPNET_RETURN_IF_ERROR(WriteFileAtomically(path, kept));
  return last;
}

}  // namespace

// The line of train_eval_result.txt: the step, then the values sorted by name, as the reference
// writes it; intervals come behind.
std::string EvaluationJson(const EvaluationResult& result) {
  nlohmann::ordered_json json;
  json["global_step"] = result.step;
  // NaN becomes null: a line stays JSON.
  for (const auto& [name, value] : result.values) json[name] = JsonNumber(value);
  if (!result.intervals.empty()) json["bootstrap"] = result.intervals[0].rounds;
  for (const TaskIntervals& task : result.intervals) {
    json["intervals"][task.task] = {{"auc", IntervalJson(task.auc)},
                                    {"logloss", IntervalJson(task.logloss)},
                                    {"pcoc", IntervalJson(task.pcoc)}};
  }
  return json.dump();
}

std::string WarningJson(int64_t step, const Warning& warning) {
  const nlohmann::ordered_json json = {
      {"step", step}, {"kind", warning.kind}, {"subject", warning.subject}, {"text", warning.text}};
  // Names come from configs and columns, which need not be UTF-8.
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void LogSlicesAndWarnings(const EvaluationResult& result) {
  if (!result.slices.empty()) LogLines(SliceTable(result.step, result.slices));
  for (const Warning& warning : SliceWarnings(result.slices)) LogWarning(warning.text);
  for (const Warning& warning : result.warnings) LogWarning(warning.text);
}

// Begins with the files of earlier runs, cut back to the restored step, and with what they have
// warned of.
StatusOr<RunLog> RunLog::Open(const std::string& model_dir, int64_t restored_step,
                              const RunLogOptions& options) {
  RunLog log;
  log.options_ = options;
  log.model_dir_ = model_dir;
  log.draws_ = ProgressIsDrawn();
  log.start_ = log.last_ = options.now();
  PEPNET_RETURN_IF_ERROR(MakeDirectories(model_dir));
  // All files are cut back to one step, so that together they are those of a run that was never
  // killed.
  PEPNET_RETURN_IF_ERROR(CutBack(model_dir + "/" + kMetricsFile, "step", restored_step).status());
  PEPNET_ASSIGN_OR_RETURN(log.last_evaluated_step_,
                          CutBack(model_dir + "/" + kEvaluationFile, "global_step", restored_step));
  PEPNET_ASSIGN_OR_RETURN(log.last_sliced_step_,
                          CutBack(model_dir + "/" + kSlicesFile, "global_step", restored_step));
  PEPNET_RETURN_IF_ERROR(
      CutBack(model_dir + "/" + kTrainSlicesFile, "step", restored_step).status());
  const std::string warnings = model_dir + "/" + kWarningsFile;
  PEPNET_RETURN_IF_ERROR(CutBack(warnings, "step", restored_step).status());
  if (PathExists(warnings)) {
    PEPNET_ASSIGN_OR_RETURN(const std::string text, ReadFile(warnings));
    for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      // CutBack() kept what parses
      const nlohmann::json json = nlohmann::json::parse(line.begin(), line.end());
      const auto kind = json.find("kind"), subject = json.find("subject");
      if (kind == json.end() || subject == json.end() || !kind->is_string() ||
          !subject->is_string())
        continue;
      log.recorded_.emplace(kind->get<std::string>(), subject->get<std::string>());
    }
  }
  if (options.tensorboard) {
    PEPNET_ASSIGN_OR_RETURN(log.step_events_, EventFile::Open(model_dir, restored_step));
    log.step_events_->Describe(options.hyperparameters);
    PEPNET_ASSIGN_OR_RETURN(
        log.evaluation_events_,
        EventFile::Open(absl::StrCat(model_dir, "/", kEvaluationEvents), restored_step));
  }
  if (!options.metrics_textfile.empty()) {
    std::error_code error;
    const std::filesystem::path run =
        std::filesystem::weakly_canonical(std::filesystem::absolute(model_dir, error), error);
    log.textfile_.emplace(options.metrics_textfile, error ? model_dir : run.string());
    PEPNET_RETURN_IF_ERROR(log.textfile_->CheckPath());
    log.textfile_->Set("pepnet_step", "counter", "Finished training steps.", "",
                       {{"", restored_step}});
    // A path that cannot be written shows before the training.
    PEPNET_RETURN_IF_ERROR(log.textfile_->Write());
  }
  return log;
}

// Files first, the screen last: what a user sees of a step stands on disk already.
Status RunLog::Step(const StepRecord& record, const StageTimes& times) {
  const auto now = options_.now();
  double seconds = std::chrono::duration<double>(now - last_).count();
  // The rate is that of training: saving and evaluating come rarely and would make it jump.
  for (const Stage stage : {Stage::kCheckpoint, Stage::kEval}) {
    seconds -= times.seconds(stage) - logged_times_.seconds(stage);
  }
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const double rate = seconds > 0 ? static_cast<double>(record.rows - last_rows_) / seconds : 0;
  last_ = now;
  last_rows_ = record.rows;

  double total = 0;
  for (size_t i = 0; i < record.losses.size(); ++i) {
    // Pareto weights change from step to step, so the total is that of the step's own weights.
    total += record.losses[i] * (record.loss_weights.empty() ? 1 : record.loss_weights[i]);
  }
  nlohmann::ordered_json json = {{"step", record.step}, {"epoch", record.epoch}};
  for (size_t i = 0; i < record.losses.size(); ++i) {
    json[record.loss_names[i]] = JsonNumber(record.losses[i]);
  }
  json["total_loss"] = JsonNumber(total);
  json["lr_sparse"] = record.lr_sparse;
  json["lr_dense"] = record.lr_dense;
  for (const auto& [part, lr] : record.lr_parts) json[absl::StrCat("lr_part_", part)] = lr;
  json["samples_per_second"] = rate;
  for (const auto& [name, value] : record.train_metrics) json[name] = JsonNumber(value);
  for (const TrainWindows& windows : record.train_windows) {
    json[kWindow + windows.metric] = JsonNumber(windows.window.value);
    json[kLifetime + windows.metric] = JsonNumber(windows.lifetime.value);
  }
  for (const TrainWindows& windows : record.train_windows) {
    for (const auto& [name, window] :
         {std::make_pair(kWindow + windows.metric, &windows.window),
          std::make_pair(kLifetime + windows.metric, &windows.lifetime)}) {
      if (!window->value.has_value()) json["why"][name] = window->why_none;
    }
  }
  for (const auto& [name, value] : record.gradient_norms) json[name] = JsonNumber(value);
  nlohmann::ordered_json stages;
  for (int s = 0; s < kStageCount; ++s) stages[kStageNames[s]] = times.seconds(s);
  json["stage_seconds"] = stages;
  for (const DynamicTableCounts& table : record.tables) {
    json["tables"][table.table] = {{"rows", table.rows}, {"candidates", table.candidates}};
  }
  // The slices first: a step with its line in metrics.jsonl is whole.
  if (!record.train_slices.empty()) {
    const std::string lines = TrainSliceJson(record.step, record.train_slices);
    PEPNET_RETURN_IF_ERROR(AppendToFile(model_dir_ + "/" + kTrainSlicesFile, lines));
  }
  PEPNET_RETURN_IF_ERROR(AppendToFile(model_dir_ + "/" + kMetricsFile, json.dump() + "\n"));
  PEPNET_RETURN_IF_ERROR(WriteEvents(record, total, rate, times));
  WriteTextfile(record, total, rate, times);
  logged_times_ = times;

  // The rest is guessed from the whole run so far, evaluations included: they come in the rest as
  // well.
  const bool knows_left = record.total_fraction > 0 && record.total_fraction < 1;
  const double left =
      knows_left ? elapsed / record.total_fraction * (1 - record.total_fraction) : -1;
  const std::vector<std::string> parts = ProgressParts(record, rate, left);
  if (draws_) {
    DrawProgress(parts);
    return absl::OkStatus();
  }
  std::string line = absl::StrJoin(parts, "  ");
  if (LogsVerbosely()) {
    absl::StrAppendFormat(&line, "; lr_g0:%.5f lr_g1:%.5f", record.lr_sparse, record.lr_dense);
    for (size_t i = 0; i < record.lr_parts.size(); ++i) {
      absl::StrAppendFormat(&line, " lr_g%d:%.5f", 2 + i, record.lr_parts[i].second);
    }
    for (size_t i = 0; i < record.losses.size(); ++i) {
      absl::StrAppendFormat(&line, " %s:%.5f", record.loss_names[i], record.losses[i]);
    }
    absl::StrAppendFormat(&line, " total_loss:%.5f", total);
    for (const auto& [name, value] : record.train_metrics) {
      absl::StrAppendFormat(&line, " %s:%.5f", name, value);
    }
    for (const auto& [name, value] : WindowScalars(record)) {
      absl::StrAppendFormat(&line, " %s:%.5f", name, value);
    }
  }
  LogInfo(line);
  return absl::OkStatus();
}

Status RunLog::WriteEvents(const StepRecord& record, double total_loss, double rate,
                           const StageTimes& times) {
  if (!step_events_.has_value()) return absl::OkStatus();
  std::vector<std::pair<std::string, double>> scalars;
  if (options_.summarize_loss) {
    for (size_t i = 0; i < record.losses.size(); ++i) {
      scalars.push_back({"loss/" + record.loss_names[i], record.losses[i]});
    }
    scalars.push_back({"loss/total", total_loss});
  }
  if (options_.summarize_learning_rate) {
    scalars.push_back({"lr/g0", record.lr_sparse});
    scalars.push_back({"lr/g1", record.lr_dense});
    for (size_t i = 0; i < record.lr_parts.size(); ++i) {
      scalars.push_back({absl::StrCat("lr/g", 2 + i), record.lr_parts[i].second});
    }
  }
  for (const auto& [name, value] : record.train_metrics) {
    scalars.push_back({"metric/" + name, value});
  }
  for (const auto& [name, value] : WindowScalars(record)) {
    scalars.push_back({"metric/" + name, value});
  }
  for (auto& scalar : TrainSliceScalars(record.train_slices)) scalars.push_back(std::move(scalar));
  scalars.insert(scalars.end(), record.gradient_norms.begin(), record.gradient_norms.end());
  scalars.push_back({"speed/samples_per_second", rate});
  for (int s = 0; s < kStageCount; ++s) {
    scalars.push_back(
        // The seconds are those since the last logged step: TensorBoard cannot take differences, as
        // the readers of metrics.jsonl can.
        {absl::StrCat("seconds/", kStageNames[s]), times.seconds(s) - logged_times_.seconds(s)});
  }
  for (const DynamicTableCounts& table : record.tables) {
    scalars.push_back(
        {absl::StrCat("tables/", table.table, "/rows"), static_cast<double>(table.rows)});
    scalars.push_back({absl::StrCat("tables/", table.table, "/candidates"),
                       static_cast<double>(table.candidates)});
  }
  return step_events_->Append(record.step, scalars);
}

// Nobody's training ends because a monitor's directory went away.
void RunLog::WriteTextfile(const StepRecord& record, double total_loss, double rate,
                           const StageTimes& times) {
  if (!textfile_.has_value()) return;
  std::vector<std::pair<std::string, double>> losses, stages,
      rates = {{"sparse", record.lr_sparse}, {"dense", record.lr_dense}};
  for (const auto& [part, lr] : record.lr_parts) {
    rates.emplace_back(absl::StrCat("part_", part), lr);
  }
  for (size_t i = 0; i < record.losses.size(); ++i) {
    losses.push_back({record.loss_names[i], record.losses[i]});
  }
  losses.push_back({"total", total_loss});
  for (int s = 0; s < kStageCount; ++s) stages.push_back({kStageNames[s], times.seconds(s)});
  textfile_->Set("pepnet_step", "counter", "Finished training steps.", "", {{"", record.step}});
  textfile_->Set("pepnet_epoch", "gauge", "Finished passes over the training data.", "",
                 {{"", record.epoch}});
  textfile_->Set("pepnet_rows_total", "counter", "Rows trained since the run started.", "",
                 {{"", record.rows}});
  textfile_->Set("pepnet_samples_per_second", "gauge",
                 "Rows per second since the last logged step.", "", {{"", rate}});
  textfile_->Set("pepnet_loss", "gauge", "Losses of the last logged step.", "name", losses);
  textfile_->Set("pepnet_learning_rate", "gauge", "Learning rates of the last logged step.", "part",
                 rates);
  if (!record.train_metrics.empty()) {
    std::vector<std::pair<std::string, double>> metrics(record.train_metrics.begin(),
                                                        record.train_metrics.end());
    for (auto& scalar : WindowScalars(record)) metrics.push_back(std::move(scalar));
    textfile_->Set("pepnet_train_metric", "gauge", "Metrics of the training batches.", "name",
                   metrics);
  }
  textfile_->Set("pepnet_stage_seconds_total", "counter",
                 "Wall time of worker 0 by stage since the run started.", "stage", stages);
  const auto tables = [&](int64_t DynamicTableCounts::*count) {
    std::vector<std::pair<std::string, double>> samples;
    for (const DynamicTableCounts& table : record.tables) {
      samples.push_back({table.table, table.*count});
    }
    return samples;
  };
  if (!record.tables.empty()) {
    textfile_->Set("pepnet_table_rows", "gauge", "Rows of tables that grow.", "table",
                   tables(&DynamicTableCounts::rows));
    textfile_->Set("pepnet_table_candidates", "gauge",
                   "Ids that have been counted and have no row yet.", "table",
                   tables(&DynamicTableCounts::candidates));
    textfile_->Set("pepnet_table_admitted_total", "counter", "Rows made since the run started.",
                   "table", tables(&DynamicTableCounts::admitted));
    textfile_->Set("pepnet_table_refused_total", "counter",
                   "Times that a step named an id without giving it a row.", "table",
                   tables(&DynamicTableCounts::refused));
    textfile_->Set("pepnet_table_expired_total", "counter",
                   "Rows that expired since the run started.", "table",
                   tables(&DynamicTableCounts::expired));
    textfile_->Set("pepnet_table_evicted_total", "counter",
                   "Rows that were evicted since the run started.", "table",
                   tables(&DynamicTableCounts::evicted));
  }
  if (const Status written = textfile_->Write(); !written.ok()) {
    LogWarning(std::string(written.message()));
  }
}

// Order: log, warnings, events, monitor, slices, and the line of results at the end, which says
// that all else is there.
Status RunLog::Evaluation(const EvaluationResult& result) {
  const int64_t step = result.step;
  const std::map<std::string, double>& values = result.values;
  std::vector<std::string> texts;
  for (const auto& [name, value] : values) {
    texts.push_back(LogsVerbosely() ? absl::StrFormat("%s %.6f", name, value)
                                    : absl::StrCat(name, " ", MetricText(value)));
  }
  LogInfo(absl::StrCat("evaluation of step ", step, ": ", absl::StrJoin(texts, "  ")));
  if (!result.slices.empty() && LogsVerbosely()) LogLines(SliceTable(result.step, result.slices));
  PEPNET_RETURN_IF_ERROR(Warn(step, SliceWarnings(result.slices)));
  const std::string path = model_dir_ + "/" + kEvaluationFile;
  // The step was evaluated before, as when a finished job is started again: the new result replaces
  // the old one.
  if (last_evaluated_step_ >= step) {
    PEPNET_RETURN_IF_ERROR(CutBack(path, "global_step", step - 1).status());
    if (evaluation_events_.has_value()) {
      PEPNET_ASSIGN_OR_RETURN(
          evaluation_events_,
          EventFile::Open(absl::StrCat(model_dir_, "/", kEvaluationEvents), step - 1));
    }
  }
  last_evaluated_step_ = step;
  if (evaluation_events_.has_value()) {
    std::vector<std::pair<std::string, double>> scalars;
    // A loss under the tag that it has in training, so that the two curves lie in one chart.
    for (const auto& [name, value] : values) {
      scalars.push_back({(options_.losses.count(name) > 0 ? "loss/" : "metric/") + name, value});
    }
    for (auto& scalar : SliceScalars(result.slices)) scalars.push_back(std::move(scalar));
    PEPNET_RETURN_IF_ERROR(evaluation_events_->Append(step, scalars));
  }
  if (textfile_.has_value()) {
    textfile_->Set("pepnet_eval_metric", "gauge", "Metrics and losses of the last evaluation.",
                   "name", {values.begin(), values.end()});
    textfile_->Set("pepnet_eval_step", "gauge", "Step of the last evaluation.", "", {{"", step}});
    if (const Status written = textfile_->Write(); !written.ok()) {
      LogWarning(std::string(written.message()));
    }
  }
  PEPNET_RETURN_IF_ERROR(WriteSlices(result));
  return AppendToFile(path, EvaluationJson(result) + "\n");
}

Status RunLog::Warn(int64_t step, const std::vector<Warning>& warnings, bool logged) {
  std::string lines;
  for (const Warning& warning : warnings) {
    // `given_` is of this start of the run, `recorded_` of the file: a resumed run says a warning
    // again and writes it once.
    const auto key = std::make_pair(warning.kind, warning.subject);
    if (given_.insert(key).second && !logged) LogWarning(warning.text);
    if (recorded_.insert(key).second) absl::StrAppend(&lines, WarningJson(step, warning), "\n");
  }
  return lines.empty() ? absl::OkStatus() : AppendToFile(model_dir_ + "/" + kWarningsFile, lines);
}

// Before the line of results, which says that an evaluation is whole: a run that ended in between
// evaluates again.
Status RunLog::WriteSlices(const EvaluationResult& result) {
  const std::string path = model_dir_ + "/" + kSlicesFile;
  if (last_sliced_step_ >= result.step) {
    PEPNET_RETURN_IF_ERROR(CutBack(path, "global_step", result.step - 1).status());
  }
  if (result.slices.empty()) return absl::OkStatus();
  last_sliced_step_ = result.step;
  return AppendToFile(path, SliceJson(result.step, result.slices));
}

// Best values stand as scalars at the last step, where the HParams page takes the metrics of a run
// from.
Status RunLog::Finish(int64_t step, const std::vector<std::pair<std::string, double>>& best) {
  if (!step_events_.has_value()) return absl::OkStatus();
  std::vector<std::pair<std::string, double>> scalars;
  for (const auto& [name, value] : best) scalars.push_back({"best/" + name, value});
  if (!scalars.empty()) PEPNET_RETURN_IF_ERROR(step_events_->Append(step, scalars));
  return step_events_->End(step);
}

// Steps and rows are those of this start of the run.
void RunLog::Report(int64_t steps, int64_t rows, const StageTimes& times,
                    const std::vector<std::string>& server_stats, const std::string& checkpoint) {
  const double elapsed = std::chrono::duration<double>(options_.now() - start_).count();
  // The progress line ends here, or the next log line would stand behind it.
  EndProgress();
  LogInfo(absl::StrCat(
      "trained ", Counted(steps, "step"), ", ", Counted(rows, "row"), ", in ",
      absl::StrFormat("%.1f s", elapsed),
      elapsed > 0 ? absl::StrCat(" (", ShortCount(static_cast<double>(rows) / elapsed), " rows/s)")
                  : ""));
  std::string line = "worker 0 spent";
  for (int s = 0; s < kStageCount; ++s) {
    absl::StrAppendFormat(&line, " %s %.2f s", kStageNames[s], times.seconds(s));
  }
  LogVerbose(line);
  for (size_t server = 0; server < server_stats.size(); ++server) {
    LogVerbose(absl::StrCat("server ", server, ": ", server_stats[server]));
  }
  if (!checkpoint.empty()) LogVerbose("checkpoint: " + checkpoint);
  if (!textfile_.has_value()) return;
  textfile_->SetState("done");
  if (const Status written = textfile_->Write(); !written.ok()) {
    LogWarning(std::string(written.message()));
  }
}

void RunLog::ReportSaves(const SaveCosts& costs, const SaveDelays& delays) {
  if (costs.checkpoints == 0) return;
  std::string line = absl::StrFormat(
      "%s written while training went on: worker 0 copied for %.1f ms at most, a server held a "
      "step up for %.1f ms at "
      "most; %d rows (%.1f MB) were copied before they changed, a server held %.1f MB at most, %d "
      "changes waited for "
      "memory",
      Counted(costs.checkpoints, "checkpoint"), 1e3 * costs.longest_copy_seconds,
      1e3 * costs.longest_hold_seconds, costs.copied_rows,
      static_cast<double>(costs.copied_bytes) / 1e6, static_cast<double>(costs.peak_bytes) / 1e6,
      costs.waits);
  if (const std::string seen = delays.Report(); !seen.empty()) absl::StrAppend(&line, "; ", seen);
  LogVerbose(line);
}

}  // namespace pepnet

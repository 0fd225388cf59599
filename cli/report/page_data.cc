#include "nlohmann/json.hpp"

#include "cli/report/chart.h"
#include "cli/report/page.h"
#include "cli/report/summary.h"
#include "worker/metrics/slices.h"
#include "worker/report/json_number.h"

namespace pepnet {
namespace {

using Json = nlohmann::ordered_json;

// Figures are sorted by name, as a map gives them.
Json JsonOf(const Figures& figures) {
  Json json = Json::object();
  for (const auto& [name, value] : figures) json[name] = value;
  return json;
}

// The same lines as the curves are drawn from (KeptLines()), so that page and data agree point by
// point and the page stays small.
Json StepsJson(const RunRecord& run) {
  Json list = Json::array();
  for (const size_t i : KeptLines(run.steps.size())) {
    const LoggedStep& step = run.steps[i];
    Json json = {{"step", step.step}, {"epoch", step.epoch}};
    json.update(JsonOf(step.values));
    json["stage_seconds"] = JsonOf(step.stage_seconds);
    list.push_back(std::move(json));
  }
  return list;
}

// Calibration intervals are lists [rows, mean prediction, mean label]: names would be most of the
// page.
Json SlicesJson(const RunRecord& run) {
  Json list = Json::array();
  for (const SlicedEvaluation& evaluation : run.slices) {
    Json slices = Json::array();
    for (const Slice& slice : evaluation.slices) {
      const SliceQuality& q = slice.quality;
      Json bins = Json::array();
      for (const CalibrationBin& bin : q.calibration) {
        bins.push_back({bin.rows, bin.mean_prediction, bin.mean_label});
      }
      Json one = {{"slice_by", slice.column},
                  {"value", SliceName(slice)},
                  {"task", slice.task},
                  {"rows", q.rows},
                  {"positives", q.positives}};
      for (const SliceFigure& figure : FiguresOf(q)) one[figure.name] = JsonNumber(figure.value);
      one["calibration"] = bins;
      slices.push_back(std::move(one));
    }
    list.push_back({{"global_step", evaluation.step}, {"slices", slices}});
  }
  return list;
}

Json WindowJson(const WindowValue& window) {
  const Json positives = window.positives.has_value() ? Json(*window.positives) : Json();
  return {window.rows, positives, JsonNumber(window.value)};
}

// The steps are those that are drawn, as in StepsJson().
Json TrainSlicesJson(const RunRecord& run) {
  Json list = Json::array();
  for (const size_t i : KeptLines(run.train_slices.size())) {
    Json slices = Json::array();
    for (const TrainSlice& slice : run.train_slices[i].slices) {
      slices.push_back({{"slice_by", slice.column},
                        {"value", SliceName(slice.kind, slice.value)},
                        {"metric", slice.windows.metric},
                        {"window", WindowJson(slice.windows.window)},
                        {"lifetime", WindowJson(slice.windows.lifetime)}});
    }
    list.push_back({{"step", run.train_slices[i].step}, {"slices", slices}});
  }
  return list;
}

// Tables of the checkpoint tables_step, with numbers where the page has rounded texts.
Json TablesJson(const RunRecord& run) {
  Json list = Json::array();
  for (const TableRecord& table : run.tables) {
    Json hottest = Json::array();
    for (const HotId& hot : table.hottest) {
      hottest.push_back({{"id", hot.id}, {"updates", hot.updates}, {"word", hot.word}});
    }
    list.push_back({{"table", table.name},
                    {"rows", table.rows},
                    {"dim", table.dim},
                    {"state_dim", table.state_dim},
                    {"data_type", TypeOf(table.value_kind).name},
                    {"state_data_type", TypeOf(table.state_kind).name},
                    {"file_bytes", table.file_bytes},
                    {"memory_bytes", table.memory_bytes},
                    {"hottest", hottest}});
  }
  return list;
}

// Empty lists and nulls are written as well: a reader need not ask whether a member exists.
Json RunJson(const RunRecord& run) {
  Json json = {{"name", run.name},
               {"directory", run.directory},
               {"status", run.job.has_value() ? Json(run.job->status) : Json()},
               {"logged_steps", run.steps.size()},
               {"kept_steps", KeptLines(run.steps.size()).size()},
               {"steps", StepsJson(run)}};
  json["evaluations"] = Json::array();
  for (const LoggedEvaluation& evaluation : run.evaluations) {
    Json line = {{"global_step", evaluation.step}};
    line.update(JsonOf(evaluation.values));
    json["evaluations"].push_back(std::move(line));
  }
  json["slices"] = SlicesJson(run);
  json["train_slices"] = TrainSlicesJson(run);
  json["best"] = Json();
  if (run.best.has_value()) {
    json["best"] = {
        {"step", run.best->step}, {"metric", run.best->metric}, {"value", run.best->value}};
  }
  json["checkpoints"] = Json::array();
  for (const CheckpointRecord& checkpoint : run.checkpoints) {
    json["checkpoints"].push_back({{"step", checkpoint.step},
                                   {"servers", checkpoint.servers},
                                   {"workers", checkpoint.workers},
                                   {"rows", checkpoint.rows},
                                   {"bytes", checkpoint.bytes}});
  }
  json["tables_step"] = run.tables_step;
  json["tables"] = TablesJson(run);
  json["config"] = Json::array();
  for (const ConfigField& field : run.config_fields) {
    json["config"].push_back({{"path", field.path}, {"values", field.values}});
  }
  json["remarks"] = Json::array();
  for (const Remark& remark : RemarksOf(run)) {
    json["remarks"].push_back({{"warning", remark.is_warning}, {"text", remark.text}});
  }
  return json;
}

}  // namespace

std::string ReportData(const std::vector<RunRecord>& runs) {
  Json json = {{"format", "pepnet report"}, {"version", 1}, {"runs", Json::array()}};
  for (const RunRecord& run : runs) json["runs"].push_back(RunJson(run));
  // Names in files need not be UTF-8; the page and its data are.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace pepnet

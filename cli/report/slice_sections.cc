#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/report/chart.h"
#include "cli/report/html.h"
#include "cli/report/sections.h"
#include "cli/report/summary.h"
#include "worker/checkpoint/best_evaluation.h"

namespace pepnet {
namespace {

constexpr size_t kMostCurves = 6;      // slices of a chart, those that stand out and all rows aside
constexpr int64_t kLeastBinRows = 30;  // of a point of a reliability curve
constexpr char kSlicesFile[] = "train_eval_slices.jsonl";

// A column of eval_config.slice_by and a task.
using ColumnTask = std::pair<std::string, std::string>;

// Columns and tasks stand in the order in which they are first met, run by run: that of slice_by
// and of the towers.
std::vector<ColumnTask> ColumnTasks(const std::vector<RunRecord>& runs) {
  std::vector<ColumnTask> list;
  for (const RunRecord& run : runs) {
    const SlicedEvaluation* const shown = ShownSlices(run);
    if (shown == nullptr) continue;
    for (const Slice& slice : shown->slices) {
      const ColumnTask one(slice.column, slice.task);
      if (std::find(list.begin(), list.end(), one) == list.end()) list.push_back(one);
    }
  }
  return list;
}

// The slices of one column and task in an evaluation, as they stand in the file: most rows first,
// then rest and all.
std::vector<const Slice*> SlicesOf(const SlicedEvaluation* evaluation, const ColumnTask& which) {
  std::vector<const Slice*> slices;
  if (evaluation == nullptr) return slices;
  for (const Slice& slice : evaluation->slices) {
    if (slice.column == which.first && slice.task == which.second) slices.push_back(&slice);
  }
  return slices;
}

// The slice of all rows, with which the others are compared; null if the file lacks it.
const Slice* AllRows(const std::vector<const Slice*>& slices) {
  for (const Slice* slice : slices) {
    if (slice->kind == Slice::Kind::kAll) return slice;
  }
  return nullptr;
}

// True for slices that a chart must not leave out, however few rows they have.
bool StandsOut(const Slice& slice, const Slice* all) {
  return IsSuspicious(slice) || (all != nullptr && RanksFarBelow(slice, *all));
}

// The figure with the counts behind it, by which a reader judges whether it is chance.
std::string TooltipOf(const RunRecord& run, const Slice& slice, const std::string& what,
                      double value) {
  return absl::StrFormat("%s, %s is %s: %s %s of %s rows, %s positives", run.name, slice.column,
                         SliceName(slice), what, MetricText(value), CountText(slice.quality.rows),
                         CountText(slice.quality.positives));
}

// A figure of slices that is drawn.
struct Measure {
  const char* name;   // as train_eval_slices.jsonl has it
  const char* words;  // for people
  std::optional<double> SliceQuality::*value;

  const std::optional<double>& Of(const Slice& slice) const { return slice.quality.*value; }
  bool operator==(const Measure& other) const { return value == other.value; }
};
constexpr Measure kAuc = {"auc", "AUC", &SliceQuality::auc};
constexpr Measure kGroupedAuc = {"grouped_auc", "grouped AUC", &SliceQuality::grouped_auc};
constexpr Measure kLogloss = {"logloss", "log loss", &SliceQuality::logloss};
constexpr Measure kPcoc = {"pcoc", "predicted / observed", &SliceQuality::pcoc};

// All runs, slice by slice.
std::string CompareSlices(const std::vector<RunRecord>& runs, const ColumnTask& which,
                          const Measure& measure) {
  DotLayout layout;
  std::vector<DotRow> rows;
  // Rows are found by kind and value: a value may be called "(rest)", too.
  std::map<std::pair<Slice::Kind, std::string>, size_t> place;
  std::vector<std::string> steps;
  for (size_t i = 0; i < runs.size(); ++i) {
    const SlicedEvaluation* const shown = ShownSlices(runs[i]);
    const std::vector<const Slice*> slices = SlicesOf(shown, which);
    const Slice* const all = AllRows(slices);
    if (shown != nullptr) steps.push_back(absl::StrCat(shown->step));
    // PCOC has a right value, 1, for which the target line stands; other measures are compared with
    // that of all rows.
    if (measure != kPcoc && all != nullptr && measure.Of(*all).has_value()) {
      layout.guides.emplace_back(i, *measure.Of(*all));
    }
    for (const Slice* slice : slices) {
      const std::optional<double>& value = measure.Of(*slice);
      if (slice->kind == Slice::Kind::kAll) continue;
      const auto [found, is_new] =
          place.emplace(std::make_pair(slice->kind, slice->value), rows.size());
      if (is_new) rows.push_back({SliceName(*slice), CountText(slice->quality.rows), {}});
      // On a logarithmic axis 0 has no place.
      if (!value.has_value() || (measure == kPcoc && *value <= 0)) continue;
      DotRow::Dot dot;
      dot.run = i;
      dot.value = *value;
      dot.flagged = (measure == kAuc && all != nullptr && RanksFarBelow(*slice, *all)) ||
                    (measure == kPcoc && IsSuspicious(*slice));
      dot.tooltip = TooltipOf(runs[i], *slice, measure.words, *value);
      rows[found->second].dots.push_back(std::move(dot));
    }
  }
  // Behind the values that have a slice of their own in any run.
  std::stable_partition(rows.begin(), rows.end(),
                        [](const DotRow& row) { return row.label != "(rest)"; });
  layout.title = absl::StrCat(which.second, ": ", measure.words, " by ", which.first);
  layout.name = measure.name;
  if (measure == kPcoc) {
    layout.subtitle = "1 is right; ringed: off beyond chance";
    layout.x_name = "predicted over observed positives";
    layout.log_x = true;
    layout.target = 1;
    layout.target_label = "right";
  } else {
    layout.subtitle = measure == kAuc ? "dashed: all rows; ringed: far below them"
                                      : "mean over the groups with both classes; dashed: all rows";
    layout.x_name = absl::StrCat(measure.words, " within the slice");
  }
  return DotsFigure(layout, rows, RunNames(runs));
}

// Values with most rows, those that stand out, and all rows.
std::vector<const Slice*> ChosenSlices(const std::vector<const Slice*>& slices) {
  std::vector<const Slice*> chosen;
  const Slice* const all = AllRows(slices);
  if (all != nullptr) chosen.push_back(all);
  size_t usual = 0;
  for (const Slice* slice : slices) {
    if (slice->kind != Slice::Kind::kValue) continue;
    if (usual < kMostCurves || StandsOut(*slice, all)) chosen.push_back(slice);
    ++usual;
  }
  return chosen;
}

// Each slice of one run over the evaluations.
std::string SliceCurves(const RunRecord& run, size_t number, const ColumnTask& which,
                        const Measure& measure) {
  std::vector<Curve> curves;
  // The slices are chosen once, by the evaluation that is shown, and then followed through all
  // evaluations, in some of which they may be missing.
  for (const Slice* chosen : ChosenSlices(SlicesOf(ShownSlices(run), which))) {
    Curve curve;
    curve.bold = chosen->kind == Slice::Kind::kAll;
    curve.label = curve.bold ? "all rows" : absl::StrCat(which.first, " ", SliceName(*chosen));
    curve.colour = static_cast<int>(curves.size());
    curve.dots = true;
    curve.run = number;
    curve.name =
        absl::StrCat(measure.name, " ", which.second, " ", which.first, " ", SliceName(*chosen));
    curve.source = kSlicesFile;
    for (const SlicedEvaluation& evaluation : run.slices) {
      for (const Slice* slice : SlicesOf(&evaluation, which)) {
        const std::optional<double>& value = measure.Of(*slice);
        if (slice->kind != chosen->kind || slice->value != chosen->value || !value.has_value()) {
          continue;
        }
        curve.points.emplace_back(static_cast<double>(evaluation.step), *value);
      }
    }
    curves.push_back(std::move(curve));
  }
  ChartLayout layout;
  layout.title =
      absl::StrCat(run.name, ", ", which.second, ": ", measure.words, " by ", which.first);
  layout.y_name = absl::StrCat(measure.words, measure == kLogloss ? "" : " within the slice");
  return CurvesFigure(layout, curves);
}

std::string Soft(const std::string& text) {
  return absl::StrCat("<span class=\"soft\">", HtmlText(text), "</span>");
}

// The cell of a figure without a value says why it has none (one class, no positives).
std::string SliceTable(const RunRecord& run, const ColumnTask& which) {
  const std::vector<const Slice*> slices = SlicesOf(ShownSlices(run), which);
  const Slice* const all = AllRows(slices);
  HtmlTable table;
  // In the order of FiguresOf().
  table.head = {HtmlText(which.first),
                "rows",
                "positives",
                "AUC",
                "log loss",
                "normalized entropy",
                "predicted / observed",
                "calibration error"};
  const bool groups = std::any_of(slices.begin(), slices.end(),
                                  [](const Slice* s) { return s->quality.has_groups; });
  if (groups) table.head.insert(table.head.end(), {"grouped AUC", "by impressions"});
  for (const Slice* slice : slices) {
    std::vector<std::string> row = {HtmlText(SliceName(*slice)), CountText(slice->quality.rows),
                                    CountText(slice->quality.positives)};
    for (const SliceFigure& figure : FiguresOf(slice->quality)) {
      const bool bad = (figure.name == absl::string_view("auc") && all != nullptr &&
                        RanksFarBelow(*slice, *all)) ||
                       (figure.name == absl::string_view("pcoc") && IsSuspicious(*slice));
      row.push_back(!figure.value.has_value() ? Soft(figure.why_none)
                    : bad
                        ? absl::StrCat("<span class=\"bad\">", MetricText(*figure.value), "</span>")
                        : MetricText(*figure.value));
    }
    row.resize(table.head.size());
    table.rows.push_back(std::move(row));
  }
  return table.rows.empty() ? "" : TableHtml(table);
}

std::string ReliabilityFigure(const RunRecord& run, size_t number, const ColumnTask& which) {
  std::vector<Curve> curves;
  for (const Slice* slice : ChosenSlices(SlicesOf(ShownSlices(run), which))) {
    Curve curve;
    curve.bold = slice->kind == Slice::Kind::kAll;
    curve.label = curve.bold ? "all rows" : absl::StrCat(which.first, " ", SliceName(*slice));
    curve.colour = static_cast<int>(curves.size());
    curve.dots = true;
    curve.run = number;
    curve.name =
        absl::StrCat("calibration ", which.second, " ", which.first, " ", SliceName(*slice));
    curve.source = kSlicesFile;
    for (const CalibrationBin& bin : slice->quality.calibration) {
      // The x of a point is the mean prediction of its rows and not the middle of the interval:
      // within the interval near 0, where most predictions lie, the two differ by far.
      if (bin.rows >= kLeastBinRows) curve.points.emplace_back(bin.mean_prediction, bin.mean_label);
    }
    curves.push_back(std::move(curve));
  }
  ChartLayout layout;
  layout.title = absl::StrCat(run.name, ", ", which.second, " by ", which.first);
  layout.x_name = "mean prediction";
  layout.y_name = "share of positives";
  layout.square = true;
  return CurvesFigure(layout, curves);
}

// "step 180 of global (the best checkpoint), step 362 of other (the last evaluation)".
std::string ShownSteps(const std::vector<RunRecord>& runs) {
  std::string text;
  for (const RunRecord& run : runs) {
    const SlicedEvaluation* const shown = ShownSlices(run);
    if (shown == nullptr) continue;
    const bool best = run.best.has_value() && run.best->step == shown->step;
    absl::StrAppend(&text, text.empty() ? "" : ", ", "step ", shown->step, " of ", run.name,
                    best ? " (the best checkpoint)" : " (the last evaluation)");
  }
  return text;
}

// ---- train metrics ------------------------------------------------------------------------------

constexpr size_t kMostTrainCurves = 8;  // slices of a chart, those with most rows
constexpr char kTrainSlicesFile[] = "train_slices.jsonl";

// The metric's name holds the task, so the task needs no comparison.
bool SamePlace(const TrainSlice& a, const TrainSlice& b) {
  return a.column == b.column && a.kind == b.kind && a.value == b.value &&
         a.windows.metric == b.windows.metric;
}

// One chart: the slices of a column and a metric at the last step, most rows first, with their
// values over the steps.
std::string TrainSliceChart(const RunRecord& run, size_t number,
                            const std::vector<const TrainSlice*>& slices, bool window) {
  std::vector<Curve> curves;
  for (const TrainSlice* slice : slices) {
    if (curves.size() == kMostTrainCurves) break;
    Curve curve;
    curve.label = absl::StrCat(slice->column, " ", SliceName(slice->kind, slice->value));
    curve.colour = static_cast<int>(curves.size());
    curve.run = number;
    curve.name =
        absl::StrCat(window ? "window " : "lifetime ", slice->windows.metric, " ", curve.label);
    curve.source = kTrainSlicesFile;
    for (const size_t i : KeptLines(run.train_slices.size())) {
      for (const TrainSlice& one : run.train_slices[i].slices) {
        const std::optional<double>& value =
            window ? one.windows.window.value : one.windows.lifetime.value;
        if (!SamePlace(one, *slice) || !value.has_value()) continue;
        curve.points.emplace_back(static_cast<double>(run.train_slices[i].step), *value);
      }
    }
    curves.push_back(std::move(curve));
  }
  ChartLayout layout;
  layout.title = absl::StrCat(run.name, ": ", slices[0]->windows.metric, " by ", slices[0]->column);
  layout.subtitle = window ? "training rows of the last window" : "all training rows so far";
  layout.y_name = slices[0]->windows.metric;
  return CurvesFigure(layout, curves);
}

std::string CellOf(const WindowValue& window) {
  return window.value.has_value() ? MetricText(*window.value) : Soft(window.why_none);
}

// The last window and all rows side by side: a window that is far from the lifetime is a change in
// the data.
std::string TrainSliceTable(const std::vector<const TrainSlice*>& slices) {
  HtmlTable table;
  const std::string metric = HtmlText(slices[0]->windows.metric);
  const bool positives = slices[0]->windows.lifetime.positives.has_value();
  table.head = {HtmlText(slices[0]->column)};
  for (const char* rows : {"rows of the last window", "all rows"}) {
    table.head.push_back(rows);
    if (positives) table.head.push_back("positives");
    table.head.push_back(metric);
  }
  for (const TrainSlice* slice : slices) {
    const TrainWindows& windows = slice->windows;
    std::vector<std::string> cells = {HtmlText(SliceName(slice->kind, slice->value))};
    for (const WindowValue* window : {&windows.window, &windows.lifetime}) {
      cells.push_back(CountText(window->rows));
      if (positives) cells.push_back(CountText(window->positives.value_or(0)));
      cells.push_back(CellOf(*window));
    }
    table.rows.push_back(std::move(cells));
  }
  return TableHtml(table);
}

}  // namespace

std::string SlicesSection(const std::vector<RunRecord>& runs) {
  const std::vector<ColumnTask> list = ColumnTasks(runs);
  const std::string heading = Heading("domains", "Domains and other slices");
  if (list.empty()) {
    return heading +
           "<p class=\"soft\">No evaluation measured slices. With <code>eval_config { slice_by: "
           "\"tab\" }</code>, and "
           "the domain's feature or label in place of tab, training writes the AUC, the loss and "
           "the calibration of "
           "each of its values.</p>\n";
  }
  std::string dots, curves, tables;
  for (const ColumnTask& which : list) {
    for (const Measure& measure : {kAuc, kPcoc, kGroupedAuc}) {
      dots += CompareSlices(runs, which, measure);
    }
    for (size_t i = 0; i < runs.size(); ++i) {
      for (const Measure& measure : {kAuc, kGroupedAuc, kLogloss}) {
        curves += SliceCurves(runs[i], i, which, measure);
      }
      const std::string table = SliceTable(runs[i], which);
      if (!table.empty()) {
        absl::StrAppend(&tables, "<h3>", HtmlText(runs[i].name), ", ", HtmlText(which.second),
                        " by ", HtmlText(which.first), "</h3>\n", table);
      }
    }
  }
  return absl::StrCat(heading, "<p class=\"soft\">", HtmlText(ShownSteps(runs)),
                      "; the number behind a value is its rows.</p>\n<div class=\"charts\">\n",
                      dots, "</div>\n<h3>over the steps</h3>\n<div class=\"charts\">\n", curves,
                      "</div>\n<details><summary>The figures as tables</summary>\n", tables,
                      "</details>\n");
}

std::string CalibrationSection(const std::vector<RunRecord>& runs) {
  std::string charts;
  for (const ColumnTask& which : ColumnTasks(runs)) {
    for (size_t i = 0; i < runs.size(); ++i) charts += ReliabilityFigure(runs[i], i, which);
  }
  if (charts.empty()) return "";
  return absl::StrCat(
      Heading("calibration", "Calibration"),
      "<p class=\"soft\">Rows by their prediction, in 20 intervals; on the "
      "dashed line as many are positive as predicted, below it fewer. Intervals of at least ",
      kLeastBinRows, " rows; ", HtmlText(ShownSteps(runs)), ".</p>\n<div class=\"charts\">\n",
      charts, "</div>\n");
}

std::string TrainSlicesSection(const std::vector<RunRecord>& runs) {
  std::string charts, tables;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (runs[i].train_slices.empty()) continue;
    // The file has the slices of a column and a metric behind each other.
    const std::vector<TrainSlice>& last = runs[i].train_slices.back().slices;
    for (size_t begin = 0, end = 0; begin < last.size(); begin = end) {
      std::vector<const TrainSlice*> slices;
      while (end < last.size() && last[end].column == last[begin].column &&
             last[end].windows.metric == last[begin].windows.metric) {
        slices.push_back(&last[end++]);
      }
      charts += TrainSliceChart(runs[i], i, slices, /*window=*/true) +
                TrainSliceChart(runs[i], i, slices, /*window=*/false);
      absl::StrAppend(&tables, "<h3>", HtmlText(runs[i].name), ", ",
                      HtmlText(slices[0]->windows.metric), " by ", HtmlText(slices[0]->column),
                      "</h3>\n", TrainSliceTable(slices));
    }
  }
  if (tables.empty()) return "";
  return absl::StrCat(
      Heading("train_domains", "Training rows by domain and other slices"),
      "<p class=\"soft\">The train_metrics of the towers, of the training batches.</p>\n",
      "<div class=\"charts\">\n", charts,
      "</div>\n<details><summary>The figures at the last logged step", "</summary>\n", tables,
      "</details>\n");
}

}  // namespace pepnet

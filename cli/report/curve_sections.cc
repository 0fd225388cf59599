#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/report/chart.h"
#include "cli/report/html.h"
#include "cli/report/sections.h"
#include "cli/report/summary.h"
#include "worker/report/stage_times.h"

namespace pepnet {
namespace {

// The sources of curves, as the data-source of a drawing names them.
constexpr char kSteps[] = "metrics.jsonl", kEvaluations[] = "train_eval_result.txt";
constexpr char kRule[] = "train_eval_result.txt by keep_best";
// The figure's name, before the number of the part optimizer.
constexpr char kPartRate[] = "lr_part_";

// A figure of a run, without points yet.
Curve EmptyCurve(const RunRecord& run, size_t number, const std::string& name, const char* source) {
  Curve curve;
  curve.label = run.name;
  curve.colour = static_cast<int>(number);
  curve.run = number;
  curve.name = name;
  curve.source = source;
  return curve;
}

// The value of the curve's figure at a step, if it has one there.
void AddPoint(int64_t step, const Figures& values, Curve* curve) {
  const auto found = values.find(curve->name);
  if (found != values.end()) curve->points.emplace_back(static_cast<double>(step), found->second);
}

// A figure of metrics.jsonl, line by line.
Curve CurveOfSteps(const RunRecord& run, size_t number, const std::string& name) {
  Curve curve = EmptyCurve(run, number, name, kSteps);
  for (const size_t i : KeptLines(run.steps.size())) {
    AddPoint(run.steps[i].step, run.steps[i].values, &curve);
  }
  return curve;
}

// Every evaluation is drawn: there are far fewer of them than of logged steps.
Curve CurveOfEvaluations(const RunRecord& run, size_t number, const FigureName& figure) {
  Curve curve = EmptyCurve(run, number, figure.name, figure.rule ? kRule : kEvaluations);
  curve.dots = true;
  for (const auto& [step, value] : EvaluatedValues(run, figure)) {
    curve.points.emplace_back(static_cast<double>(step), value);
  }
  return curve;
}

// One figure of metrics.jsonl of all runs.
std::string StepsFigure(const std::vector<RunRecord>& runs, const std::string& name,
                        const ChartLayout& layout) {
  std::vector<Curve> curves;
  for (size_t i = 0; i < runs.size(); ++i) curves.push_back(CurveOfSteps(runs[i], i, name));
  return CurvesFigure(layout, curves);
}

// The figures that are learning rates of part optimizers, in any run.
std::set<std::string> RatesOfParts(const std::vector<RunRecord>& runs) {
  std::set<std::string> names;
  for (const RunRecord& run : runs) {
    if (run.steps.empty()) continue;
    for (const auto& [name, value] : run.steps.back().values) {
      if (name.starts_with(kPartRate)) names.insert(name);
    }
  }
  return names;
}

// Training curves are drawn first, so that evaluations lie on top of them.
std::string FigureOf(const std::vector<RunRecord>& runs, const FigureName& figure) {
  std::vector<Curve> curves;
  bool trained = false, evaluated = false;
  for (size_t i = 0; i < runs.size(); ++i) {
    Curve steps = CurveOfSteps(runs[i], i, figure.name);
    steps.thin = true;
    trained |= !steps.points.empty();
    curves.push_back(std::move(steps));
  }
  for (size_t i = 0; i < runs.size(); ++i) {
    curves.push_back(CurveOfEvaluations(runs[i], i, figure));
    evaluated |= !curves.back().points.empty();
  }
  ChartLayout layout;
  layout.title = figure.name;
  layout.subtitle = trained && evaluated ? "dots: evaluations; thin: training batches"
                    : trained            ? "training batches"
                                         : "evaluations";
  layout.y_name = DirectionOf(figure);
  return CurvesFigure(layout, curves);
}

// A train metric of the last window, and of all rows so far.
std::string WindowsFigure(const std::vector<RunRecord>& runs, const FigureName& figure) {
  std::vector<Curve> curves;
  for (size_t i = 0; i < runs.size(); ++i) {
    // train_metrics are logged under three names: decayed (the metric's own), window_ and lifetime_
    // (decision 0026). The decayed one stands in FigureOf().
    Curve window = CurveOfSteps(runs[i], i, "window_" + figure.name);
    window.thin = true;
    curves.push_back(std::move(window));
    Curve lifetime = CurveOfSteps(runs[i], i, "lifetime_" + figure.name);
    lifetime.dashed = true;
    curves.push_back(std::move(lifetime));
  }
  ChartLayout layout;
  layout.title = figure.name + " of the training rows";
  layout.subtitle = "thin: the last window; dashed: all rows so far";
  layout.y_name = DirectionOf(figure);
  return CurvesFigure(layout, curves);
}

// Milliseconds of worker 0 per step and stage. Each run has a chart of its own, since colours are
// the stages here.
std::string StagesFigure(const RunRecord& run, size_t number) {
  std::vector<Curve> curves;
  const std::vector<std::pair<int64_t, Figures>> times = StageTimesPerStep(run);
  for (int s = 0; s < kStageCount; ++s) {
    // They come once in many steps, and would press all others to the axis.
    if (s == static_cast<int>(Stage::kCheckpoint) || s == static_cast<int>(Stage::kEval)) continue;
    Curve curve;
    curve.label = curve.name = kStageNames[s];
    curve.colour = s;
    curve.run = number;
    curve.source = "metrics.jsonl stage_seconds";
    for (const size_t i : KeptLines(times.size())) {
      AddPoint(times[i].first, times[i].second, &curve);
    }
    curves.push_back(std::move(curve));
  }
  ChartLayout layout;
  layout.title = "stage times of " + run.name;
  layout.subtitle = "worker 0, without saving and evaluating";
  layout.y_name = "ms a step";
  layout.from_zero = true;
  return CurvesFigure(layout, curves);
}

}  // namespace

std::vector<std::string> RunNames(const std::vector<RunRecord>& runs) {
  std::vector<std::string> names;
  names.reserve(runs.size());
  for (const RunRecord& run : runs) names.push_back(run.name);
  return names;
}

// A block for each task, with a chart for each of its figures, and one block for what belongs to no
// task.
std::string CurvesSection(const std::vector<RunRecord>& runs) {
  std::string html, task;
  bool open = false;
  for (const FigureName& figure : FigureNames(runs)) {
    // FigureNames() sorts by task, so a new task opens a new block.
    const std::string drawn = FigureOf(runs, figure) + WindowsFigure(runs, figure);
    if (drawn.empty()) continue;
    if (!open || figure.task != task) {
      absl::StrAppend(
          &html, open ? "</div>\n" : "", "<h3>",
          figure.task.empty() ? "figures of no task" : absl::StrCat("task ", HtmlText(figure.task)),
          "</h3>\n<div class=\"charts\">\n");
      open = true;
      task = figure.task;
    }
    html += drawn;
  }
  if (open) html += "</div>\n";
  // The figures that belong to no task: the total loss, the rates and the norm of the gradient.
  std::string whole;
  ChartLayout layout;
  layout.title = "total_loss";
  layout.subtitle = "training batches";
  layout.y_name = "sum of the losses";
  whole += StepsFigure(runs, "total_loss", layout);
  layout = {};
  layout.title = "learning rate of the network";
  layout.y_name = "lr_dense";
  layout.from_zero = true;
  whole += StepsFigure(runs, "lr_dense", layout);
  for (const std::string& name : RatesOfParts(runs)) {
    layout.title =
        absl::StrCat("learning rate of part_optimizers[", name.substr(sizeof(kPartRate) - 1), "]");
    layout.y_name = name;
    whole += StepsFigure(runs, name, layout);
  }
  layout.title = "learning rate of the tables";
  layout.y_name = "lr_sparse";
  whole += StepsFigure(runs, "lr_sparse", layout);
  layout = {};
  layout.title = "global_gradient_norm";
  layout.subtitle = "before clipping";
  layout.y_name = "norm";
  whole += StepsFigure(runs, "global_gradient_norm", layout);
  if (!whole.empty()) {
    absl::StrAppend(&html, "<h3>all tasks</h3>\n<div class=\"charts\">\n", whole, "</div>\n");
  }
  for (const RunRecord& run : runs) {
    // Lines that are not drawn are said (law L7).
    if (run.steps.size() <= kMostPoints) continue;
    absl::StrAppend(&html, "<p class=\"soft\">", HtmlText(run.name), " has ",
                    CountText(run.steps.size()), " logged steps; ",
                    CountText(KeptLines(run.steps.size()).size()),
                    " of them are drawn, evenly.</p>\n");
  }
  return html.empty() ? "" : Heading("curves", "Losses and metrics") + html;
}

// Speed over the steps, then the sums of the stages, and the same sums as a table.
std::string SpeedSection(const std::vector<RunRecord>& runs) {
  ChartLayout layout;
  layout.title = "throughput";
  layout.subtitle = "without saving and evaluating";
  layout.y_name = "samples/s";
  layout.from_zero = true;
  std::string charts = StepsFigure(runs, "samples_per_second", layout);
  // Seconds are those of worker 0, the one that logs.
  const std::vector<std::string> names(std::begin(kStageNames), std::end(kStageNames));
  std::vector<BarRow> bars;
  HtmlTable table;
  table.head.emplace_back("seconds of worker 0");
  table.head.insert(table.head.end(), names.begin(), names.end());
  table.head.emplace_back("samples/s, median");
  for (const RunRecord& run : runs) {
    const Figures totals = StageTotals(run);
    BarRow bar{run.name, {}};
    std::vector<std::string> cells;
    cells.push_back(HtmlText(run.name));
    for (const std::string& name : names) {
      const auto found = totals.find(name);
      bar.parts.push_back(found == totals.end() ? 0 : found->second);
      cells.push_back(found == totals.end() ? "-" : absl::StrFormat("%.2f", found->second));
    }
    const std::optional<double> speed = MedianSpeed(run);
    cells.push_back(speed.has_value() ? RoundedText(*speed) : "-");
    bars.push_back(std::move(bar));
    table.rows.push_back(std::move(cells));
  }
  charts += BarsFigure("where worker 0 spent its time", "seconds", names, bars);
  for (size_t i = 0; i < runs.size(); ++i) charts += StagesFigure(runs[i], i);
  if (charts.empty()) return "";
  return absl::StrCat(Heading("speed", "Throughput and stage times"), "<div class=\"charts\">\n",
                      charts, "</div>\n", TableHtml(table));
}

}  // namespace pepnet

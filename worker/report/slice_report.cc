#include "worker/report/slice_report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

#include "absl/strings/str_format.h"
#include "common/base/text.h"
#include "worker/report/json_number.h"

namespace pepnet {
namespace {

constexpr int64_t kLeastRows = 1000;  // for a warning
constexpr double kFarOff = 1.5;       // factor between predicted and observed
constexpr double kDeviations = 4;     // standard deviations that chance does not explain

// Of a Slice or a TrainSlice, which name their place alike.
template <typename AnySlice>
std::string ValueName(const AnySlice& slice) {
  return Printable(SliceName(slice.kind, slice.value), 40);
}

// Of the column of a table that holds the values' names, under the name of what the slices are by.
template <typename AnySlice>
size_t WidthOfValues(const std::vector<AnySlice>& slices) {
  size_t width = 0;
  for (const AnySlice& slice : slices) {
    width = std::max({width, ValueName(slice).size(), std::min<size_t>(slice.column.size(), 40)});
  }
  return width;
}

const char* KindName(Slice::Kind kind) {
  switch (kind) {
    case Slice::Kind::kValue:
      return "value";
    case Slice::Kind::kRest:
      return "rest";
    case Slice::Kind::kAll:
      return "all";
  }
  return "";
}

// The members of a line that say which slice it is of; `step_name` is that of its first member. The
// slice of rows without a value has null in place of one, which no text can be taken for.
template <typename AnySlice>
nlohmann::ordered_json PlaceJson(const char* step_name, int64_t step, const AnySlice& slice) {
  nlohmann::ordered_json json = {
      {step_name, step}, {"slice_by", slice.column}, {"slice", KindName(slice.kind)}};
  if (slice.kind == Slice::Kind::kValue) {
    json["value"] =
        slice.value.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(slice.value);
  }
  json["task"] = slice.task;
  return json;
}

std::string Cell(const std::optional<double>& value) {
  return value.has_value() ? absl::StrFormat("%.4f", *value) : "-";
}

nlohmann::ordered_json WindowJson(const WindowValue& window) {
  nlohmann::ordered_json json = {{"rows", window.rows}};
  if (window.positives.has_value()) json["positives"] = *window.positives;
  json["value"] = JsonNumber(window.value);
  if (!window.value.has_value()) json["why"] = window.why_none;
  return json;
}

// Standard deviation of an AUC of labels that have nothing to do with the scores (Mann and Whitney,
// 1947).
double DeviationOfChance(const SliceQuality& quality) {
  const auto positives = static_cast<double>(quality.positives);
  const double negatives = static_cast<double>(quality.rows) - positives;
  return std::sqrt((positives + negatives + 1) / (12 * positives * negatives));
}

// The most telling fault of a slice, as a sentence; "" if nothing is beyond chance.
std::string WarningOf(const Slice& slice) {
  const SliceQuality& quality = slice.quality;
  if (slice.kind != Slice::Kind::kValue || quality.rows < kLeastRows) return "";
  const std::string where = absl::StrCat(slice.task, " where ", Printable(slice.column, 40), " is ",
                                         ValueName(slice), " (", quality.rows, " rows): ");
  if (quality.positives == 0) return absl::StrCat(where, "every label is 0");
  if (quality.positives == quality.rows) return absl::StrCat(where, "every label is 1");
  if (!quality.pcoc.has_value() || !quality.auc.has_value()) return "";
  const auto positives = static_cast<double>(quality.positives);
  const bool off = *quality.pcoc >= kFarOff || *quality.pcoc <= 1 / kFarOff;
  // Positives of rows with small probabilities are about Poisson: their standard deviation is the
  // root of their number.
  if (off && std::fabs(quality.predicted - positives) >
                 kDeviations * std::sqrt(std::max(quality.predicted, positives))) {
    return absl::StrFormat("%s%.0f positives are predicted and %d observed, %.2f times as many",
                           where, quality.predicted, quality.positives, *quality.pcoc);
  }
  // Worse than by chance is a sign of a wrong label or of features that are read in another way.
  if (*quality.auc < 0.5 - kDeviations * DeviationOfChance(quality)) {
    return absl::StrFormat("%sthe auc is %.4f, worse than by chance", where, *quality.auc);
  }
  return "";
}

// The train metrics of one column: a line for each value, and in it two numbers for each figure:
// the metrics, and before the first of a task that counts positives these.
struct TrainSliceGrid {
  std::string column;
  std::vector<std::string> figures = {}, values = {};  // in the order of the slices
  std::map<std::string, std::string> rows = {};        // by value
  std::map<std::pair<std::string, std::string>, std::string> cells = {};  // by value and figure
};

std::string CountCell(const std::optional<int64_t>& count) {
  return count.has_value() ? absl::StrCat(*count) : "-";
}

std::vector<TrainSliceGrid> GridsOf(const std::vector<TrainSlice>& slices) {
  const auto add = [](const std::string& name, std::vector<std::string>* names) {
    if (std::find(names->begin(), names->end(), name) == names->end()) names->push_back(name);
  };
  std::vector<TrainSliceGrid> grids;
  for (const TrainSlice& slice : slices) {
    auto grid = std::find_if(grids.begin(), grids.end(), [&](const TrainSliceGrid& other) {
      return other.column == slice.column;
    });
    if (grid == grids.end()) grid = grids.insert(grid, {slice.column});
    const std::string value = ValueName(slice);
    add(value, &grid->values);
    const WindowValue &window = slice.windows.window, &lifetime = slice.windows.lifetime;
    grid->rows[value] = absl::StrFormat("%10d %10d", window.rows, lifetime.rows);
    if (lifetime.positives.has_value()) {
      const std::string positives = absl::StrCat("positives_", slice.task);
      add(positives, &grid->figures);
      grid->cells[{value, positives}] =
          absl::StrFormat("%8s %8s", CountCell(window.positives), CountCell(lifetime.positives));
    }
    add(slice.windows.metric, &grid->figures);
    grid->cells[{value, slice.windows.metric}] =
        absl::StrFormat("%8s %8s", Cell(window.value), Cell(lifetime.value));
  }
  return grids;
}

}  // namespace

// A table for each column of slice_by, for the log. Widths fit the longest names of all tables, so
// that tables below each other line up.
std::string SliceTable(int64_t step, const std::vector<Slice>& slices) {
  size_t task_width = 4;
  bool groups = false;  // of any task
  for (const Slice& slice : slices) {
    task_width = std::max(task_width, slice.task.size());
    groups |= slice.quality.has_groups;
  }
  const size_t value_width = std::max<size_t>(7, WidthOfValues(slices));
  std::string text;
  const std::string* column = nullptr;
  for (const Slice& slice : slices) {
    if (column == nullptr || *column != slice.column) {
      column = &slice.column;
      absl::StrAppendFormat(
          &text, "%sevaluation of step %d by %s\n%-*s  %-*s %10s %9s %8s %8s %8s %8s %8s",
          text.empty() ? "" : "\n", step, Printable(*column, 40), task_width, "task", value_width,
          Printable(*column, 40), "rows", "positives", "auc", "logloss", "entropy", "pcoc", "ece");
      if (groups) absl::StrAppendFormat(&text, " %8s %8s", "gauc", "by impr.");
    }
    const SliceQuality& q = slice.quality;
    absl::StrAppendFormat(&text, "\n%-*s  %-*s %10d %9d %8s %8s %8s %8s %8s", task_width,
                          slice.task, value_width, ValueName(slice), q.rows, q.positives,
                          Cell(q.auc), Cell(q.logloss), Cell(q.normalized_entropy), Cell(q.pcoc),
                          Cell(q.ece));
    if (groups) {
      absl::StrAppendFormat(&text, " %8s %8s", Cell(q.grouped_auc),
                            Cell(q.grouped_auc_by_impressions));
    }
  }
  return text;
}

// A line for each slice, in the order of the table (format: docs/formats.md).
std::string SliceJson(int64_t step, const std::vector<Slice>& slices) {
  std::string lines;
  for (const Slice& slice : slices) {
    const SliceQuality& quality = slice.quality;
    nlohmann::ordered_json json = PlaceJson("global_step", step, slice);
    json["rows"] = quality.rows;
    json["positives"] = quality.positives;
    nlohmann::ordered_json why = nlohmann::ordered_json::object();
    for (const SliceFigure& figure : FiguresOf(quality)) {
      json[figure.name] = JsonNumber(figure.value);
      // A figure that is null has its reason in `why`.
      if (!figure.value.has_value()) why[figure.name] = figure.why_none;
    }
    if (!why.empty()) json["why"] = why;
    nlohmann::ordered_json bins = nlohmann::ordered_json::array();
    for (const CalibrationBin& bin : quality.calibration) {
      bins.push_back({{"from", static_cast<double>(bin.bin) / kCalibrationBins},
                      {"rows", bin.rows},
                      {"mean_prediction", bin.mean_prediction},
                      {"mean_label", bin.mean_label}});
    }
    json["calibration"] = bins;
    absl::StrAppend(&lines, json.dump(), "\n");
  }
  return lines;
}

std::vector<Warning> SliceWarnings(const std::vector<Slice>& slices) {
  std::vector<Warning> warnings;
  for (const Slice& slice : slices) {
    if (std::string text = WarningOf(slice); !text.empty()) {
      warnings.push_back({warning_kinds::kSlice,
                          absl::StrCat(slice.task, " ", slice.column, "=", ValueName(slice)),
                          std::move(text)});
    }
  }
  return warnings;
}

// One curve for each value, task and measure: the tag has the value in front, so TensorBoard groups
// by value.
std::vector<std::pair<std::string, double>> SliceScalars(const std::vector<Slice>& slices) {
  std::vector<std::pair<std::string, double>> scalars;
  for (const Slice& slice : slices) {
    if (slice.kind == Slice::Kind::kAll) continue;  // the metrics of the towers
    const std::string tag = absl::StrCat("slice/", slice.column, "=", ValueName(slice), "/");
    const SliceQuality& quality = slice.quality;
    const std::pair<std::string, std::optional<double>> numbers[] = {
        {NameOfMeasure(SliceMeasure::kAuc, slice.task), quality.auc},
        {NameOfMeasure(SliceMeasure::kLogloss, slice.task), quality.logloss},
        {absl::StrCat("pcoc_", slice.task), quality.pcoc},
        {NameOfMeasure(SliceMeasure::kGroupedAuc, slice.task), quality.grouped_auc},
        {NameOfMeasure(SliceMeasure::kGroupedAucByImpressions, slice.task),
         quality.grouped_auc_by_impressions}};
    for (const auto& [name, number] : numbers) {
      if (number.has_value()) scalars.push_back({absl::StrCat(tag, name), *number});
    }
  }
  return scalars;
}

// The last window beside all rows since the training began. Lines fit 120 columns: metrics that do
// not go on below the first ones.
std::string TrainSliceTable(int64_t step, const std::vector<TrainSlice>& slices) {
  constexpr size_t kColumns = 120, kNumbers = 17;
  const size_t value_width = std::max<size_t>(5, WidthOfValues(slices));
  std::string text;
  for (const TrainSliceGrid& grid : GridsOf(slices)) {
    size_t width = kNumbers;
    for (const std::string& figure : grid.figures) width = std::max(width, figure.size());
    const size_t taken = value_width + 2 + 21;
    const size_t at_once =
        std::max<size_t>(1, (kColumns - std::min(kColumns, taken)) / (width + 2));
    absl::StrAppendFormat(&text, "%straining up to step %d by %s: last window, all rows",
                          text.empty() ? "" : "\n", step, Printable(grid.column, 40));
    for (size_t first = 0; first < grid.figures.size(); first += at_once) {
      const auto figures =
          std::span(grid.figures).subspan(first, std::min(at_once, grid.figures.size() - first));
      absl::StrAppendFormat(&text, "\n%-*s  %21s", value_width, Printable(grid.column, 40), "rows");
      for (const std::string& figure : figures)
        absl::StrAppendFormat(&text, "  %*s", width, figure);
      for (const std::string& value : grid.values) {
        absl::StrAppendFormat(&text, "\n%-*s  %21s", value_width, value, grid.rows.at(value));
        for (const std::string& figure : figures) {
          const auto found = grid.cells.find({value, figure});
          absl::StrAppendFormat(&text, "  %*s", width,
                                found == grid.cells.end() ? "-" : found->second);
        }
      }
    }
  }
  return text;
}

std::string TrainSliceJson(int64_t step, const std::vector<TrainSlice>& slices) {
  std::string lines;
  for (const TrainSlice& slice : slices) {
    nlohmann::ordered_json json = PlaceJson("step", step, slice);
    json["metric"] = slice.windows.metric;
    json["window"] = WindowJson(slice.windows.window);
    json["lifetime"] = WindowJson(slice.windows.lifetime);
    absl::StrAppend(&lines, json.dump(), "\n");
  }
  return lines;
}

std::vector<std::pair<std::string, double>> TrainSliceScalars(
    const std::vector<TrainSlice>& slices) {
  std::vector<std::pair<std::string, double>> scalars;
  for (const TrainSlice& slice : slices) {
    const std::string tag = absl::StrCat("slice/", slice.column, "=", ValueName(slice), "/");
    const TrainWindows& windows = slice.windows;
    for (const auto& [name, value] : {std::make_pair("window_", &windows.window.value),
                                      std::make_pair("lifetime_", &windows.lifetime.value)}) {
      if (value->has_value()) scalars.push_back({absl::StrCat(tag, name, windows.metric), **value});
    }
  }
  return scalars;
}

}  // namespace pepnet

#include "worker/report/run_lines.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/text.h"

namespace pepnet {
namespace {

constexpr size_t kMostRows = 12;     // of the table
constexpr size_t kLastRows = 6;      // that a shortened table has at its end
constexpr size_t kFirstMetrics = 2;  // that stay, however narrow the terminal

struct Column {
  std::string name;
  std::vector<std::string> cells;  // by evaluation
  std::set<size_t> best;           // evaluations; several if they are equal
  size_t width = 0;
};

// A column with a star at the best evaluation, if there are several. Cells end with a star or a
// blank, so numbers line up.
Column MakeColumn(const EvaluationMetric& metric, const std::vector<nlohmann::json>& evaluations) {
  Column column;
  column.name = Printable(metric.name, 40);
  std::optional<double> best;
  for (const nlohmann::json& json : evaluations) {
    const auto found = json.find(metric.name);
    if (found == json.end() || !found->is_number()) continue;
    const double value = *found;
    if (!best.has_value() || (metric.larger_is_better ? value > *best : value < *best)) {
      best = value;
    }
  }
  for (size_t i = 0; i < evaluations.size(); ++i) {
    const auto found = evaluations[i].find(metric.name);
    const bool number = found != evaluations[i].end() && found->is_number();
    column.cells.push_back(number ? MetricText(*found) : "-");
    if (number && found->get<double>() == *best && evaluations.size() > 1) column.best.insert(i);
  }
  column.name += " ";  // over the stars
  for (size_t i = 0; i < column.cells.size(); ++i) {
    column.cells[i] += column.best.count(i) > 0 ? "*" : " ";
  }
  column.width = column.name.size();
  for (const std::string& cell : column.cells) column.width = std::max(column.width, cell.size());
  return column;
}

// The evaluations that have a line: all, or the first, the best ones and the last.
std::set<size_t> ChooseRows(size_t count, const std::vector<Column>& columns) {
  std::set<size_t> rows;
  for (size_t i = 0; i < count; ++i) {
    if (count <= kMostRows || i == 0 || i + kLastRows >= count) rows.insert(i);
  }
  for (const Column& column : columns) {
    if (!column.best.empty()) rows.insert(*column.best.begin());
  }
  return rows;
}

}  // namespace

std::string Duration(double seconds) {
  const auto s = std::llround(seconds);
  if (s >= 3600) return absl::StrFormat("%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60);
  return absl::StrFormat("%d:%02d", s / 60, s % 60);
}

std::string ShortCount(double count) {
  const char* const units[] = {"", "k", "M", "G"};
  size_t unit = 0;
  // 999.5 is where rounding would show "1000".
  while (count >= 999.5 && unit + 1 < std::size(units)) {
    count /= 1000;
    ++unit;
  }
  return absl::StrFormat("%.*f%s", unit > 0 && count < 9.95 ? 1 : 0, count, units[unit]);
}

std::string ShortNumber(double value) {
  if (!std::isfinite(value)) return "-";
  if (value < 0) return absl::StrCat("-", ShortNumber(-value));
  // ".693": the zero in front says nothing, and a progress line is short.
  if (value < 0.9995) return absl::StrFormat("%.3f", value).substr(1);
  return absl::StrFormat("%.3g", value);
}

std::string Counted(int64_t count, const std::string& word) {
  return absl::StrCat(count, " ", word, count == 1 ? "" : "s");
}

// The parts of a progress line, most important first: a narrow screen cuts at the end.
std::vector<std::string> ProgressParts(const StepRecord& record, double rows_per_second,
                                       double seconds_left) {
  std::vector<std::string> parts = {absl::StrCat("step ", record.step)};
  if (record.total_steps > 0) {
    absl::StrAppend(&parts.back(), "/", record.total_steps);
    // Rounded down: 100 % is the end.
    parts.push_back(absl::StrCat(100 * record.step / record.total_steps, " %"));
  }
  // The pass that is under way, or the one that has just ended.
  const bool between = record.epoch_fraction == 0 ||
                       (record.total_epochs > 0 && record.epoch >= record.total_epochs);
  parts.push_back(
      absl::StrCat("epoch ", record.epoch > 0 && between ? record.epoch : record.epoch + 1));
  if (record.total_epochs > 0) absl::StrAppend(&parts.back(), "/", record.total_epochs);
  if (rows_per_second > 0) parts.push_back(absl::StrCat(ShortCount(rows_per_second), " rows/s"));
  if (seconds_left >= 0) parts.push_back(absl::StrCat(Duration(seconds_left), " left"));
  for (size_t i = 0; i < record.losses.size(); ++i) {
    const std::string& label =
        i < record.loss_labels.size() ? record.loss_labels[i] : record.loss_names[i];
    const std::string text = absl::StrCat(Printable(label, 40), " ", ShortNumber(record.losses[i]));
    parts.push_back(text);
  }
  for (const auto& [name, value] : record.train_metrics) {
    parts.push_back(absl::StrCat(Printable(name, 40), " ", ShortNumber(value)));
  }
  return parts;
}

std::vector<std::string> EvaluationParts(int64_t step, int64_t rows, int64_t all_rows) {
  const bool knows_all = all_rows >= rows && all_rows > 0;  // fewer: the data were others then
  std::vector<std::string> parts = {
      absl::StrCat("evaluating step ", step),
      absl::StrCat(rows, knows_all ? absl::StrCat("/", all_rows) : "", " rows")};
  if (knows_all) parts.push_back(absl::StrCat(100 * rows / all_rows, " %"));
  return parts;
}

// The hint looks at the first metric of the config alone: it is an advice, and one is enough.
std::string KeepBestHint(const std::vector<EvaluationMetric>& metrics,
                         const std::vector<EvaluationLine>& evaluations) {
  if (metrics.empty()) return "";
  const EvaluationMetric& metric = metrics.front();
  std::vector<ValuedStep> steps;
  for (const EvaluationLine& line : evaluations) {
    const nlohmann::json json =
        nlohmann::json::parse(line.json, nullptr, /*allow_exceptions=*/false);
    const auto found = json.find(metric.name);
    if (found != json.end() && found->is_number()) {
      steps.push_back({line.step, found->get<double>()});
    }
  }
  BestRule rule;
  rule.metrics = {{metric.name}};
  rule.larger_is_better = metric.larger_is_better;
  const std::optional<ValuedStep> best = StandingOf(rule, steps).best;
  // There is nothing to gain where the last evaluation is the best.
  if (!best.has_value() || best->value == steps.back().value) return "";
  return absl::StrCat(metric.name, " was best at step ", best->step, " (", MetricText(best->value),
                      ") and ends with ", MetricText(steps.back().value),
                      ": train_config.keep_best { metric: \"", metric.name,
                      "\" } keeps the best checkpoint, and patience ends a training behind it");
}

// Columns are chosen by width, rows by number: what is left out is the middle of a long training,
// but never a best evaluation.
std::string EvaluationTable(const std::vector<EvaluationMetric>& metrics,
                            const std::vector<EvaluationLine>& evaluations, double steps_per_epoch,
                            int width) {
  if (evaluations.empty()) return "";
  std::vector<nlohmann::json> values;
  std::vector<std::string> steps, epochs;
  for (const EvaluationLine& line : evaluations) {
    values.push_back(nlohmann::json::parse(line.json, nullptr, /*allow_exceptions=*/false));
    steps.push_back(absl::StrCat(line.step));
    const double passes = static_cast<double>(line.step) / steps_per_epoch;
    // A step within half a step of a whole pass counts as one.
    const bool whole = std::fabs(passes - std::round(passes)) < 0.5 / steps_per_epoch;
    epochs.push_back(absl::StrFormat("%.*f", whole ? 0 : 1, passes));
  }
  std::vector<EvaluationMetric> ordered = metrics;  // losses last: they are left out first
  std::stable_partition(ordered.begin(), ordered.end(),
                        [](const EvaluationMetric& metric) { return !metric.loss; });
  std::vector<Column> columns = {{"step", steps, {}, std::max<size_t>(4, steps.back().size())}};
  if (steps_per_epoch > 0) columns.push_back({"epoch", epochs, {}, 5});
  const size_t plain = columns.size();
  size_t used = 1;
  for (const Column& column : columns) used += 2 + column.width;
  for (const EvaluationMetric& metric : ordered) {
    Column column = MakeColumn(metric, values);
    used += 2 + column.width;
    // The first metrics stay even where the terminal is too narrow: a table without any says
    // nothing.
    if (columns.size() >= plain + kFirstMetrics && used > static_cast<size_t>(std::max(0, width))) {
      break;
    }
    columns.push_back(std::move(column));
  }
  std::string text = " ";
  for (const Column& column : columns) {
    absl::StrAppendFormat(&text, "  %*s", column.width, column.name);
  }
  absl::StripTrailingAsciiWhitespace(&text);
  size_t next = 0;
  for (const size_t row : ChooseRows(values.size(), columns)) {
    if (row > next) absl::StrAppendFormat(&text, "\n   %*s", columns.front().width, "...");
    next = row + 1;
    absl::StrAppend(&text, "\n ");
    for (const Column& column : columns) {
      absl::StrAppendFormat(&text, "  %*s", column.width, column.cells[row]);
    }
    absl::StripTrailingAsciiWhitespace(&text);
  }
  return text;
}

}  // namespace pepnet

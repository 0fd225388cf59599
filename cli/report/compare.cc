#include "cli/report/compare.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/report/config_fields.h"
#include "cli/report/html.h"
#include "cli/report/summary.h"
#include "common/base/screen.h"
#include "common/base/text.h"
#include "worker/checkpoint/best_evaluation.h"

namespace pepnet {
namespace {

constexpr size_t kLeastCell = 12, kMostCell = 60;
constexpr size_t kMostSlices = 8;  // values of a table of slices, those with most rows

// A block of the text before its columns have widths.
struct TextTable {
  std::vector<std::vector<std::string>> rows;  // the first one is the heading; all as long
};

// Widths are columns of a terminal, of which a Chinese character takes two, whatever its bytes.
size_t Width(const std::string& text) { return static_cast<size_t>(DisplayWidth(text)); }

// The widest cell of a run, so that a table of `columns` columns fits.
size_t MostCell(size_t first, size_t columns, int width) {
  if (width <= 0 || columns < 2) return kMostCell;
  const auto room = static_cast<size_t>(width);
  const size_t share = room > first ? (room - first) / (columns - 1) : 0;
  // 2 columns are the gap. A cell below kLeastCell could not hold a number with its step, so a
  // table of many runs is wider than the terminal rather than unreadable.
  return std::clamp(share > 2 ? share - 2 : 0, kLeastCell, kMostCell);
}

// Columns stand two spaces apart; those behind the first are aligned right.
std::string Format(const TextTable& table, int width) {
  const size_t columns = table.rows[0].size();
  std::vector<size_t> widths(columns, 0);
  for (const auto& row : table.rows) {
    for (size_t c = 0; c < columns; ++c) widths[c] = std::max(widths[c], Width(row[c]));
  }
  const size_t most = MostCell(widths[0], columns, width);
  std::string text;
  for (const auto& row : table.rows) {
    std::string line = row[0] + std::string(widths[0] - Width(row[0]), ' ');
    for (size_t c = 1; c < columns; ++c) {
      const std::string value = Shortened(row[c], most);
      const size_t cell = std::min(widths[c], most);
      absl::StrAppend(&line, "  ", std::string(cell > Width(value) ? cell - Width(value) : 0, ' '),
                      value);
    }
    absl::StripTrailingAsciiWhitespace(&line);
    absl::StrAppend(&text, text.empty() ? "" : "\n", line);
  }
  return text;
}

// The first line of a block: its title and the names of the runs.
std::vector<std::string> Heading(const std::string& title, const std::vector<RunRecord>& runs) {
  std::vector<std::string> row = {title};
  for (const RunRecord& run : runs) row.push_back(Printable(run.name, 200));
  return row;
}

// The same facts as the summary of the page (page.cc), as far as a terminal has room.
TextTable HowFar(const std::vector<RunRecord>& runs) {
  TextTable table{{Heading("run", runs)}};
  const auto add = [&](const std::string& name, const auto& text) {
    std::vector<std::string> row = {name};
    for (const RunRecord& run : runs) {
      const std::string value = text(run);
      row.push_back(value.empty() ? "-" : Printable(value, 200));
    }
    table.rows.push_back(std::move(row));
  };
  add("state",
      [](const RunRecord& run) { return run.job.has_value() ? run.job->status : std::string(); });
  add("steps", [](const RunRecord& run) { return absl::StrCat(LastStep(run)); });
  add("finished passes", [](const RunRecord& run) { return absl::StrCat(LastEpoch(run)); });
  add("servers, workers", [](const RunRecord& run) {
    if (run.checkpoints.empty()) return std::string();
    return absl::StrCat(run.checkpoints.back().servers, ", ", run.checkpoints.back().workers);
  });
  add("rows of all tables", [](const RunRecord& run) {
    return run.checkpoints.empty() ? std::string() : CountText(run.checkpoints.back().rows);
  });
  add("samples/s, median", [](const RunRecord& run) {
    const std::optional<double> speed = MedianSpeed(run);
    return speed.has_value() ? RoundedText(*speed) : std::string();
  });
  add("best checkpoint",
      [](const RunRecord& run) { return run.best.has_value() ? run.best->path : std::string(); });
  return table;
}

// Cells end with a star or a space, so that the numbers stand below each other.
TextTable Results(const std::vector<RunRecord>& runs, const std::vector<FigureName>& figures,
                  bool best) {
  TextTable table{{Heading(best ? "best evaluation" : "last evaluation", runs)}};
  for (std::string& name : table.rows[0]) name += " ";
  for (const FigureName& figure : figures) {
    std::vector<std::optional<ResultAt>> results;
    bool any = false;
    for (const RunRecord& run : runs) {
      results.push_back(best ? BestResult(run, figure) : LastResult(run, figure));
      any |= results.back().has_value();
    }
    if (!any) continue;
    const std::vector<bool> is_best = BestOf(results, figure.larger_is_better);
    std::vector<std::string> row = {Printable(figure.name, 60)};
    for (size_t i = 0; i < runs.size(); ++i) {
      row.push_back(results[i].has_value()
                        ? absl::StrCat(MetricText(results[i]->value), is_best[i] ? "*" : " ")
                        : "- ");
      if (best && results[i].has_value()) {
        row.back() = absl::StrCat("@", results[i]->step, " ", row.back());
      }
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

// AUC, grouped AUC where there are groups, and PCOC in fixed widths, so that cells of a column line
// up.
std::string SliceCell(const Slice& slice) {
  const auto number = [](const std::optional<double>& value, int digits) {
    return value.has_value() ? absl::StrFormat("%.*f", digits, *value) : std::string("-");
  };
  std::string cell = absl::StrFormat("%6s", number(slice.quality.auc, 4));
  if (slice.quality.has_groups) {
    absl::StrAppendFormat(&cell, "  %6s", number(slice.quality.grouped_auc, 4));
  }
  return absl::StrCat(cell, absl::StrFormat("  %5s", number(slice.quality.pcoc, 2)));
}

// A table for each column of slice_by and task: the values with most rows, and all rows.
std::vector<TextTable> SliceTables(const std::vector<RunRecord>& runs) {
  std::vector<std::pair<std::string, std::string>> list;  // column, task
  for (const RunRecord& run : runs) {
    const SlicedEvaluation* const shown = ShownSlices(run);
    if (shown == nullptr) continue;
    for (const Slice& slice : shown->slices) {
      const auto one = std::make_pair(slice.column, slice.task);
      if (std::find(list.begin(), list.end(), one) == list.end()) list.push_back(one);
    }
  }
  std::vector<TextTable> tables;
  for (const auto& [column, task] : list) {
    std::vector<std::string> names;  // of the rows, in the order of the first run that has them
    std::map<std::string, std::vector<std::string>> cells;
    bool groups = false;
    for (size_t i = 0; i < runs.size(); ++i) {
      const SlicedEvaluation* const shown = ShownSlices(runs[i]);
      if (shown == nullptr) continue;
      for (const Slice& slice : shown->slices) {
        if (slice.column != column || slice.task != task || slice.kind == Slice::Kind::kRest) {
          continue;
        }
        // Runs may have different values with most rows; one that only a later run has is added as
        // long as there is room.
        const std::string name = Printable(SliceName(slice), 40);
        auto found = cells.find(name);
        if (found == cells.end()) {
          if (slice.kind == Slice::Kind::kValue && names.size() == kMostSlices) continue;
          if (slice.kind == Slice::Kind::kValue) names.push_back(name);
          found = cells.emplace(name, std::vector<std::string>(runs.size(), "-")).first;
        }
        found->second[i] = SliceCell(slice);
        groups |= slice.quality.has_groups;
      }
    }
    const std::string all = SliceName(Slice::Kind::kAll, "");
    if (cells.count(all) > 0) names.push_back(all);
    const std::string title =
        absl::StrCat(task, " by ", column, ": auc", groups ? ", grouped auc" : "", ", pcoc");
    TextTable table{{Heading(Printable(title, 100), runs)}};
    for (const std::string& name : names) {
      std::vector<std::string> row = {name};
      row.insert(row.end(), cells[name].begin(), cells[name].end());
      table.rows.push_back(std::move(row));
    }
    tables.push_back(std::move(table));
  }
  return tables;
}

TextTable ConfigTable(const std::vector<RunRecord>& runs) {
  TextTable table{{Heading("config", runs)}};
  for (const ConfigDifference& difference : DifferencesOf(runs)) {
    std::vector<std::string> row = {Printable(difference.path, 100)};
    for (const std::string& value : difference.values) {
      row.push_back(value.empty() ? "-" : Printable(value, 200));
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

}  // namespace

// A block that has only its heading is left out; how far the runs got is always there.
std::string CompareText(const std::vector<RunRecord>& runs, int width) {
  const std::vector<FigureName> figures = FigureNames(runs);
  std::string text = Format(HowFar(runs), width);
  std::vector<TextTable> tables = {Results(runs, figures, true), Results(runs, figures, false)};
  for (TextTable& table : SliceTables(runs)) tables.push_back(std::move(table));
  tables.push_back(ConfigTable(runs));
  for (const TextTable& table : tables) {
    if (table.rows.size() > 1) absl::StrAppend(&text, "\n\n", Format(table, width));
  }
  if (runs.size() > 1) text += "\n\n* best of the runs; @ the step of an evaluation";
  for (const RunRecord& run : runs) {
    for (const Remark& remark : RemarksOf(run)) {
      absl::StrAppend(&text, "\n", Printable(run.name, 200),
                      remark.is_warning ? ": warning: " : ": ", Printable(remark.text));
    }
  }
  return text;
}

}  // namespace pepnet

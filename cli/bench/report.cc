#include "cli/bench/report.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "common/base/logging.h"
#include "nlohmann/json.hpp"

namespace pepnet {
namespace {

// Four significant digits, whole numbers whole.
std::string NumberText(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15) return absl::StrFormat("%.0f", value);
  if (std::abs(value) >= 1000) return absl::StrFormat("%.0f", value);
  return absl::StrFormat("%.4g", value);
}

// CellText() is for the terminal, with four digits; CellJson() has all digits for programs.
std::string CellText(const BenchCell& cell) {
  if (const auto* text = std::get_if<std::string>(&cell)) return *text;
  if (const auto* number = std::get_if<double>(&cell)) return NumberText(*number);
  const Spread& spread = std::get<Spread>(cell);
  return absl::StrCat(NumberText(spread.median), " [", NumberText(spread.least), "..",
                      NumberText(spread.most), "]");
}

nlohmann::ordered_json CellJson(const BenchCell& cell) {
  if (const auto* text = std::get_if<std::string>(&cell)) return *text;
  if (const auto* number = std::get_if<double>(&cell)) return *number;
  const Spread& spread = std::get<Spread>(cell);
  return {{"median", spread.median}, {"least", spread.least}, {"most", spread.most}};
}

std::string Heading(const BenchReport::Column& column) {
  return column.unit.empty() ? column.name : absl::StrCat(column.name, " (", column.unit, ")");
}

// The leading columns that say what a row is of: those in front of the first one that was measured.
size_t NamingColumns(const BenchReport& report) {
  size_t naming = 0;
  // A column is measured if any of its cells is a spread.
  const auto measured = [&](const auto& row) {
    return std::holds_alternative<Spread>(row[naming]);
  };
  while (naming < report.columns.size() &&
         std::none_of(report.rows.begin(), report.rows.end(), measured))
    ++naming;
  return naming;
}

// The columns of each block of the table: as many as fit, the naming ones in front of every block.
// Two blanks stand between columns. A block has at least one column that is not a naming one, even
// if that is too wide.
std::vector<std::vector<size_t>> Blocks(const std::vector<size_t>& widths, size_t naming) {
  std::vector<std::vector<size_t>> blocks(1);
  size_t used = 0;
  for (size_t i = 0; i < widths.size(); ++i) {
    if (i > naming && blocks.back().size() > naming && used + 2 + widths[i] > kBenchWidth) {
      blocks.emplace_back();
      used = 0;
      for (size_t n = 0; n < naming; ++n) {
        blocks.back().push_back(n);
        used += (n == 0 ? 0 : 2) + widths[n];
      }
    }
    used += (blocks.back().empty() ? 0 : 2) + widths[i];
    blocks.back().push_back(i);
  }
  return blocks;
}

}  // namespace

Spread SpreadOf(std::vector<double> values) {
  CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  // The median instead of the mean: one disturbed round does not move it.
  return {values[values.size() / 2], values.front(), values.back()};
}

Spread RatesOf(double count, const std::vector<double>& seconds) {
  std::vector<double> rates;
  for (double s : seconds) rates.push_back(count / s);
  return SpreadOf(std::move(rates));
}

std::string TextOf(const BenchReport& report) {
  std::string text = absl::StrCat("bench ", report.name);
  for (const auto& [name, value] : report.settings) absl::StrAppend(&text, ", ", name, " ", value);
  text += "\n";
  for (const BenchReport::Limit& limit : report.limits) {
    absl::StrAppend(&text, "limit: ", limit.name, " ", NumberText(limit.value), " ", limit.unit,
                    "\n");
  }
  std::vector<size_t> widths;
  for (const auto& column : report.columns) widths.push_back(Heading(column).size());
  for (const auto& row : report.rows) {
    CHECK_EQ(row.size(), report.columns.size());
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], CellText(row[i]).size());
    }
  }
  for (const std::vector<size_t>& block : Blocks(widths, NamingColumns(report))) {
    const auto line = [&](const auto& cell_of) {
      for (size_t c = 0; c < block.size(); ++c) {
        const std::string cell = cell_of(block[c]);
        absl::StrAppend(&text, c == 0 ? "" : "  ", std::string(widths[block[c]] - cell.size(), ' '),
                        cell);
      }
      text += "\n";
    };
    line([&](size_t i) { return Heading(report.columns[i]); });
    for (const auto& row : report.rows) line([&](size_t i) { return CellText(row[i]); });
  }
  for (const std::string& sentence : report.checked) {
    absl::StrAppend(&text, "checked: ", sentence, "\n");
  }
  return text;
}

std::string JsonOf(const BenchReport& report) {
  nlohmann::ordered_json json = {{"bench", report.name}, {"version", PEPNET_VERSION}};
  json["settings"] = nlohmann::ordered_json::object();
  for (const auto& [name, value] : report.settings) json["settings"][name] = value;
  json["limits"] = nlohmann::ordered_json::object();
  for (const BenchReport::Limit& limit : report.limits) {
    json["limits"][limit.name] = {{"value", limit.value}, {"unit", limit.unit}};
  }
  json["columns"] = nlohmann::ordered_json::array();
  for (const auto& column : report.columns) {
    json["columns"].push_back({{"name", column.name}, {"unit", column.unit}});
  }
  json["rows"] = nlohmann::ordered_json::array();
  for (const auto& row : report.rows) {
    nlohmann::ordered_json object;
    for (size_t i = 0; i < row.size(); ++i) object[report.columns[i].name] = CellJson(row[i]);
    // A row is an object by column names, so that programs do not depend on the order of columns.
    json["rows"].push_back(object);
  }
  json["checked"] = report.checked;
  return json.dump(1) + "\n";
}

}  // namespace pepnet

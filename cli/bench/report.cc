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

std::string CellText(const BenchCell& cell) {
  if (const auto* text = std::get_if<std::string>(&cell)) return *text;
  if (const auto* number = std::get_if<double>(&cell)) return NumberText(*number);
  const Spread& spread = std::get<Spread>(cell);
  return absl::StrCat(NumberText(spread.median), " [", NumberText(spread.least), "..", NumberText(spread.most), "]");
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

}  // namespace

Spread SpreadOf(std::vector<double> values) {
  CHECK(!values.empty());
  std::sort(values.begin(), values.end());
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
    absl::StrAppend(&text, "limit: ", limit.name, " ", NumberText(limit.value), " ", limit.unit, "\n");
  }
  std::vector<size_t> widths;
  for (const auto& column : report.columns) widths.push_back(Heading(column).size());
  for (const auto& row : report.rows) {
    CHECK_EQ(row.size(), report.columns.size());
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], CellText(row[i]).size());
  }
  auto pad = [&](size_t i, const std::string& cell) {
    absl::StrAppend(&text, i == 0 ? "" : "  ", std::string(widths[i] - cell.size(), ' '), cell);
  };
  for (size_t i = 0; i < report.columns.size(); ++i) pad(i, Heading(report.columns[i]));
  text += "\n";
  for (const auto& row : report.rows) {
    for (size_t i = 0; i < row.size(); ++i) pad(i, CellText(row[i]));
    text += "\n";
  }
  for (const std::string& sentence : report.checked) absl::StrAppend(&text, "checked: ", sentence, "\n");
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
  for (const auto& column : report.columns) json["columns"].push_back({{"name", column.name}, {"unit", column.unit}});
  json["rows"] = nlohmann::ordered_json::array();
  for (const auto& row : report.rows) {
    nlohmann::ordered_json object;
    for (size_t i = 0; i < row.size(); ++i) object[report.columns[i].name] = CellJson(row[i]);
    json["rows"].push_back(object);
  }
  json["checked"] = report.checked;
  return json.dump(1) + "\n";
}

}  // namespace pepnet

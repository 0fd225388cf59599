// BenchReport: what one benchmark found: a row per size, named columns with units, the machine's
// limits of the same run.
//
// Text: TextOf() draws a table, a spread as "median [least..most]". Columns that go beyond
//       kBenchWidth stand in a table below, which begins with the same naming columns.
// JSON: {"bench", "version", "settings": {name: text}, "limits": {name: {"value", "unit"}},
//       "columns": [{"name", "unit"}], "rows": [{column: text, number or {"median", "least",
//       "most"}}], "checked": [sentence]}.
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/status.h"

namespace pepnet {

inline constexpr size_t kBenchWidth = 120;

struct Spread {
  double median = 0, least = 0, most = 0;
};
// Precondition: not empty. Of an even number of values the median is the upper one of the middle
// two.
Spread SpreadOf(std::vector<double> values);
// count / seconds of each, the slowest being the least.
Spread RatesOf(double count, const std::vector<double>& seconds);

using BenchCell = std::variant<std::string, double, Spread>;

struct BenchReport {
  struct Limit {
    std::string name, unit;
    double value;
  };
  struct Column {
    std::string name, unit;  // unit "" for a plain number or a text
  };

  std::string name;  // of the subcommand
  std::vector<std::pair<std::string, std::string>> settings;
  std::vector<Limit> limits;
  std::vector<Column> columns;
  std::vector<std::vector<BenchCell>> rows;  // each as long as `columns`
  std::vector<std::string> checked;          // what was found correct in this run
};

std::string TextOf(const BenchReport& report);
std::string JsonOf(const BenchReport& report);

}  // namespace pepnet

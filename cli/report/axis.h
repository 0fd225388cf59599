// A numeric axis of a chart: its range, the numbers written at it, and where a value stands.
#pragma once

#include <string>
#include <vector>

namespace pepnet {

struct Axis {
  double from = 0, to = 1;    // values; from < to, and from > 0 if `log`
  double start = 0, end = 1;  // pixels
  bool log = false;

  double At(double value) const;  // pixels
};

// An axis that holds `low` <= `high` with round ends, where ticks stand. Both are finite; for `log`
// positive. Values beyond 1e300 may lie outside.
Axis RoundAxis(double low, double high, bool log, double start, double end);

// About `most` round numbers within the axis, ascending; of a logarithmic one 1, 2 and 5 times
// powers of ten.
std::vector<double> Ticks(const Axis& axis, int most);

// With the digits that tell neighbours `step` apart: "0.65", "1.5k", "2e-05".
std::string TickText(double value, double step);

}  // namespace pepnet

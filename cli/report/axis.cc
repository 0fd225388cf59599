#include "cli/report/axis.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace pepnet {
namespace {

// The smallest of 1, 2, 5 times a power of ten that is at least `least`.
double RoundStep(double least) {
  const double power = std::pow(10, std::floor(std::log10(least)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= least * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

double StepOf(double low, double high, int most) { return RoundStep((high - low) / std::max(1, most)); }

}  // namespace

double Axis::At(double value) const {
  const double share = log ? std::log(value / from) / std::log(to / from) : (value - from) / (to - from);
  return start + share * (end - start);
}

Axis RoundAxis(double low, double high, bool log, double start, double end) {
  Axis axis{low, high, start, end, log};
  if (log) {
    // A little room on both sides; the ticks stand where they fall.
    axis.from = std::min(low, high / 1.2) / 1.15;
    axis.to = high * 1.15;
    return axis;
  }
  if (high - low <= 1e-12 * std::max(std::fabs(low), std::fabs(high)) || high == low) {
    const double room = low == 0 ? 1 : 0.1 * std::fabs(low);
    low -= room;
    high += room;
  }
  const double step = StepOf(low, high, 5);
  axis.from = std::floor(low / step + 1e-9) * step;
  axis.to = std::ceil(high / step - 1e-9) * step;
  return axis;
}

std::vector<double> Ticks(const Axis& axis, int most) {
  std::vector<double> ticks;
  if (axis.log) {
    for (const bool fine : {true, false}) {
      ticks.clear();
      for (double power = std::pow(10, std::floor(std::log10(axis.from))); power <= axis.to; power *= 10) {
        for (const double factor : {1.0, 2.0, 5.0}) {
          if (!fine && factor != 1) continue;
          const double tick = factor * power;
          if (tick >= axis.from && tick <= axis.to) ticks.push_back(tick);
        }
      }
      if (ticks.size() <= static_cast<size_t>(most) + 2) break;
    }
    return ticks;
  }
  const double step = StepOf(axis.from, axis.to, most);
  for (double i = std::ceil(axis.from / step - 1e-9); i * step <= axis.to + step * 1e-9; ++i) ticks.push_back(i * step);
  return ticks;
}

std::string TickText(double value, double step) {
  if (std::fabs(value) < step * 1e-6) return "0";
  if (std::fabs(value) >= 1e6 || step < 1e-4) return absl::StrFormat("%.3g", value);
  if (step >= 100 && std::fabs(value) >= 1000) return absl::StrCat(absl::StrFormat("%g", value / 1000), "k");
  const int digits = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  return absl::StrFormat("%.*f", digits, value);
}

}  // namespace pepnet

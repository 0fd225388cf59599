#include "cli/report/axis.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace pepnet {
namespace {

// Files may hold any double; what lies further out is drawn at the rim of a logarithmic axis.
constexpr double kSmallest = 1e-300, kLargest = 1e300;
constexpr int kMostTicks = 50;  // whatever the rounding of huge numbers does

// The smallest of 1, 2, 5 times a power of ten that is at least `least`.
double RoundStep(double least) {
  const double power = std::pow(10, std::floor(std::log10(least)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= least * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

// Halved first: the range of two doubles may be larger than any double.
double StepOf(double low, double high, int most) {
  return RoundStep((high / 2 - low / 2) / most * 2);
}

}  // namespace

double Axis::At(double value) const {
  // The halves keep to - from finite for ends near the largest doubles.
  const double share = log ? (std::log(std::clamp(value, from, to)) - std::log(from)) /
                                 (std::log(to) - std::log(from))
                           : (value / 2 - from / 2) / (to / 2 - from / 2);
  return start + share * (end - start);
}

Axis RoundAxis(double low, double high, bool log, double start, double end) {
  Axis axis{low, high, start, end, log};
  if (log) {
    // A little room on both sides; the ticks stand where they fall.
    axis.from = std::max(kSmallest, std::min(low, high / 1.2) / 1.15);
    axis.to = std::min(kLargest, std::max(high, 2 * kSmallest) * 1.15);
    return axis;
  }
  low = std::clamp(low, -kLargest, kLargest);
  high = std::clamp(high, -kLargest, kLargest);
  // All points at one height would make an axis without length.
  if (high - low <= std::max(kSmallest, 1e-9 * std::max(std::fabs(low), std::fabs(high)))) {
    const double room = std::max(std::fabs(low) * 0.1, low == 0 ? 1 : kSmallest);
    low -= room;
    high += room;
  }
  const double step = StepOf(low, high, 5);
  // 1e-9 of a step of tolerance: an end that is round already must not gain another step by
  // rounding.
  axis.from = std::floor(low / step + 1e-9) * step;
  axis.to = std::ceil(high / step - 1e-9) * step;
  return axis;
}

std::vector<double> Ticks(const Axis& axis, int most) {
  std::vector<double> ticks;
  if (!axis.log) {
    const double step = StepOf(axis.from, axis.to, most);
    const double first = std::ceil(axis.from / step - 1e-9);
    for (int i = 0; i < kMostTicks && (first + i) * step <= axis.to + step * 1e-9; ++i) {
      ticks.push_back((first + i) * step);
    }
    return ticks;
  }
  const int first = static_cast<int>(std::floor(std::log10(axis.from)));
  const int last = static_cast<int>(std::floor(std::log10(axis.to)));
  // Ticks at 1, 2 and 5 of each decade where they fit, else at the powers of ten alone; over many
  // decades powers are left out, too.
  const int every = 1 + (last - first) / most;  // powers of ten
  for (const bool fine : {true, false}) {
    ticks.clear();
    for (int power = first; power <= last; power += every) {
      for (const double factor : {1.0, 2.0, 5.0}) {
        const double tick = factor * std::pow(10, power);
        if ((fine || factor == 1) && tick >= axis.from && tick <= axis.to) ticks.push_back(tick);
      }
    }
    if (ticks.size() <= static_cast<size_t>(most) + 2) break;
  }
  return ticks;
}

std::string TickText(double value, double step) {
  if (std::fabs(value) < step * 1e-6) return "0";
  if (std::fabs(value) >= 1e6 || step < 1e-4) return absl::StrFormat("%.3g", value);
  if (step >= 100 && std::fabs(value) >= 1000) {
    return absl::StrCat(absl::StrFormat("%g", value / 1000), "k");
  }
  // Numbers have as many decimals as the step, so that neighbours differ and all are equally long.
  const int digits = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  return absl::StrFormat("%.*f", digits, value);
}

}  // namespace pepnet

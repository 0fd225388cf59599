#include "cli/report/chart.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/report/axis.h"
#include "cli/report/html.h"
#include "worker/checkpoint/best_evaluation.h"

namespace pepnet {
namespace {

// Pixels of the drawing, which a browser scales to the width of its column.
constexpr double kWidth = 420, kHeight = 250, kSide = 330;
constexpr double kLeft = 50, kRight = 14, kTop = 24, kBottom = 36;
constexpr double kRowHeight = 24;  // of dot and bar charts

// Line() and Text() place one element; colours and strokes are those of the page's style sheet, so
// that a dark screen changes them.
std::string Line(double x1, double y1, double x2, double y2, const std::string& style) {
  return absl::StrFormat("<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>",
                         style, x1, y1, x2, y2);
}

std::string Text(double x, double y, const std::string& anchor, const std::string& text,
                 const std::string& style = "") {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s>%s</text>", x, y, anchor,
                         style.empty() ? "" : absl::StrCat(" class=\"", style, "\""),
                         HtmlText(text));
}

// Opens the <figure>; the functions that call it close it.
std::string Caption(const std::string& title, const std::string& subtitle) {
  return absl::StrCat(
      "<figure><figcaption>", HtmlText(title),
      subtitle.empty() ? "" : absl::StrCat(" <span class=\"soft\">", HtmlText(subtitle), "</span>"),
      "</figcaption>\n");
}

std::string LegendItem(int colour, bool dashed, const std::string& label) {
  return absl::StrFormat("<li><i class=\"c%d%s\"></i>%s</li>", colour % kColours,
                         dashed ? " dashed" : "", HtmlText(label));
}

// The data-* attributes make a drawing checkable: a test turns every point back into the value of
// the file (decision 0011). Ranges have 17 digits, with which a double reads back exactly.
std::string OpenSvg(double width, double height, const std::string& title, const Axis& x,
                    const Axis& y) {
  return absl::StrFormat(
      "<svg%s viewBox=\"0 0 %g %g\" role=\"img\" aria-label=\"%s\" data-x-min=\"%.17g\" "
      "data-x-max=\"%.17g\" "
      "data-y-min=\"%.17g\" data-y-max=\"%.17g\" data-left=\"%g\" data-top=\"%g\" "
      "data-width=\"%g\" data-height=\"%g\" "
      "data-x-scale=\"%s\">\n",
      width < kWidth ? " class=\"square\"" : "", width, height, HtmlText(title), x.from, x.to,
      y.from, y.to, x.start, y.end, x.end - x.start, y.start - y.end, x.log ? "log" : "linear");
}

double StepBetween(const std::vector<double>& ticks) {
  return ticks.size() > 1 ? ticks[1] - ticks[0] : 1;
}

// Grid lines, numbers below them, and the name at the right end, clear of the numbers.
std::string XAxis(const Axis& axis, double top, double bottom, const std::string& name) {
  std::string svg;
  const std::vector<double> ticks = Ticks(axis, 5);
  for (const double tick : ticks) {
    svg += Line(axis.At(tick), top, axis.At(tick), bottom, "grid");
    svg += Text(axis.At(tick), bottom + 15, "middle",
                axis.log ? absl::StrFormat("%g", tick) : TickText(tick, StepBetween(ticks)));
  }
  return absl::StrCat(svg, Line(axis.start, bottom, axis.end, bottom, "axis"),
                      Text(axis.end, bottom + 30, "end", name), "\n");
}

// The name stands above the axis and not along it: turned text is slow to read.
std::string YAxis(const Axis& axis, double left, double right, const std::string& name) {
  std::string svg;
  const std::vector<double> ticks = Ticks(axis, 5);
  for (const double tick : ticks) {
    svg += Line(left, axis.At(tick), right, axis.At(tick), "grid");
    svg += Text(left - 6, axis.At(tick) + 4, "end", TickText(tick, StepBetween(ticks)));
  }
  return absl::StrCat(svg, Text(4, 13, "start", name), "\n");
}

// One curve as a polyline, with a circle for each point if it has dots; a <title> inside an element
// is its tooltip, without a script.
std::string Shape(const Curve& curve, const Axis& x, const Axis& y) {
  std::string style = absl::StrCat("series c", curve.colour % kColours);
  if (curve.thin) style += " thin";
  if (curve.bold) style += " bold";
  if (curve.dashed) style += " dashed";
  std::string points, dots;
  for (const auto& [px, py] : curve.points) {
    absl::StrAppendFormat(&points, "%s%.2f,%.2f", points.empty() ? "" : " ", x.At(px), y.At(py));
    if (curve.dots) {
      absl::StrAppendFormat(&dots,
                            "<circle class=\"f%d\" cx=\"%.2f\" cy=\"%.2f\" r=\"3.2\"><title>%s: %s "
                            "at %s</title></circle>",
                            curve.colour % kColours, x.At(px), y.At(py), HtmlText(curve.label),
                            MetricText(py), absl::StrFormat("%.6g", px));
    }
  }
  return absl::StrFormat(
      "<polyline class=\"%s\" data-run=\"%d\" data-name=\"%s\" data-source=\"%s\" "
      "points=\"%s\"/>%s\n",
      style, curve.run, HtmlText(curve.name), HtmlText(curve.source), points, dots);
}

}  // namespace

std::vector<size_t> KeptLines(size_t count) {
  std::vector<size_t> kept;
  // The distance is rounded up, so that there are never more than kMostPoints and the last one.
  // Lines are left out rather than averaged: every point that is drawn stands in the file.
  const size_t every = (count + kMostPoints - 1) / kMostPoints;
  for (size_t i = 0; i < count; i += every) kept.push_back(i);
  if (!kept.empty() && kept.back() != count - 1) kept.push_back(count - 1);
  return kept;
}

std::string CurvesFigure(const ChartLayout& layout, const std::vector<Curve>& curves) {
  bool any = false;
  double x_low = 0, x_high = 0, y_low = 0, y_high = 0;
  for (const Curve& curve : curves) {
    for (const auto& [x, y] : curve.points) {
      x_low = any ? std::min(x_low, x) : x;
      x_high = any ? std::max(x_high, x) : x;
      y_low = any ? std::min(y_low, y) : y;
      y_high = any ? std::max(y_high, y) : y;
      any = true;
    }
  }
  if (!any) return "";
  // A square chart compares two rates, so both axes have one scale and the diagonal is "as
  // predicted".
  const double width = layout.square ? kSide : kWidth, height = layout.square ? kSide : kHeight;
  const double bottom = height - kBottom;
  if (layout.from_zero || layout.square) x_low = std::min(x_low, 0.0), y_low = std::min(y_low, 0.0);
  if (layout.square) x_high = y_high = std::max(x_high, y_high);
  const Axis x = layout.square ? RoundAxis(0, x_high, false, kLeft, width - kRight)
                               : RoundAxis(x_low, x_high, false, kLeft, width - kRight);
  const Axis y = RoundAxis(y_low, y_high, false, bottom, kTop);
  std::string svg = OpenSvg(width, height, layout.title, x, y);
  absl::StrAppend(&svg, YAxis(y, kLeft, width - kRight, layout.y_name),
                  XAxis(x, kTop, bottom, layout.x_name));
  if (layout.square) svg += Line(x.At(0), y.At(0), x.At(x.to), y.At(y.to), "guide");
  std::string legend;
  // Training and evaluation curves of a run share a label and a colour: the legend says it once.
  std::set<std::string> told;
  for (const Curve& curve : curves) {
    if (curve.points.empty()) continue;
    svg += Shape(curve, x, y);
    if (!curve.label.empty() && told.insert(curve.label).second) {
      legend += LegendItem(curve.colour, curve.dashed, curve.label);
    }
  }
  return absl::StrCat(Caption(layout.title, layout.subtitle), svg, "</svg>\n<ul class=\"legend\">",
                      legend, "</ul></figure>\n");
}

std::string DotsFigure(const DotLayout& layout, const std::vector<DotRow>& rows,
                       const std::vector<std::string>& run_names) {
  bool any = layout.target.has_value();
  // The axis holds the target, the guides and all dots.
  double low = layout.target.value_or(0), high = low;
  const auto widen = [&](double value) {
    low = any ? std::min(low, value) : value;
    high = any ? std::max(high, value) : value;
    any = true;
  };
  std::set<size_t> runs;
  for (const DotRow& row : rows) {
    for (const DotRow::Dot& dot : row.dots) {
      widen(dot.value);
      runs.insert(dot.run);
    }
  }
  for (const auto& [run, value] : layout.guides) widen(value);
  if (runs.empty()) return "";
  constexpr double kNames = 128;  // room for the rows' names
  const double bottom = kTop + kRowHeight * static_cast<double>(rows.size());
  const Axis x = RoundAxis(low, high, layout.log_x, kNames, kWidth - 2 * kRight);
  // The y axis has no numbers: rows are placed by hand. It is there for the data-* attributes.
  const Axis y{0, static_cast<double>(rows.size()), bottom, kTop, false};
  std::string svg = OpenSvg(kWidth, bottom + kBottom, layout.title, x, y);
  svg += XAxis(x, kTop, bottom, layout.x_name);
  if (layout.target.has_value()) {
    svg += Line(x.At(*layout.target), kTop - 4, x.At(*layout.target), bottom, "axis");
    svg += Text(x.At(*layout.target), kTop - 9, "middle", layout.target_label);
  }
  for (const auto& [run, value] : layout.guides) {
    svg += Line(x.At(value), kTop, x.At(value), bottom,
                absl::StrFormat("series thin dashed c%d", run % kColours));
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    const double middle = kTop + kRowHeight * (static_cast<double>(i) + 0.5);
    const std::string label = Shortened(rows[i].label, 12);
    svg += Text(4, middle + 4, "start", label, "name");
    svg += Text(kNames - 10, middle + 4, "end", rows[i].note);
    for (const DotRow::Dot& dot : rows[i].dots) {
      const double at = x.At(dot.value);
      if (dot.flagged) {
        absl::StrAppendFormat(&svg,
                              "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"8.5\" fill=\"none\" "
                              "stroke=\"var(--bad)\" stroke-width=\"2\"/>",
                              at, middle);
        // Of two values in a row the smaller one is written to the left.
        bool left = at > kWidth - 70;
        for (const DotRow::Dot& other : rows[i].dots) {
          left |= other.flagged && other.value > dot.value;
        }
        svg += Text(left ? at - 12 : at + 12, middle + 4, left ? "end" : "start",
                    absl::StrFormat("%.2f", dot.value), "bad");
      }
      absl::StrAppendFormat(&svg,
                            "<circle class=\"f%d dot\" data-run=\"%d\" data-name=\"%s\" "
                            "data-slice=\"%s\" cx=\"%.2f\" "
                            "cy=\"%.2f\" r=\"5\"><title>%s</title></circle>",
                            dot.run % kColours, dot.run, HtmlText(layout.name),
                            HtmlText(rows[i].label), at, middle, HtmlText(dot.tooltip));
    }
    svg += "\n";
  }
  std::string legend;
  for (const size_t run : runs) legend += LegendItem(static_cast<int>(run), false, run_names[run]);
  return absl::StrCat(Caption(layout.title, layout.subtitle), svg, "</svg>\n<ul class=\"legend\">",
                      legend, "</ul></figure>\n");
}

std::string BarsFigure(const std::string& title, const std::string& unit,
                       const std::vector<std::string>& names, const std::vector<BarRow>& rows) {
  // The longest bar in all decides the scale, so that bars of different runs compare.
  double high = 0;
  for (const BarRow& row : rows) {
    double sum = 0;
    for (const double part : row.parts) sum += part;
    high = std::max(high, sum);
  }
  if (high <= 0) return "";
  // The names stand above their bars, which therefore have the whole width.
  constexpr double kBarRow = 40;
  const double bottom = 8 + kBarRow * static_cast<double>(rows.size());
  const Axis x = RoundAxis(0, high, false, 10, kWidth - 2 * kRight);
  const Axis y{0, static_cast<double>(rows.size()), bottom, 8, false};
  std::string svg = OpenSvg(kWidth, bottom + kBottom, title, x, y);
  svg += XAxis(x, 8, bottom, unit);
  for (size_t i = 0; i < rows.size(); ++i) {
    const double top = 8 + kBarRow * static_cast<double>(i);
    svg += Text(x.start, top + 13, "start", rows[i].label, "name");
    double sum = 0;
    for (size_t k = 0; k < rows[i].parts.size(); ++k) {
      const double part = rows[i].parts[k];
      // A part of nothing would be an element without width that nobody can point at.
      if (part <= 0) continue;
      absl::StrAppendFormat(&svg,
                            "<rect class=\"f%d\" data-run=\"%d\" data-name=\"%s\" x=\"%.2f\" "
                            "y=\"%.1f\" width=\"%.2f\" "
                            "height=\"16\"><title>%s: %.4g %s</title></rect>",
                            k % kColours, i, HtmlText(names[k]), x.At(sum), top + 18,
                            x.At(sum + part) - x.At(sum), HtmlText(names[k]), part, HtmlText(unit));
      sum += part;
    }
    svg += "\n";
  }
  std::string legend;
  for (size_t k = 0; k < names.size() && names.size() > 1; ++k) {
    legend += LegendItem(static_cast<int>(k), false, names[k]);
  }
  return absl::StrCat(Caption(title, ""), svg, "</svg>\n<ul class=\"legend\">", legend,
                      "</ul></figure>\n");
}

}  // namespace pepnet

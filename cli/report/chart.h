// Charts as SVG within a <figure>: curves over steps, reliability curves, and figures of slices
// beside each other.
//
// Every point can be read back: the <svg> carries its scales (data-x-min, data-x-max, data-y-min,
// data-y-max, data-left, data-top, data-width, data-height; data-x-scale is linear or log), each
// curve its run, name and file (data-run, data-name, data-source). Coordinates have a hundredth of
// a pixel. Texts are escaped here.
//
// Threads: no state.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace pepnet {

inline constexpr int kColours = 10;

// At most so many points of a curve are drawn and stand in the page's data: of longer logs every
// n-th line, and the last.
inline constexpr size_t kMostPoints = 600;

// The indices of `count` lines that are kept.
std::vector<size_t> KeptLines(size_t count);

struct Curve {
  std::string label;  // in the legend, once per label; "": not there
  int colour = 0;     // modulo kColours
  bool thin = false, bold = false, dashed = false;
  bool dots = false;  // a dot with a tooltip at each point
  std::vector<std::pair<double, double>> points;
  // A test traces these: the run's position, the figure's name, the file.
  size_t run = 0;
  std::string name, source;
};

struct ChartLayout {
  std::string title, subtitle;
  std::string x_name = "step", y_name;  // with the unit
  bool from_zero = false;               // the y axis begins at 0
  bool square = false;                  // both axes from 0 to the largest value, with the diagonal
};

// "" if no curve has a point.
std::string CurvesFigure(const ChartLayout& layout, const std::vector<Curve>& curves);

// One line of a dot chart: a slice, with a dot for each run.
struct DotRow {
  std::string label, note;  // `note` in soft letters behind it: its rows
  struct Dot {
    size_t run = 0;
    double value = 0;
    bool flagged = false;  // drawn larger, in a ring, with its value
    std::string tooltip;
  };
  std::vector<Dot> dots;
};

struct DotLayout {
  std::string title, subtitle, x_name;
  bool log_x = false;
  std::optional<double> target;  // a line across all rows: what would be right
  std::string target_label;      // at that line
  // Run, value: a dashed line in the colour of the run.
  std::vector<std::pair<size_t, double>> guides;
  std::string name;  // data-name
};

std::string DotsFigure(const DotLayout& layout, const std::vector<DotRow>& rows,
                       const std::vector<std::string>& run_names);

// A horizontal bar of parts for each row; the legend names the parts.
struct BarRow {
  std::string label;
  std::vector<double> parts;  // as many as the legend has names
};
std::string BarsFigure(const std::string& title, const std::string& unit,
                       const std::vector<std::string>& names, const std::vector<BarRow>& rows);

}  // namespace pepnet

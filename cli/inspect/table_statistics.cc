#include "cli/inspect/table_statistics.h"

#include <algorithm>
#include <cmath>

namespace pepnet {

void TableStatistics::AddHot(const HotRow& row) {
  const auto hotter = [](const HotRow& a, const HotRow& b) {
    return a.frequency != b.frequency ? a.frequency > b.frequency : a.id < b.id;
  };
  // Nearly all rows end here, so the sorted list costs one comparison a row.
  if (hottest.size() == kHottest && !hotter(row, hottest.back())) return;
  hottest.insert(std::upper_bound(hottest.begin(), hottest.end(), row, hotter), row);
  if (hottest.size() > kHottest) hottest.pop_back();
}

// Norms are computed in double and rows with a NaN are kept out of all of them: one such row would
// make the mean a NaN.
void TableStatistics::Add(const RowColumns& rows, int dim) {
  for (size_t i = 0; i < rows.ids.size(); ++i) {
    const int64_t frequency = rows.frequency[i];
    // A row exists without an update where it was imported: training creates rows by updating them.
    dead_rows += frequency == 0 ? 1 : 0;
    parts.back().updates += frequency;
    if (frequency > 0) AddHot({rows.ids[i], frequency});
    double squares = 0;
    for (const float x : rows.values.subspan(i * dim, dim)) squares += static_cast<double>(x) * x;
    const double norm = std::sqrt(squares);
    if (!std::isfinite(norm)) {
      ++non_finite_rows;
      continue;
    }
    norm_min = finite_rows == 0 ? norm : std::min(norm_min, norm);
    norm_max = finite_rows == 0 ? norm : std::max(norm_max, norm);
    norm_sum += norm;
    ++finite_rows;
    if (norm == 0) {
      ++zero_rows;
    } else {
      // ilogb() is the exponent e of 2^e <= norm < 2^(e + 1).
      ++norm_histogram[std::ilogb(norm)];
    }
  }
}

}  // namespace pepnet

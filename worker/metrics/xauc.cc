#include "worker/metrics/xauc.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "common/base/logging.h"

namespace pepnet {
namespace {

// Counts the numbers added so far that are smaller: a binary indexed tree over places 0 .. size -
// 1.
class SmallerCount {
 public:
  explicit SmallerCount(size_t size) : sums_(size + 1) {}
  void Add(size_t place) {
    // i & (~i + 1) is the lowest bit of i: entry i of a binary indexed tree (Fenwick, 1994) holds
    // the count of that many places up to i.
    for (size_t i = place + 1; i < sums_.size(); i += i & (~i + 1)) ++sums_[i];
  }
  int64_t Below(size_t place) const {
    int64_t count = 0;
    for (size_t i = place; i > 0; i -= i & (~i + 1)) count += sums_[i];
    return count;
  }

 private:
  std::vector<int64_t> sums_;
};

}  // namespace

// Rows in the order of their labels meet those of smaller labels alone, of which those with smaller
// scores count.
double Xauc(std::span<const ScoredRow> rows) {
  CHECK_GE(rows.size(), 2u);
  std::vector<float> scores;
  std::vector<std::pair<float, float>> ordered;  // label, score
  for (const ScoredRow& row : rows) {
    if (std::isnan(row.score)) return std::numeric_limits<double>::quiet_NaN();
    scores.push_back(row.score);
    ordered.emplace_back(row.label, row.score);
  }
  std::sort(scores.begin(), scores.end());
  std::sort(ordered.begin(), ordered.end());
  const auto place = [&](float score) {
    return static_cast<size_t>(std::lower_bound(scores.begin(), scores.end(), score) -
                               scores.begin());
  };
  SmallerCount seen(scores.size());
  double right = 0;
  for (size_t begin = 0, end = 0; begin < ordered.size(); begin = end) {
    // Rows of one label are all counted before any is added: they are no pairs with each other.
    // Among equal scores lower_bound() gives one place, so ties count as wrong.
    for (; end < ordered.size() && ordered[end].first == ordered[begin].first; ++end) {
      right += static_cast<double>(seen.Below(place(ordered[end].second)));
    }
    for (size_t i = begin; i < end; ++i) seen.Add(place(ordered[i].second));
  }
  const double n = static_cast<double>(rows.size());
  return right / (n * (n - 1) / 2);
}

double MeanXauc(ScoredRows* rows, bool weighted) {
  const std::span<const ScoredRow> sorted = rows->Sorted();
  double sum = 0, weights = 0;
  for (size_t begin = 0, end = 0; begin < sorted.size(); begin = end) {
    while (end < sorted.size() && sorted[end].key == sorted[begin].key) ++end;
    if (end - begin < 2) continue;
    const double weight = weighted ? static_cast<double>(end - begin) : 1;
    sum += weight * Xauc(sorted.subspan(begin, end - begin));
    weights += weight;
  }
  return weights > 0 ? sum / weights : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace pepnet

#include "worker/metrics/metric_counts.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "common/base/logging.h"
#include "worker/metrics/grouped_auc.h"
#include "worker/metrics/slices.h"

namespace pepnet {
namespace {

// Index of the last threshold <= score, -1 if there is none (also for NaN). Thresholds are nearly i
// / (n - 1), so a direct guess is at most a step or two away.
int ThresholdIndex(const std::vector<float>& thresholds, float score) {
  const int n = static_cast<int>(thresholds.size());
  if (!(score >= thresholds[0])) return -1;
  if (score >= thresholds[n - 1]) return n - 1;
  int k = static_cast<int>(score * static_cast<float>(n - 1));
  while (k + 1 < n && thresholds[k + 1] <= score) ++k;
  while (thresholds[k] > score) --k;
  return k;
}

}  // namespace

std::vector<int64_t> FirstIds(const Batch& batch, int feature, int64_t none) {
  std::vector<int64_t> ids(static_cast<size_t>(batch.rows), none);
  for (int64_t row = 0; row < batch.rows; ++row) {
    const std::span<const int64_t> all = batch.RowIds(feature, row);
    if (!all.empty()) ids[row] = all.front();
  }
  return ids;
}

// A label of 2 or 0.5 is a negative, as in the reference (docs/spec.md 6.1).
bool Positive(const LabelColumn& label, int64_t row) { return label.values[row] == 1.0f; }

// A tower of two classes that gives probs1 alone has no threshold: the likelier class is that above
// 1/2.
int TowerScores::Class(int64_t row, double threshold, int num_class) const {
  if (width == 1) return One(row) > static_cast<float>(num_class == 1 ? threshold : 0.5) ? 1 : 0;
  const float* first = scores + row * width;
  int best = 0;
  for (int c = 1; c < width; ++c) {
    if (first[c] > first[best]) best = c;
  }
  return best;
}

bool TowerScores::IsAmongTop(int64_t row, int c, int top_k, int num_class) const {
  int before = 0;
  for (int other = 0; other < num_class && before < top_k; ++other) {
    before += Of(row, other) > Of(row, c) || (Of(row, other) == Of(row, c) && other < c) ? 1 : 0;
  }
  return before < top_k;
}

// step = 1 / (n - 1) in float32; t_i = step i in the lower half, 1 - step (n - 1 - i) in the upper,
// each rounded once. (torch uses a fused multiply-add there on GPUs and on CPUs with AVX2, but not
// on older CPUs, where 15 of 200 thresholds come out one bit off.) In double both expressions are
// exact before they are rounded.
std::vector<float> AucThresholds(int n) {
  CHECK_GT(n, 0);
  std::vector<float> thresholds(n, 0.0f);
  if (n == 1) return thresholds;
  const double step = 1.0f / static_cast<float>(n - 1);
  for (int i = 0; i < n; ++i) {
    thresholds[i] = static_cast<float>(i < n / 2 ? step * i : 1.0 - step * (n - 1 - i));
  }
  return thresholds;
}

void CountForAuc(const std::vector<float>& thresholds, const LabelColumn& label,
                 const TowerScores& scores, int64_t rows, double* counts) {
  double* const by_class[2] = {counts + thresholds.size() + 1, counts};
  for (int64_t row = 0; row < rows; ++row) {
    by_class[Positive(label, row)][ThresholdIndex(thresholds, scores.One(row)) + 1] += 1;
  }
}

void CountForAuc(const std::vector<float>& thresholds, const LabelColumn& label,
                 const TowerScores& scores, int64_t rows, int c, double* counts) {
  double* const by_class[2] = {counts + thresholds.size() + 1, counts};
  for (int64_t row = 0; row < rows; ++row) {
    const bool positive = label.values[row] == static_cast<float>(c);
    by_class[positive][ThresholdIndex(thresholds, scores.Of(row, c)) + 1] += 1;
  }
}

// TPR_k = true_positives_k / positives, FPR_k = false_positives_k / negatives, an empty class has
// rate 0. AUC = sum over k from n - 1 down to 1 of (FPR_{k-1} - FPR_k) (TPR_{k-1} + TPR_k) / 2
double BinnedAuc(const std::vector<double>& true_positives,
                 const std::vector<double>& false_positives, double positives, double negatives) {
  CHECK_EQ(true_positives.size(), false_positives.size());
  if (positives == 0 || negatives == 0) return 0;
  double area = 0;  // of the curve in counts: exact until the last division for up to 2^26 rows
  for (size_t k = true_positives.size(); k-- > 1;) {
    area += (false_positives[k - 1] - false_positives[k]) *
            (true_positives[k - 1] + true_positives[k]) / 2;
  }
  return area / (positives * negatives);
}

double AucOfCounts(size_t thresholds, const double* counts) {
  // Index 0 is the negatives' half, which lies behind the positives'.
  const double* const by_class[2] = {counts + thresholds + 1, counts};
  std::vector<double> reached[2];  // rows of the class with score >= threshold k
  double total[2];
  for (int c = 0; c < 2; ++c) {
    reached[c].resize(thresholds);
    double rows = 0;
    // A running sum from the highest threshold down gives the rows that reach each.
    for (size_t k = thresholds; k-- > 0;) reached[c][k] = rows += by_class[c][k + 1];
    total[c] = rows + by_class[c][0];
  }
  return BinnedAuc(reached[1], reached[0], total[1], total[0]);
}

namespace {

// sum_c weight_c AUC_c / sum_c weight_c of the AUC of each class against the others; weight: 1, or
// the rows of the class.
double AucOfClasses(const Metric& metric, size_t thresholds, int num_class, const double* counts) {
  double sum = 0, weights = 0;
  for (int c = 0; c < num_class; ++c, counts += AucCounts(thresholds)) {
    double weight = 1;
    if (metric.average == ClassAverage::kWeighted) {
      weight = std::accumulate(counts, counts + thresholds + 1, 0.0);
    }
    sum += weight * AucOfCounts(thresholds, counts);
    weights += weight;
  }
  return weights > 0 ? sum / weights : 0;
}

// sum of cross entropies / -(P ln r + (n - P) ln(1 - r)), r = P / n within [eta, 1 - eta]
double Entropy(double eta, double cross_entropies, double positives, double rows) {
  if (rows == 0) return std::numeric_limits<double>::quiet_NaN();
  const double rate = std::clamp(positives / rows, eta, 1 - eta);
  return cross_entropies / -(positives * std::log(rate) + (rows - positives) * std::log1p(-rate));
}

}  // namespace

void AddExactly(double term, double* sum) {
  double rest = term * 0x1p20;
  for (size_t i = 0; i < kExactSumSize; ++i) {
    const double whole = std::floor(rest);
    sum[i] += whole;
    rest = (rest - whole) * 0x1p26;
  }
}

double ExactSum(const double* sum) {
  return sum[0] * 0x1p-20 + (sum[1] * 0x1p-46 + sum[2] * 0x1p-72);
}

namespace {

constexpr size_t kBinSums = kExactSumSize + 1;  // of an interval of ece
// Of a grouped AUC.
enum GroupedSum : size_t {
  kAucs,
  kAucsByRows,
  kGroups,
  kRowsOfGroups,
  kPositives,
  kAllRows,
  kGroupedSums
};

// The numbers of a metric; of one with thresholds those of a class (AucCounts()).
size_t SumsOf(MetricKind kind, size_t thresholds) {
  switch (kind) {
    case MetricKind::kAuc:
    case MetricKind::kMulticlassAuc:
      return AucCounts(thresholds);
    case MetricKind::kNormalizedEntropy:
      return 2 * kExactSumSize + 2;
    case MetricKind::kPcoc:
    case MetricKind::kLogLoss:
      return kExactSumSize + 2;
    case MetricKind::kEce:
      return kCalibrationBins * kBinSums + 1;
    case MetricKind::kMeanAbsoluteError:
    case MetricKind::kMeanSquaredError:
      return kExactSumSize + 1;
    case MetricKind::kGroupedAuc:
      return kGroupedSums;
    case MetricKind::kAccuracy:
    case MetricKind::kXauc:
    case MetricKind::kGroupedXauc:
      break;
  }
  return 2;
}

double CountPositives(const LabelColumn& label, int64_t rows) {
  double positives = 0;
  for (int64_t row = 0; row < rows; ++row) positives += Positive(label, row) ? 1 : 0;
  return positives;
}

void AddCalibration(const LabelColumn& label, const TowerScores& scores, int64_t rows,
                    double* sums) {
  for (int64_t row = 0; row < rows; ++row) {
    double* const bin = sums + static_cast<size_t>(CalibrationBinOf(scores.One(row))) * kBinSums;
    AddExactly(scores.One(row), bin);
    bin[kExactSumSize] += Positive(label, row) ? 1 : 0;
  }
}

double CalibrationError(const double* sums, double rows) {
  double error = 0;
  for (const double* bin = sums; bin != sums + kCalibrationBins * kBinSums; bin += kBinSums) {
    error += std::fabs(ExactSum(bin) - bin[kExactSumSize]) / rows;
  }
  return error;
}

}  // namespace

MetricSums::MetricSums(const Metric* metric, int num_class)
    : metric_(metric), num_class_(num_class) {
  CHECK(!needs_rows() || metric->kind == MetricKind::kGroupedAuc)
      << metric->name << " is no sum over rows";
  if (metric->kind == MetricKind::kAuc || metric->kind == MetricKind::kMulticlassAuc) {
    thresholds_ = AucThresholds(metric->thresholds);
  }
  const int classes = metric->kind == MetricKind::kMulticlassAuc ? num_class : 1;
  size_ = SumsOf(metric->kind, thresholds_.size()) * static_cast<size_t>(classes);
}

void MetricSums::Add(const Tower& tower, const LabelColumn& label, const TowerScores& scores,
                     int64_t rows, double* sums) const {
  switch (metric_->kind) {
    case MetricKind::kAuc:
      return CountForAuc(thresholds_, label, scores, rows, sums);
    case MetricKind::kMulticlassAuc:
      for (int c = 0; c < num_class_; ++c) {
        CountForAuc(thresholds_, label, scores, rows, c,
                    sums + static_cast<size_t>(c) * AucCounts(thresholds_.size()));
      }
      return;
    case MetricKind::kAccuracy:
      sums[0] += static_cast<double>(CountRight(*metric_, label, scores, rows, tower.num_class));
      break;
    case MetricKind::kMeanAbsoluteError:
    case MetricKind::kMeanSquaredError:
      for (int64_t row = 0; row < rows; ++row) {
        const double error =
            static_cast<double>(scores.One(row)) - static_cast<double>(label.values[row]);
        const bool squared = metric_->kind == MetricKind::kMeanSquaredError;
        AddExactly(squared ? error * error : std::fabs(error), sums);
      }
      break;
    case MetricKind::kNormalizedEntropy:
      for (int64_t row = 0; row < rows; ++row) {
        AddExactly(CrossEntropy(scores.One(row), label.values[row]), sums);
        AddExactly(label.values[row], sums + kExactSumSize);
      }
      sums[size_ - 2] += CountPositives(label, rows);
      break;
    case MetricKind::kPcoc:
      for (int64_t row = 0; row < rows; ++row) {
        AddExactly(scores.One(row), sums);
      }
      sums[size_ - 2] += CountPositives(label, rows);
      break;
    case MetricKind::kEce:
      AddCalibration(label, scores, rows, sums);
      break;
    case MetricKind::kLogLoss:
      for (int64_t row = 0; row < rows; ++row) {
        AddExactly(LogLossOf({0, scores.One(row), label.values[row]}), sums);
      }
      sums[size_ - 2] += CountPositives(label, rows);
      break;
    case MetricKind::kGroupedAuc:
    case MetricKind::kXauc:
    case MetricKind::kGroupedXauc:
      LOG(FATAL) << metric_->name << " needs all rows of a window at once";
  }
  sums[size_ - 1] += static_cast<double>(rows);
}

void MetricSums::AddRows(std::span<const ScoredRow> sorted, double* sums) const {
  CHECK(needs_rows()) << metric_->name << " counts rows batch by batch";
  const GroupedAucSums groups = SumGroupedAuc(sorted);
  sums[kAucs] += groups.aucs;
  sums[kAucsByRows] += groups.aucs_by_rows;
  sums[kGroups] += static_cast<double>(groups.keys);
  sums[kRowsOfGroups] += static_cast<double>(groups.rows);
  for (const ScoredRow& row : sorted) sums[kPositives] += row.positive() ? 1 : 0;
  sums[kAllRows] += static_cast<double>(sorted.size());
}

double MetricSums::Value(const double* sums, size_t which) const {
  switch (metric_->kind) {
    case MetricKind::kAuc:
      return AucOfCounts(thresholds_.size(), sums);
    case MetricKind::kMulticlassAuc:
      return AucOfClasses(*metric_, thresholds_.size(), num_class_, sums);
    case MetricKind::kAccuracy:
      return sums[1] > 0 ? sums[0] / sums[1] : 0;
    case MetricKind::kNormalizedEntropy:
      return Entropy(metric_->eta, ExactSum(sums), ExactSum(sums + kExactSumSize), Rows(sums));
    case MetricKind::kPcoc:
      return ExactSum(sums) / *Positives(sums);
    case MetricKind::kEce:
      return CalibrationError(sums, Rows(sums));
    case MetricKind::kLogLoss:
    case MetricKind::kMeanAbsoluteError:
    case MetricKind::kMeanSquaredError:
      return ExactSum(sums) / Rows(sums);
    case MetricKind::kGroupedAuc:
      return which == 0 ? sums[kAucs] / sums[kGroups] : sums[kAucsByRows] / sums[kRowsOfGroups];
    case MetricKind::kXauc:
    case MetricKind::kGroupedXauc:
      break;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

double MetricSums::Rows(const double* sums) const {
  const auto size = static_cast<std::ptrdiff_t>(size_);
  if (metric_->kind == MetricKind::kAuc) return std::accumulate(sums, sums + size, 0.0);
  if (metric_->kind == MetricKind::kMulticlassAuc) {
    return std::accumulate(sums, sums + size / num_class_, 0.0);
  }
  return sums[size_ - 1];
}

std::optional<double> MetricSums::Positives(const double* sums) const {
  switch (metric_->kind) {
    case MetricKind::kAuc:
      return std::accumulate(sums, sums + static_cast<std::ptrdiff_t>(size_ / 2), 0.0);
    case MetricKind::kEce: {
      double positives = 0;
      for (size_t bin = 0; bin < kCalibrationBins; ++bin) {
        positives += sums[bin * kBinSums + kExactSumSize];
      }
      return positives;
    }
    case MetricKind::kNormalizedEntropy:
    case MetricKind::kPcoc:
    case MetricKind::kLogLoss:
    case MetricKind::kGroupedAuc:
      return sums[size_ - 2];
    case MetricKind::kAccuracy:
    case MetricKind::kMeanAbsoluteError:
    case MetricKind::kMeanSquaredError:
    case MetricKind::kMulticlassAuc:
    case MetricKind::kXauc:
    case MetricKind::kGroupedXauc:
      break;
  }
  return std::nullopt;
}

std::string MetricSums::WhyNoValue(const double* sums) const {
  if (metric_->kind != MetricKind::kAuc || Rows(sums) == 0) return "";
  return WhyNone(sums);
}

std::string MetricSums::WhyNone(const double* sums) const {
  const double rows = Rows(sums);
  switch (metric_->kind) {
    case MetricKind::kAuc:
      return WhyNoFigure(rows, false, *Positives(sums), true, true);
    case MetricKind::kNormalizedEntropy:
      return WhyNoFigure(rows, std::isnan(ExactSum(sums)), ExactSum(sums + kExactSumSize), true,
                         true);
    case MetricKind::kPcoc:
      return WhyNoFigure(rows, std::isnan(ExactSum(sums)), *Positives(sums), true, false);
    case MetricKind::kEce:
      return WhyNoFigure(rows, std::isnan(CalibrationError(sums, rows)), 0, false, false);
    case MetricKind::kLogLoss:
      return WhyNoFigure(rows, std::isnan(ExactSum(sums)), 0, false, false);
    case MetricKind::kGroupedAuc: {
      const std::string why =
          WhyNoFigure(rows, std::isnan(sums[kAucs]), sums[kPositives], true, true);
      return why.empty() && sums[kGroups] == 0 ? kNoGroupHasBoth : why;
    }
    case MetricKind::kAccuracy:
    case MetricKind::kMeanAbsoluteError:
    case MetricKind::kMeanSquaredError:
    case MetricKind::kMulticlassAuc:
    case MetricKind::kXauc:
    case MetricKind::kGroupedXauc:
      break;
  }
  return WhyNoFigure(rows, false, 0, false, false);
}

int64_t CountRight(const Metric& metric, const LabelColumn& label, const TowerScores& scores,
                   int64_t rows, int num_class) {
  int64_t right = 0;
  for (int64_t row = 0; row < rows; ++row) {
    if (metric.top_k > 1) {
      right += scores.IsAmongTop(row, static_cast<int>(label.values[row]), metric.top_k, num_class)
                   ? 1
                   : 0;
    } else {
      right +=
          label.values[row] == static_cast<float>(scores.Class(row, metric.threshold, num_class))
              ? 1
              : 0;
    }
  }
  return right;
}

double CrossEntropy(double p, double y) {
  // torch's bound on the logarithms of binary_cross_entropy().
  constexpr double kLeast = -100;
  return -(y * std::max(std::log(p), kLeast) + (1 - y) * std::max(std::log1p(-p), kLeast));
}

TowerScores ScoresOfTower(const Tower& tower, const LabelColumn& label,
                          const std::vector<float>& scores, int64_t rows) {
  const int width = static_cast<int>(static_cast<int64_t>(scores.size()) / rows);
  CHECK_EQ(static_cast<int64_t>(scores.size()), width * rows) << tower.name;
  CHECK(width == tower.num_class || (width == 1 && tower.num_class == 2))
      << tower.name << ": " << width;
  CHECK_EQ(static_cast<int64_t>(label.values.size()), rows) << tower.name;
  return {scores.data(), width};
}

}  // namespace pepnet

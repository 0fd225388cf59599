#include "worker/watch/evaluation_watch.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "worker/metrics/metric_counts.h"
#include "worker/model/loss_weight.h"

namespace pepnet {
namespace {

constexpr double kLeastRows = 1000;    // for a warning
constexpr double kLeastOfAClass = 50;  // rows of each class, for a warning on an AUC
constexpr double kTooGood = 0.999;     // an AUC
constexpr double kFarOff = 1.5;        // factor between predicted and observed
constexpr double kDeviations = 4;      // standard deviations that chance does not explain

}  // namespace

EvaluationWatch::EvaluationWatch(const JobConfig* config) : config_(config) {
  for (size_t t = 0; t < config->model.towers.size(); ++t) {
    const Tower& tower = config->model.towers[t];
    if (!HasScore(tower)) continue;
    // Their optimum is not at predicted = observed, so a factor between the two is no mistake.
    const bool calibrates =
        std::all_of(tower.losses.begin(), tower.losses.end(), [](const Loss& loss) {
          return loss.kind != LossKind::kBinaryFocal && loss.label_smoothing == 0;
        });
    tasks_.push_back({static_cast<int>(t), calibrates});
  }
  sums_.resize(tasks_.size() * kSumCount);
}

// Weighted as the loss is: a task with weights is calibrated on its weighted rows.
void EvaluationWatch::Add(const Batch& batch, const std::vector<std::vector<float>>& scores) {
  if (batch.rows == 0) return;
  for (size_t i = 0; i < tasks_.size(); ++i) {
    const Tower& tower = config_->model.towers[tasks_[i].tower];
    const LabelColumn& label = batch.labels[tower.label];
    const TowerScores tower_scores =
        ScoresOfTower(tower, label, scores[tasks_[i].tower], batch.rows);
    const std::vector<double> weights = RowWeights(tower, batch);
    double* sums = sums_.data() + i * kSumCount;
    for (int64_t row = 0; row < batch.rows; ++row) {
      const double w = weights.empty() ? 1 : weights[row], p = tower_scores.One(row);
      const double y = Positive(label, row) ? 1 : 0;
      sums[kRows] += 1;
      sums[kPositives] += y;
      sums[kWeight] += w;
      sums[kPredicted] += w * p;
      sums[kObserved] += w * y;
      // The difference sum w p - sum w y is a sum over independent rows, so that
      //   variance <= sum of w^2 p (1 - p) <= sum of w^2 p
      // and the same with y for the observed side.
      sums[kPredictedSquare] += w * w * p;
      sums[kObservedSquare] += w * w * y;
    }
  }
}

StatusOr<std::vector<Warning>> EvaluationWatch::Warnings(
    const std::map<std::string, double>& values, Collective* collective) {
  PEPNET_RETURN_IF_ERROR(
      collective->AllreduceSum(std::span<double>(sums_), "predicted and observed positives"));
  std::vector<Warning> warnings;
  for (size_t i = 0; i < tasks_.size(); ++i) {
    const Tower& tower = config_->model.towers[tasks_[i].tower];
    const double* sums = sums_.data() + i * kSumCount;
    const double rows = sums[kRows], positives = sums[kPositives];
    if (rows < kLeastRows) continue;
    for (const Metric& metric : tower.metrics) {
      const auto value = values.find(metric.name);
      if (metric.kind != MetricKind::kAuc || value == values.end() ||
          !(value->second >= kTooGood)) {
        continue;
      }
      // An AUC of few rows of a class is near 1 by chance now and then.
      if (std::min(positives, rows - positives) < kLeastOfAClass) continue;
      warnings.push_back(
          {warning_kinds::kLeak, metric.name,
           absl::StrFormat(
               "%s is %.6f on %.0f rows, which no honest feature reaches: one of them "
               "probably tells the label, or the eval rows were trained on; find it with "
               "pepnet explain, and leave it out",
               metric.name, value->second, rows)});
      break;
    }
    const double predicted = sums[kPredicted], observed = sums[kObserved];
    if (!tasks_[i].calibrates || std::isnan(predicted) || observed <= 0) continue;
    const double factor = predicted / observed;
    // The larger of the two bounds is taken, so that chance does not pass for a mistake.
    const double deviation = std::sqrt(std::max(sums[kPredictedSquare], sums[kObservedSquare]));
    if ((factor < kFarOff && factor > 1 / kFarOff) ||
        std::fabs(predicted - observed) <= kDeviations * deviation) {
      continue;
    }
    warnings.push_back(
        {warning_kinds::kCalibration, tower.name,
         absl::StrFormat(
             "task %s predicts %.2f times as many positives as there are (a mean of %.4g, "
             "observed %.4g): their order may be right, but whoever bids or adds up with "
             "these probabilities is off by that factor; are the eval rows sampled as the "
             "training rows are, and is the training long enough?",
             tower.name, factor, predicted / sums[kWeight], observed / sums[kWeight]),
         std::fabs(std::log(factor))});
  }
  return warnings;
}

}  // namespace pepnet

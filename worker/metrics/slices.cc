#include "worker/metrics/slices.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "common/job_config/evaluation_metrics.h"
#include "worker/metrics/gather_numbers.h"
#include "worker/metrics/grouped_auc.h"
#include "worker/metrics/metric_counts.h"

namespace pepnet {
namespace {

// The entropy, in nats, of a label that is 1 with this probability; log1p() keeps small rates
// exact.
double Entropy(double rate) { return -rate * std::log(rate) - (1 - rate) * std::log1p(-rate); }

}  // namespace

std::string WhyNoFigure(double rows, bool has_nan, double positives, bool needs_positives,
                        bool needs_negatives) {
  if (rows == 0) return "no rows";
  if (has_nan) return "a prediction is NaN";
  if (needs_positives && positives == 0) return "every label is 0";
  if (needs_negatives && positives == rows) return "every label is 1";
  return "";
}

// The one list of figures, in the order of tables, files and pages. What a figure needs stands
// beside its name, so that a missing one can say why.
std::vector<SliceFigure> FiguresOf(const SliceQuality& quality) {
  std::vector<SliceFigure> figures;
  // Only a NaN leaves rows without logloss.
  const bool has_nan = !quality.logloss.has_value();
  const auto add = [&](const char* name, const std::optional<double>& value, bool needs_positives,
                       bool needs_negatives) {
    figures.push_back({name, value,
                       value.has_value() ? ""
                                         : WhyNoFigure(static_cast<double>(quality.rows), has_nan,
                                                       static_cast<double>(quality.positives),
                                                       needs_positives, needs_negatives)});
  };
  add("auc", quality.auc, true, true);
  add("logloss", quality.logloss, false, false);
  add("normalized_entropy", quality.normalized_entropy, true, true);
  add("pcoc", quality.pcoc, true, false);
  add("ece", quality.ece, false, false);
  if (!quality.has_groups) return figures;
  for (const auto& [name, value] :
       {std::make_pair("grouped_auc", quality.grouped_auc),
        std::make_pair("grouped_auc_by_impressions", quality.grouped_auc_by_impressions)}) {
    add(name, value, true, true);
    if (!value.has_value() && figures.back().why_none.empty()) {
      figures.back().why_none = kNoGroupHasBoth;
    }
  }
  return figures;
}

int CalibrationBinOf(double prediction) {
  // A NaN has no interval, and casting it to int is undefined; the sum of the predictions shows it.
  if (std::isnan(prediction)) return 0;
  return std::clamp(static_cast<int>(prediction * kCalibrationBins), 0, kCalibrationBins - 1);
}

double LogLossOf(const ScoredRow& row) {
  // A float32 sigmoid reaches 0 and 1: one row with a wrong label would make the mean infinite.
  constexpr double kLeast = 0x1p-23;
  const double bounded = std::clamp(static_cast<double>(row.score), kLeast, 1 - kLeast);
  return row.positive() ? -std::log(bounded) : -std::log1p(-bounded);
}

// One pass: sums in double over rows in one order, so the figures depend on the set of rows alone.
SliceQuality MeasureSlice(std::span<const ScoredRow> rows) {
  SliceQuality quality;
  quality.rows = static_cast<int64_t>(rows.size());
  double loss = 0;
  struct Sums {
    int64_t rows = 0, positives = 0;
    double predicted = 0;
  } bins[kCalibrationBins];
  for (const ScoredRow& row : rows) {
    const double prediction = row.score;
    quality.predicted += prediction;
    quality.positives += row.positive();
    loss += LogLossOf(row);
    Sums& bin = bins[CalibrationBinOf(prediction)];
    ++bin.rows;
    bin.positives += row.positive();
    bin.predicted += prediction;
  }
  // One NaN spoils every figure, so none is given: a mean of the others would hide it (law L7).
  if (quality.rows == 0 || std::isnan(quality.predicted)) return quality;
  const auto count = static_cast<double>(quality.rows),
             positives = static_cast<double>(quality.positives);
  quality.auc = ExactAuc(rows);
  quality.logloss = loss / count;
  if (quality.auc.has_value()) {
    quality.normalized_entropy = *quality.logloss / Entropy(positives / count);
  }
  if (quality.positives > 0) quality.pcoc = quality.predicted / positives;
  quality.ece = 0;
  for (int b = 0; b < kCalibrationBins; ++b) {
    if (bins[b].rows == 0) continue;
    const auto bin_rows = static_cast<double>(bins[b].rows);
    quality.calibration.push_back({b, bins[b].rows, bins[b].predicted / bin_rows,
                                   static_cast<double>(bins[b].positives) / bin_rows});
    // rows/n |mean prediction - mean label| = |sum of predictions - positives| / n.
    *quality.ece += std::fabs(bins[b].predicted - static_cast<double>(bins[b].positives)) / count;
  }
  return quality;
}

SliceQuality MeasureGroupedSlice(std::vector<ScoredRow>* rows) {
  // Rows are sorted by group first, for the AUC of each, and then by score over all, as
  // MeasureSlice() reads them.
  SortByKey(rows);
  const GroupedAucs grouped = GroupedAuc(*rows);
  SortByScore(rows);
  SliceQuality quality = MeasureSlice(*rows);
  quality.has_groups = true;
  if (!std::isnan(grouped.mean)) {
    quality.grouped_auc = grouped.mean;
    quality.grouped_auc_by_impressions = grouped.by_rows;
  }
  return quality;
}

std::string SliceName(Slice::Kind kind, const std::string& value) {
  switch (kind) {
    case Slice::Kind::kValue:
      return value.empty() ? "(none)" : value;
    case Slice::Kind::kRest:
      return "(rest)";
    case Slice::Kind::kAll:
      return "(all)";
  }
  return "";
}

StatusOr<std::vector<int64_t>> SliceKeys(const SliceColumn& column, const Batch& batch) {
  if (column.label >= 0) {
    const LabelColumn& label = batch.labels[column.label];
    // Labels have integers only where all of them are whole.
    if (static_cast<int64_t>(label.integers.size()) == batch.rows) return label.integers;
    return InvalidInput(
        batch.origin, ": column '", column.name,
        "' holds numbers that are not whole; eval_config.slice_by needs whole ones");
  }
  return FirstIds(batch, column.feature, kNoSliceKey);
}

std::string SliceValueText(const JobConfig& config, const SliceColumn& column, int64_t key) {
  if (key == kNoSliceKey) return "";
  if (column.feature >= 0 && !config.features[column.feature].vocabulary.empty()) {
    const Feature& feature = config.features[column.feature];
    if (const std::string* const word = VocabularyWord(feature, key); word != nullptr) return *word;
    if (key == feature.unknown_id) return "(unknown)";
  }
  return absl::StrCat(key);
}

// Tasks that group by the same feature share one list of keys, which is 8 bytes a row.
SliceSet::SliceSet(const JobConfig* config) : config_(config), keys_(config->eval.slice_by.size()) {
  if (keys_.empty()) return;
  for (size_t t = 0; t < config->model.towers.size(); ++t) {
    const Tower& tower = config->model.towers[t];
    if (!HasScore(tower)) continue;
    Task task{static_cast<int>(t), std::nullopt, {}, {}};
    if (const Metric* const grouped = GroupedAucOf(tower); grouped != nullptr) {
      size_t g = 0;
      while (g < groups_.size() && groups_[g].feature != grouped->grouping_feature) ++g;
      if (g == groups_.size()) groups_.push_back({grouped->grouping_feature, {}});
      task.groups = g;
    }
    tasks_.push_back(std::move(task));
  }
}

Status SliceSet::Add(const Batch& batch, const std::vector<std::vector<float>>& scores) {
  if (batch.rows == 0 || tasks_.empty()) return absl::OkStatus();
  for (size_t c = 0; c < keys_.size(); ++c) {
    PEPNET_ASSIGN_OR_RETURN(const std::vector<int64_t> keys,
                            SliceKeys(config_->eval.slice_by[c], batch));
    keys_[c].insert(keys_[c].end(), keys.begin(), keys.end());
  }
  for (Groups& groups : groups_) {
    const std::vector<int64_t> keys = FirstIds(batch, groups.feature, /*none=*/0);
    groups.keys.insert(groups.keys.end(), keys.begin(), keys.end());
  }
  for (Task& task : tasks_) {
    const Tower& tower = config_->model.towers[task.tower];
    const LabelColumn& label = batch.labels[tower.label];
    const TowerScores tower_scores = ScoresOfTower(tower, label, scores[task.tower], batch.rows);
    for (int64_t row = 0; row < batch.rows; ++row) {
      task.scores.push_back(tower_scores.One(row));
      task.positive.push_back(Positive(label, row) ? 1 : 0);
    }
  }
  return absl::OkStatus();
}

// `parts` are the values that the slice is made of: one, all of the rest, or the list of all rows.
SliceQuality SliceSet::Measure(const Task& task, const std::vector<RowNumbers>& parts) const {
  std::vector<ScoredRow> rows;
  size_t count = 0;
  for (const RowNumbers& part : parts) count += part.size();
  rows.reserve(count);
  for (const RowNumbers& part : parts) {
    for (const int64_t row : part) {
      const int64_t group = task.groups.has_value() ? groups_[*task.groups].keys[row] : 0;
      rows.push_back({group, task.scores[row], static_cast<float>(task.positive[row])});
    }
  }
  if (task.groups.has_value()) return MeasureGroupedSlice(&rows);
  SortByScore(&rows);
  return MeasureSlice(rows);
}

// Rows are sorted by value once; each value is then a run of `order`, which all tasks read.
void SliceSet::MeasureColumn(size_t column, std::vector<Slice>* slices) const {
  const SliceColumn& by = config_->eval.slice_by[column];
  const std::vector<int64_t>& keys = keys_[column];
  // Numbers of rows are sorted instead of rows: tasks and columns read the same rows in different
  // orders.
  std::vector<int64_t> order(keys.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&keys](int64_t a, int64_t b) {
    return keys[a] != keys[b] ? keys[a] < keys[b] : a < b;
  });
  std::vector<RowNumbers> values;
  for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    while (end < order.size() && keys[order[end]] == keys[order[begin]]) ++end;
    values.push_back(RowNumbers(order).subspan(begin, end - begin));
  }
  // Stable on values in ascending order of keys, so the lower key comes first among equals, on any
  // number of workers.
  std::stable_sort(values.begin(), values.end(),
                   [](const auto& a, const auto& b) { return a.size() > b.size(); });
  const auto own = static_cast<std::ptrdiff_t>(
      std::min(values.size(), static_cast<size_t>(config_->eval.slice_top)));
  for (const Task& task : tasks_) {
    const std::string& name = config_->model.towers[task.tower].name;
    for (auto value = values.begin(); value != values.begin() + own; ++value) {
      slices->push_back({by.name, Slice::Kind::kValue,
                         SliceValueText(*config_, by, keys[value->front()]), name,
                         Measure(task, {*value})});
    }
    if (const std::vector<RowNumbers> rest(values.begin() + own, values.end()); !rest.empty()) {
      slices->push_back({by.name, Slice::Kind::kRest, "", name, Measure(task, rest)});
    }
    slices->push_back({by.name, Slice::Kind::kAll, "", name, Measure(task, {order})});
  }
}

StatusOr<std::vector<Slice>> SliceSet::Finish(Collective* collective) {
  std::vector<Slice> slices;
  if (tasks_.empty()) return slices;
  if (collective != nullptr) {
    for (size_t c = 0; c < keys_.size(); ++c) {
      // Every vector is gathered in the order of the workers, so an index stays one row in all of
      // them.
      const std::string what = absl::StrCat("rows by ", config_->eval.slice_by[c].name);
      PEPNET_RETURN_IF_ERROR(GatherNumbers(collective, what, &keys_[c]));
    }
    for (Groups& groups : groups_) {
      const std::string what = absl::StrCat("groups by ", config_->features[groups.feature].name);
      PEPNET_RETURN_IF_ERROR(GatherNumbers(collective, what, &groups.keys));
    }
    for (Task& task : tasks_) {
      const std::string what = absl::StrCat("rows of ", config_->model.towers[task.tower].name);
      PEPNET_RETURN_IF_ERROR(GatherNumbers(collective, what, &task.scores));
      PEPNET_RETURN_IF_ERROR(GatherNumbers(collective, what, &task.positive));
    }
  }
  if (collective == nullptr || collective->index() == 0) {
    for (size_t c = 0; c < keys_.size(); ++c) MeasureColumn(c, &slices);
  }
  // The memory goes back before the training goes on.
  for (std::vector<int64_t>& keys : keys_) keys = {};
  for (Groups& groups : groups_) groups.keys = {};
  for (Task& task : tasks_) task.scores = {}, task.positive = {};
  return slices;
}

}  // namespace pepnet

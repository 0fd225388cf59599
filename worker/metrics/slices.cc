#include "worker/metrics/slices.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "worker/metrics/metric_counts.h"

namespace pepnet {
namespace {

double Entropy(double rate) { return -rate * std::log(rate) - (1 - rate) * std::log1p(-rate); }

int BinOf(double prediction) {
  return std::clamp(static_cast<int>(prediction * kCalibrationBins), 0, kCalibrationBins - 1);
}

}  // namespace

double LogLossOf(const ScoredRow& row) {
  constexpr double kLeast = 0x1p-23;
  const double bounded = std::clamp(static_cast<double>(row.score), kLeast, 1 - kLeast);
  return row.positive() ? -std::log(bounded) : -std::log1p(-bounded);
}

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
    Sums& bin = bins[std::isnan(prediction) ? 0 : BinOf(prediction)];
    ++bin.rows;
    bin.positives += row.positive();
    bin.predicted += prediction;
  }
  if (quality.rows == 0 || std::isnan(quality.predicted)) return quality;
  const auto count = static_cast<double>(quality.rows), positives = static_cast<double>(quality.positives);
  quality.auc = ExactAuc(rows);
  quality.logloss = loss / count;
  if (quality.auc.has_value()) quality.normalized_entropy = *quality.logloss / Entropy(positives / count);
  if (quality.positives > 0) quality.pcoc = quality.predicted / positives;
  quality.ece = 0;
  for (int b = 0; b < kCalibrationBins; ++b) {
    if (bins[b].rows == 0) continue;
    const auto bin_rows = static_cast<double>(bins[b].rows);
    quality.calibration.push_back(
        {b, bins[b].rows, bins[b].predicted / bin_rows, static_cast<double>(bins[b].positives) / bin_rows});
    *quality.ece += std::fabs(bins[b].predicted - static_cast<double>(bins[b].positives)) / count;
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
    if (static_cast<int64_t>(label.integers.size()) == batch.rows) return label.integers;
    return InvalidInput(batch.origin, ": column '", column.name,
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

SliceSet::SliceSet(const JobConfig* config) : config_(config) {
  for (const SliceColumn& column : config->eval.slice_by) {
    for (size_t t = 0; t < config->model.towers.size(); ++t) {
      if (HasScore(config->model.towers[t])) items_.push_back({&column, static_cast<int>(t), {}});
    }
  }
}

Status SliceSet::Add(const Batch& batch, const std::vector<std::vector<float>>& scores) {
  if (batch.rows == 0) return absl::OkStatus();
  const SliceColumn* column = nullptr;
  std::vector<int64_t> keys;
  for (Item& item : items_) {
    if (item.column != column) {
      column = item.column;
      PEPNET_ASSIGN_OR_RETURN(keys, SliceKeys(*column, batch));
    }
    const Tower& tower = config_->model.towers[item.tower];
    const LabelColumn& label = batch.labels[tower.label];
    const TowerScores tower_scores = ScoresOfTower(tower, label, scores[item.tower], batch.rows);
    for (int64_t row = 0; row < batch.rows; ++row) {
      item.rows.Add(keys[row], tower_scores.One(row), Positive(label, row));
    }
  }
  return absl::OkStatus();
}

void SliceSet::Measure(Item* item, std::vector<Slice>* slices) const {
  const std::string& task = config_->model.towers[item->tower].name;
  const std::span<const ScoredRow> sorted = item->rows.Sorted();
  std::vector<std::span<const ScoredRow>> values;
  for (size_t begin = 0, end = 0; begin < sorted.size(); begin = end) {
    while (end < sorted.size() && sorted[end].key == sorted[begin].key) ++end;
    values.push_back(sorted.subspan(begin, end - begin));
  }
  std::stable_sort(values.begin(), values.end(), [](const auto& a, const auto& b) { return a.size() > b.size(); });
  const size_t own = std::min(values.size(), static_cast<size_t>(config_->eval.slice_top));
  for (size_t i = 0; i < own; ++i) {
    slices->push_back({item->column->name, Slice::Kind::kValue,
                       SliceValueText(*config_, *item->column, values[i][0].key), task, MeasureSlice(values[i])});
  }
  std::vector<ScoredRow> together;
  if (own < values.size()) {
    for (size_t i = own; i < values.size(); ++i) together.insert(together.end(), values[i].begin(), values[i].end());
    SortByScore(&together);
    slices->push_back({item->column->name, Slice::Kind::kRest, "", task, MeasureSlice(together)});
  }
  together.assign(sorted.begin(), sorted.end());
  SortByScore(&together);
  slices->push_back({item->column->name, Slice::Kind::kAll, "", task, MeasureSlice(together)});
}

StatusOr<std::vector<Slice>> SliceSet::Finish(Collective* collective) {
  std::vector<Slice> slices;
  for (Item& item : items_) {
    if (collective != nullptr) {
      const std::string what =
          absl::StrCat("rows by ", item.column->name, " of ", config_->model.towers[item.tower].name);
      PEPNET_RETURN_IF_ERROR(item.rows.GatherToFirst(collective, what));
    }
    if (collective == nullptr || collective->index() == 0) Measure(&item, &slices);
    item.rows = {};
  }
  return slices;
}

}  // namespace pepnet

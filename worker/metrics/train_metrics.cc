#include "worker/metrics/train_metrics.h"

#include <bit>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/mutant.h"
#include "common/job_config/evaluation_metrics.h"

namespace pepnet {
namespace {

std::string LifetimeKey(const std::string& metric) { return metric + "/lifetime"; }
std::string RowsKey(const std::string& metric) { return metric + "/rows"; }
std::string SlicesKey(const std::string& metric, const std::string& column) {
  return absl::StrCat(metric, "/by/", column);
}

// The name of one of MetricSums::values().
std::string NameOfValue(const Metric& metric, size_t which) {
  return which == 0 ? metric.name : NameByImpressions(metric);
}

// Rows in a checkpoint: the two halves of the key, the bits of the score, the label. Sorted, so
// that they are the same whenever they were gathered.
std::vector<double> NumbersOf(std::span<const ScoredRow> sorted) {
  std::vector<double> numbers;
  numbers.reserve(sorted.size() * 4);
  for (const ScoredRow& row : sorted) {
    AppendKey(row.key, &numbers);
    numbers.push_back(std::bit_cast<uint32_t>(row.score));
    numbers.push_back(row.label);
  }
  return numbers;
}

// nullopt if NumbersOf() did not make them.
std::optional<ScoredRows> RowsOf(const std::vector<double>& numbers) {
  if (numbers.size() % 4 != 0) return std::nullopt;
  ScoredRows rows;
  for (auto at = numbers.begin(); at != numbers.end(); at += 4) {
    if (!IsWord(at[0]) || !IsWord(at[1]) || !IsWord(at[2])) return std::nullopt;
    rows.Add(KeyOf(at[0], at[1]), std::bit_cast<float>(static_cast<uint32_t>(at[2])),
             static_cast<float>(at[3]));
  }
  return rows;
}

}  // namespace

TrainMetrics::TrainMetrics(const JobConfig* config) : config_(config) {
  for (size_t t = 0; t < config->model.towers.size(); ++t) {
    for (const TrainMetric& metric : config->model.towers[t].train_metrics) {
      Item item{&metric,
                static_cast<int>(t),
                MetricSums(&metric.metric, config->model.towers[t].num_class),
                {},
                {}};
      item.window.resize(item.sums.size());
      if (TypeOf(metric.metric.kind).decays_counts) item.counts.resize(item.window.size());
      item.last.resize(item.window.size());
      item.lifetime.resize(item.window.size());
      item.values.resize(item.sums.values());
      for (size_t c = 0; c < config->eval.slice_by.size(); ++c) {
        item.slices.emplace_back(item.sums, &config->model.towers[t], config->eval.slice_top);
      }
      items_.push_back(std::move(item));
    }
  }
}

Status TrainMetrics::Add(const Batch& batch, const std::vector<std::vector<float>>& scores) {
  if (batch.rows == 0 || items_.empty()) return absl::OkStatus();
  std::vector<std::vector<int64_t>> keys;  // by column
  for (const SliceColumn& column : config_->eval.slice_by) {
    PEPNET_ASSIGN_OR_RETURN(keys.emplace_back(), SliceKeys(column, batch));
  }
  for (Item& item : items_) {
    const Tower& tower = config_->model.towers[item.tower];
    const LabelColumn& label = batch.labels[tower.label];
    const TowerScores tower_scores = ScoresOfTower(tower, label, scores[item.tower], batch.rows);
    std::vector<int64_t> groups;
    if (item.sums.needs_rows()) {
      groups = FirstIds(batch, item.metric->metric.grouping_feature, /*none=*/0);
      for (int64_t row = 0; row < batch.rows; ++row) {
        item.rows.Add(groups[row], tower_scores.One(row), label.values[row]);
      }
    } else {
      item.sums.Add(tower, label, tower_scores, batch.rows, item.window.data());
    }
    for (size_t c = 0; c < keys.size(); ++c) {
      item.slices[c].Add(keys[c], label, tower_scores, groups);
    }
  }
  return absl::OkStatus();
}

void TrainMetrics::Fold(Item* item) const {
  const double rate = item->metric->decay_rate;
  const bool first = !item->has_value;
  item->measured = true;
  if (!item->counts.empty()) {
    item->has_value = true;
    for (size_t i = 0; i < item->counts.size(); ++i) {
      item->counts[i] =
          first ? item->window[i] : rate * item->counts[i] + (1 - rate) * item->window[i];
    }
    item->values[0] = item->sums.Value(item->counts.data());
  } else if (item->sums.WhyNone(item->window.data()).empty()) {
    item->has_value = true;
    for (size_t which = 0; which < item->values.size(); ++which) {
      const double value = item->sums.Value(item->window.data(), which);
      item->values[which] = first ? value : rate * item->values[which] + (1 - rate) * value;
    }
  }
  for (size_t i = 0; i < item->window.size(); ++i) item->lifetime[i] += item->window[i];
  item->last.swap(item->window);
  item->window.assign(item->window.size(), 0);
}

// Sums of worker 0 alone, which the sum over the workers leaves as they are.
Status TrainMetrics::CountRows(Collective* collective, Item* item) const {
  const bool own = MutantActive(Mutant::kGroupsOfOwnRows);
  if (!own) {
    PEPNET_RETURN_IF_ERROR(
        item->rows.GatherToFirst(collective, "rows of " + item->metric->metric.name));
  }
  if (own || collective->index() == 0) {
    item->sums.AddRows(item->rows.Sorted(), item->window.data());
  }
  item->rows = {};
  return absl::OkStatus();
}

Status TrainMetrics::EndStep(Collective* collective) {
  for (Item& item : items_) {
    if (++item.steps % item.metric->decay_step != 0) continue;
    if (item.sums.needs_rows()) PEPNET_RETURN_IF_ERROR(CountRows(collective, &item));
    PEPNET_RETURN_IF_ERROR(
        collective->AllreduceSum(std::span<double>(item.window), "train metrics"));
    Fold(&item);
    for (SlicedSums& slices : item.slices) PEPNET_RETURN_IF_ERROR(slices.EndWindow(collective));
  }
  return absl::OkStatus();
}

std::map<std::string, double> TrainMetrics::Values() const {
  std::map<std::string, double> values;
  for (const Item& item : items_) {
    for (size_t which = 0; item.has_value && which < item.values.size(); ++which) {
      values[NameOfValue(item.metric->metric, which)] = item.values[which];
    }
  }
  return values;
}

std::vector<TrainWindows> TrainMetrics::Windows() const {
  std::vector<TrainWindows> windows;
  for (const Item& item : items_) {
    for (size_t which = 0; item.measured && which < item.values.size(); ++which) {
      windows.push_back({NameOfValue(item.metric->metric, which),
                         ValueOfWindow(item.sums, item.last.data(), which),
                         ValueOfWindow(item.sums, item.lifetime.data(), which)});
    }
  }
  return windows;
}

std::vector<TrainSlice> TrainMetrics::Slices() const {
  std::vector<TrainSlice> slices;
  for (size_t c = 0; c < config_->eval.slice_by.size(); ++c) {
    const SliceColumn& column = config_->eval.slice_by[c];
    for (const Item& item : items_) {
      for (size_t which = 0; which < item.values.size(); ++which) {
        const std::string name = NameOfValue(item.metric->metric, which);
        for (SlicedSums::Values& one : item.slices[c].Get(which)) {
          slices.push_back(
              {column.name,
               one.kind,
               one.kind == Slice::Kind::kValue ? SliceValueText(*config_, column, one.key) : "",
               config_->model.towers[item.tower].name,
               {name, std::move(one.window), std::move(one.lifetime)}});
        }
      }
    }
  }
  return slices;
}

Status TrainMetrics::Gather(Collective* collective) {
  for (Item& item : items_) {
    PEPNET_RETURN_IF_ERROR(
        collective->AllreduceSum(std::span<double>(item.window), "train metrics"));
    if (collective->index() != 0) item.window.assign(item.window.size(), 0);
    if (item.sums.needs_rows()) {
      PEPNET_RETURN_IF_ERROR(
          item.rows.GatherToFirst(collective, "rows of " + item.metric->metric.name));
      if (collective->index() != 0) item.rows = {};
    }
    for (SlicedSums& slices : item.slices) PEPNET_RETURN_IF_ERROR(slices.Gather(collective));
  }
  return absl::OkStatus();
}

std::map<std::string, std::vector<double>> TrainMetrics::State() const {
  std::map<std::string, std::vector<double>> state;
  for (const Item& item : items_) {
    // The second number: no window has ended, one has had a value, none has had one.
    std::vector<double> numbers = {static_cast<double>(item.steps), !item.measured   ? 0.0
                                                                    : item.has_value ? 1.0
                                                                                     : 2.0};
    numbers.insert(numbers.end(), item.values.begin(), item.values.end());
    numbers.insert(numbers.end(), item.window.begin(), item.window.end());
    numbers.insert(numbers.end(), item.counts.begin(), item.counts.end());
    const std::string& name = item.metric->metric.name;
    state[name] = std::move(numbers);
    std::vector<double> windows = item.last;
    windows.insert(windows.end(), item.lifetime.begin(), item.lifetime.end());
    state[LifetimeKey(name)] = WithoutZeros(windows);
    if (item.sums.needs_rows()) {
      ScoredRows rows = item.rows;
      state[RowsKey(name)] = NumbersOf(rows.Sorted());
    }
    for (size_t c = 0; c < item.slices.size(); ++c) {
      state[SlicesKey(name, config_->eval.slice_by[c].name)] = item.slices[c].State();
    }
  }
  return state;
}

std::vector<std::string> TrainMetrics::Restore(
    const std::map<std::string, std::vector<double>>& state, bool first_worker) {
  std::vector<std::string> fresh;
  for (Item& item : items_) {
    const std::string& name = item.metric->metric.name;
    const auto found = state.find(name);
    if (found == state.end() ||
        found->second.size() != 2 + item.values.size() + item.window.size() + item.counts.size()) {
      fresh.push_back(name);
      continue;
    }
    if (item.sums.needs_rows()) {
      const auto numbers = state.find(RowsKey(name));
      std::optional<ScoredRows> rows;
      if (numbers != state.end()) rows = RowsOf(numbers->second);
      if (!rows.has_value()) {
        fresh.push_back(name);
        continue;
      }
      if (first_worker && !MutantActive(Mutant::kResumeForgetsTrainRows)) {
        item.rows = *std::move(rows);
      }
    }
    const double* from = found->second.data();
    item.steps = static_cast<int64_t>(from[0]);
    item.measured = from[1] != 0;
    item.has_value = from[1] == 1;
    from += 2;
    item.values.assign(from, from + item.values.size());
    from += item.values.size();
    if (first_worker) item.window.assign(from, from + item.window.size());
    from += item.window.size();
    item.counts.assign(from, from + item.counts.size());
    const auto windows = state.find(LifetimeKey(name));
    std::optional<std::vector<double>> numbers;
    if (windows != state.end()) numbers = WithZeros(windows->second, 2 * item.window.size());
    if (numbers.has_value() && numbers->size() == 2 * item.window.size()) {
      const auto middle = numbers->begin() + static_cast<std::ptrdiff_t>(item.window.size());
      item.last.assign(numbers->begin(), middle);
      item.lifetime.assign(middle, numbers->end());
    } else {
      fresh.push_back(name + " since the start");
    }
    for (size_t c = 0; c < item.slices.size(); ++c) {
      const std::string& column = config_->eval.slice_by[c].name;
      const auto slices = state.find(SlicesKey(name, column));
      if (slices == state.end() || !item.slices[c].Restore(slices->second, first_worker)) {
        fresh.push_back(absl::StrCat(name, " by ", column));
      }
    }
  }
  return fresh;
}

}  // namespace pepnet

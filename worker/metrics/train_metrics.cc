#include "worker/metrics/train_metrics.h"

#include <optional>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"

namespace pepnet {
namespace {

std::string LifetimeKey(const std::string& metric) { return metric + "/lifetime"; }
std::string SlicesKey(const std::string& metric, const std::string& column) {
  return absl::StrCat(metric, "/by/", column);
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
    item.sums.Add(tower, label, tower_scores, batch.rows, item.window.data());
    for (size_t c = 0; c < keys.size(); ++c) item.slices[c].Add(keys[c], label, tower_scores);
  }
  return absl::OkStatus();
}

void TrainMetrics::Fold(Item* item) const {
  const double rate = item->metric->decay_rate;
  const bool first = !item->measured;
  item->measured = true;
  if (!item->counts.empty()) {
    for (size_t i = 0; i < item->counts.size(); ++i) {
      item->counts[i] =
          first ? item->window[i] : rate * item->counts[i] + (1 - rate) * item->window[i];
    }
    item->value = item->sums.Value(item->counts.data());
  } else if (item->sums.HasRows(item->window.data())) {
    const double value = item->sums.Value(item->window.data());
    item->value = first ? value : rate * item->value + (1 - rate) * value;
  }
  for (size_t i = 0; i < item->window.size(); ++i) item->lifetime[i] += item->window[i];
  item->last.swap(item->window);
  item->window.assign(item->window.size(), 0);
}

Status TrainMetrics::EndStep(Collective* collective) {
  for (Item& item : items_) {
    if (++item.steps % item.metric->decay_step != 0) continue;
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
    if (item.measured) values[item.metric->metric.name] = item.value;
  }
  return values;
}

std::vector<TrainWindows> TrainMetrics::Windows() const {
  std::vector<TrainWindows> windows;
  for (const Item& item : items_) {
    if (!item.measured) continue;
    windows.push_back({item.metric->metric.name, ValueOfWindow(item.sums, item.last.data()),
                       ValueOfWindow(item.sums, item.lifetime.data())});
  }
  return windows;
}

std::vector<TrainSlice> TrainMetrics::Slices() const {
  std::vector<TrainSlice> slices;
  for (size_t c = 0; c < config_->eval.slice_by.size(); ++c) {
    const SliceColumn& column = config_->eval.slice_by[c];
    for (const Item& item : items_) {
      for (SlicedSums::Values& one : item.slices[c].Get()) {
        slices.push_back(
            {column.name,
             one.kind,
             one.kind == Slice::Kind::kValue ? SliceValueText(*config_, column, one.key) : "",
             config_->model.towers[item.tower].name,
             {item.metric->metric.name, std::move(one.window), std::move(one.lifetime)}});
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
    for (SlicedSums& slices : item.slices) PEPNET_RETURN_IF_ERROR(slices.Gather(collective));
  }
  return absl::OkStatus();
}

std::map<std::string, std::vector<double>> TrainMetrics::State() const {
  std::map<std::string, std::vector<double>> state;
  for (const Item& item : items_) {
    std::vector<double> numbers = {static_cast<double>(item.steps), item.measured ? 1.0 : 0.0,
                                   item.value};
    numbers.insert(numbers.end(), item.window.begin(), item.window.end());
    numbers.insert(numbers.end(), item.counts.begin(), item.counts.end());
    const std::string& name = item.metric->metric.name;
    state[name] = std::move(numbers);
    std::vector<double> windows = item.last;
    windows.insert(windows.end(), item.lifetime.begin(), item.lifetime.end());
    state[LifetimeKey(name)] = WithoutZeros(windows);
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
        found->second.size() != 3 + item.window.size() + item.counts.size()) {
      fresh.push_back(name);
      continue;
    }
    const double* from = found->second.data();
    item.steps = static_cast<int64_t>(from[0]);
    item.measured = from[1] != 0;
    item.value = from[2];
    from += 3;
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

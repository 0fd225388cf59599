#include "worker/metrics/train_metrics.h"

#include <span>

namespace pepnet {

TrainMetrics::TrainMetrics(const JobConfig* config) : config_(config) {
  for (size_t t = 0; t < config->model.towers.size(); ++t) {
    for (const TrainMetric& metric : config->model.towers[t].train_metrics) {
      Item item{&metric, static_cast<int>(t), MetricSums(&metric.metric, config->model.towers[t].num_class), {}, {}};
      item.window.resize(item.sums.size());
      if (TypeOf(metric.metric.kind).decays_counts) item.counts.resize(item.window.size());
      items_.push_back(std::move(item));
    }
  }
}

void TrainMetrics::Add(const Batch& batch, const std::vector<std::vector<float>>& scores) {
  if (batch.rows == 0) return;
  for (Item& item : items_) {
    const Tower& tower = config_->model.towers[item.tower];
    const LabelColumn& label = batch.labels[tower.label];
    const TowerScores tower_scores = ScoresOfTower(tower, label, scores[item.tower], batch.rows);
    item.sums.Add(tower, label, tower_scores, batch.rows, item.window.data());
  }
}

void TrainMetrics::Fold(Item* item) const {
  const double rate = item->metric->decay_rate;
  const bool first = !item->measured;
  item->measured = true;
  if (!item->counts.empty()) {
    for (size_t i = 0; i < item->counts.size(); ++i) {
      item->counts[i] = first ? item->window[i] : rate * item->counts[i] + (1 - rate) * item->window[i];
    }
    item->value = item->sums.Value(item->counts.data());
  } else if (item->sums.HasRows(item->window.data())) {
    const double value = item->sums.Value(item->window.data());
    item->value = first ? value : rate * item->value + (1 - rate) * value;
  }
  item->window.assign(item->window.size(), 0);
}

Status TrainMetrics::EndStep(Collective* collective) {
  for (Item& item : items_) {
    if (++item.steps % item.metric->decay_step != 0) continue;
    PEPNET_RETURN_IF_ERROR(collective->AllreduceSum(std::span<double>(item.window), "train metrics"));
    Fold(&item);
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

Status TrainMetrics::Gather(Collective* collective) {
  for (Item& item : items_) {
    PEPNET_RETURN_IF_ERROR(collective->AllreduceSum(std::span<double>(item.window), "train metrics"));
    if (collective->index() != 0) item.window.assign(item.window.size(), 0);
  }
  return absl::OkStatus();
}

std::map<std::string, std::vector<double>> TrainMetrics::State() const {
  std::map<std::string, std::vector<double>> state;
  for (const Item& item : items_) {
    std::vector<double> numbers = {static_cast<double>(item.steps), item.measured ? 1.0 : 0.0, item.value};
    numbers.insert(numbers.end(), item.window.begin(), item.window.end());
    numbers.insert(numbers.end(), item.counts.begin(), item.counts.end());
    state[item.metric->metric.name] = std::move(numbers);
  }
  return state;
}

std::vector<std::string> TrainMetrics::Restore(const std::map<std::string, std::vector<double>>& state,
                                               bool first_worker) {
  std::vector<std::string> fresh;
  for (Item& item : items_) {
    const auto found = state.find(item.metric->metric.name);
    if (found == state.end() || found->second.size() != 3 + item.window.size() + item.counts.size()) {
      fresh.push_back(item.metric->metric.name);
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
  }
  return fresh;
}

}  // namespace pepnet

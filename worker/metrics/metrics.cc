#include "worker/metrics/metrics.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <span>

#include "common/base/logging.h"
#include "worker/metrics/grouped_auc.h"
#include "worker/metrics/metric_counts.h"

namespace pepnet {
namespace {

// "0" or "1" where all rows counted for an AUC are of that class, else "".
std::string OnlyClass(size_t thresholds, const int64_t* counts) {
  const auto width = static_cast<std::ptrdiff_t>(thresholds + 1);
  const int64_t positives = std::accumulate(counts, counts + width, int64_t{0});
  const int64_t negatives = std::accumulate(counts + width, counts + 2 * width, int64_t{0});
  if ((positives == 0) == (negatives == 0)) return "";
  return positives > 0 ? "1" : "0";
}

}  // namespace

// All counts of all metrics lie in one vector and all sums in another, so that merging takes one allreduce each.
//   auc             counts: positives below all thresholds, then by threshold index; negatives likewise
//   accuracy        counts: right, all
//   absolute error, squared error:  counts: all;  sums: errors
//   loss            sums: loss of each global batch times its rows
struct MetricSet::State {
  struct Item {
    const Metric* metric;
    int tower;
    size_t counts = 0, sums = 0;  // where its numbers begin
    std::vector<float> thresholds;
    std::unique_ptr<GroupedAuc> grouped;
  };

  const JobConfig* config;
  std::vector<Item> items;
  std::map<std::string, size_t> losses;  // name -> index into sums
  std::vector<int64_t> counts;
  std::vector<double> sums;
  int64_t loss_rows = 0;  // rows of all global batches, the same on every worker

  void AddToGroupedAuc(const Item& item, const Batch& batch, const LabelColumn& label, const TowerScores& scores) {
    const IdColumn& column = batch.ids[item.metric->grouping_feature];
    CHECK_EQ(static_cast<int64_t>(column.offsets.size()), batch.rows + 1) << item.metric->name;
    for (int64_t row = 0; row < batch.rows; ++row) {
      const bool has_id = column.offsets[row] < column.offsets[row + 1];
      item.grouped->Add(has_id ? column.ids[column.offsets[row]] : 0, scores.One(row), Positive(label, row));
    }
  }

  // Grouped AUC needs all rows in one place: worker 0 gathers, computes, and tells the others.
  StatusOr<double> GroupedAucValue(const Item& item, Collective* collective) const {
    if (collective == nullptr) return item.grouped->Compute();
    const std::string what = "rows of " + item.metric->name;
    const bool first = collective->index() == 0;
    PEPNET_ASSIGN_OR_RETURN(std::vector<std::string> parts,
                            collective->GatherToFirst(first ? std::string() : item.grouped->Serialize(), what));
    std::string bytes(sizeof(double), '\0');
    if (first) {
      for (std::string& part : parts) {
        CHECK(item.grouped->Merge(part)) << what << ": " << part.size() << " bytes";
        part = std::string();
      }
      const double value = item.grouped->Compute();
      std::memcpy(bytes.data(), &value, sizeof(value));
    }
    PEPNET_ASSIGN_OR_RETURN(const std::string received, collective->BroadcastFromFirst(bytes, item.metric->name));
    double value = 0;
    CHECK_EQ(received.size(), sizeof(value)) << item.metric->name;
    std::memcpy(&value, received.data(), sizeof(value));
    return value;
  }

  // Sums counts and sums over the workers.
  Status Merge(Collective* collective) {
    std::vector<int64_t> all = counts;
    all.push_back(loss_rows);
    PEPNET_RETURN_IF_ERROR(collective->AllreduceSum(std::span<int64_t>(all), "metric counts"));
    if (all.back() != loss_rows * collective->count()) {
      return absl::InternalError(absl::StrCat("the workers evaluated different global batches: this one saw ",
                                              loss_rows, " rows, all ", collective->count(), " together ", all.back()));
    }
    counts.assign(all.begin(), all.end() - 1);
    return collective->AllreduceSum(std::span<double>(sums), "metric sums");
  }
};

MetricSet::MetricSet(const JobConfig* config) : state_(std::make_unique<State>()) {
  state_->config = config;
  size_t counts = 0, sums = 0;
  for (size_t t = 0; t < config->model.towers.size(); ++t) {
    const Tower& tower = config->model.towers[t];
    for (const Metric& metric : tower.metrics) {
      State::Item item{&metric, static_cast<int>(t), counts, sums, {}, nullptr};
      switch (metric.kind) {
        case MetricKind::kAuc:
          item.thresholds = AucThresholds(metric.thresholds);
          counts += AucCounts(item.thresholds.size());
          break;
        case MetricKind::kGroupedAuc:
          CHECK_GE(metric.grouping_feature, 0) << metric.name;
          item.grouped = std::make_unique<GroupedAuc>();
          break;
        case MetricKind::kAccuracy:
          counts += 2;
          break;
        case MetricKind::kMeanAbsoluteError:
        case MetricKind::kMeanSquaredError:
          counts += 1;
          sums += 1;
          break;
      }
      state_->items.push_back(std::move(item));
    }
    for (const Loss& loss : tower.losses) {
      if (state_->losses.emplace(loss.name, sums).second) ++sums;
    }
  }
  state_->counts.assign(counts, 0);
  state_->sums.assign(sums, 0.0);
}

MetricSet::~MetricSet() = default;

void MetricSet::Add(const Batch& batch, const std::vector<std::vector<float>>& scores) {
  if (batch.rows == 0) return;
  const Model& model = state_->config->model;
  CHECK_EQ(scores.size(), model.towers.size());
  for (const State::Item& item : state_->items) {
    const Tower& tower = model.towers[item.tower];
    const LabelColumn& label = batch.labels[tower.label];
    const TowerScores tower_scores = ScoresOfTower(tower, label, scores[item.tower], batch.rows);
    int64_t* const counts = state_->counts.data() + item.counts;
    switch (item.metric->kind) {
      case MetricKind::kAuc:
        CountForAuc(item.thresholds, label, tower_scores, batch.rows, counts);
        break;
      case MetricKind::kGroupedAuc:
        state_->AddToGroupedAuc(item, batch, label, tower_scores);
        break;
      case MetricKind::kAccuracy:
        counts[0] += CountRight(label, tower_scores, batch.rows, item.metric->threshold, tower.num_class);
        counts[1] += batch.rows;
        break;
      case MetricKind::kMeanAbsoluteError:
      case MetricKind::kMeanSquaredError:
        state_->sums[item.sums] +=
            SumErrors(label, tower_scores, batch.rows, item.metric->kind == MetricKind::kMeanSquaredError);
        counts[0] += batch.rows;
        break;
    }
  }
}

void MetricSet::AddLosses(const std::vector<std::string>& names, const std::vector<double>& values,
                          int64_t global_rows) {
  CHECK_EQ(names.size(), values.size());
  for (size_t i = 0; i < names.size(); ++i) {
    const auto found = state_->losses.find(names[i]);
    CHECK(found != state_->losses.end()) << "loss " << names[i] << " is not in the config";
    state_->sums[found->second] += values[i] * static_cast<double>(global_rows);
  }
  state_->loss_rows += global_rows;
}

StatusOr<std::map<std::string, double>> MetricSet::Finish(Collective* collective) {
  if (collective != nullptr) {
    PEPNET_RETURN_IF_ERROR(Annotate(state_->Merge(collective), "merging the metrics"));
  }
  const auto mean = [](double sum, int64_t rows) {
    return rows > 0 ? sum / static_cast<double>(rows) : std::numeric_limits<double>::quiet_NaN();
  };
  const bool first = collective == nullptr || collective->index() == 0;
  std::map<std::string, double> values;
  for (const State::Item& item : state_->items) {
    const int64_t* counts = state_->counts.data() + item.counts;
    double value = 0;
    switch (item.metric->kind) {
      case MetricKind::kAuc:
        value = AucOfCounts(item.thresholds.size(), counts);
        if (const std::string one = OnlyClass(item.thresholds.size(), counts); !one.empty() && first) {
          LOG(WARNING) << item.metric->name << " has no value: every label is " << one
                       << "; it is written as 0, as the reference does";
        }
        break;
      case MetricKind::kGroupedAuc: {
        auto grouped = state_->GroupedAucValue(item, collective);
        if (!grouped.ok()) return Annotate(grouped.status(), "merging the metrics");
        value = *grouped;
        break;
      }
      case MetricKind::kAccuracy:
        value = counts[1] > 0 ? static_cast<double>(counts[0]) / static_cast<double>(counts[1]) : 0;
        break;
      case MetricKind::kMeanAbsoluteError:
      case MetricKind::kMeanSquaredError:
        value = mean(state_->sums[item.sums], counts[0]);
        break;
    }
    values[item.metric->name] = value;
  }
  for (const auto& [name, index] : state_->losses) values[name] = mean(state_->sums[index], state_->loss_rows);
  return values;
}

}  // namespace pepnet

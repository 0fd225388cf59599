#include "worker/metrics/metrics.h"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <span>

#include "common/base/logging.h"
#include "common/job_config/evaluation_metrics.h"
#include "worker/metrics/grouped_auc.h"
#include "worker/metrics/metric_counts.h"
#include "worker/metrics/sliced_sums.h"
#include "worker/metrics/slices.h"
#include "worker/metrics/xauc.h"

namespace pepnet {

// The sums of all metrics and losses lie in one vector, so that merging takes one allreduce.
//   metric   what MetricSums counts
//   loss     the loss of each global batch times its rows
struct MetricSet::State {
  struct Item {
    const Metric* metric;
    std::string name;
    int tower;
    bool in_task_space = false;         // of the rows in the tower's task space alone
    size_t sums = 0;                    // where its numbers begin
    std::optional<MetricSums> counted;  // else rows
    std::unique_ptr<ScoredRows> rows;   // of a metric that needs all rows in one place
  };

  const JobConfig* config;
  std::vector<Item> items;
  std::map<std::string, size_t> losses;  // name -> index into sums
  std::vector<double> sums;
  int64_t loss_rows = 0;  // rows of all global batches, the same on every worker
  int64_t batches = 0;    // global batches so far, the same on every worker

  // Rows of one key are measured together: those of a group, of a batch, or all of them.
  void AddRows(const Item& item, const Batch& batch, const LabelColumn& label,
               const TowerScores& scores) {
    const Metric& metric = *item.metric;
    std::vector<int64_t> keys(static_cast<size_t>(batch.rows), metric.in_batch ? batches : 0);
    if (metric.grouping_feature >= 0) keys = FirstIds(batch, metric.grouping_feature, /*none=*/0);
    for (int64_t row = 0; row < batch.rows; ++row) {
      item.rows->Add(keys[row], scores.One(row), label.values[row]);
    }
  }

  // Counts the rows whose indicator is positive, as if the batch had no others.
  static void CountInTaskSpace(const Item& item, const Tower& tower, const Batch& batch,
                               const TowerScores& scores, double* sums) {
    const std::vector<float>& indicator = batch.labels[tower.task_space_indicator].values;
    LabelColumn labels;
    std::vector<float> of_rows;
    for (int64_t row = 0; row < batch.rows; ++row) {
      if (!(indicator[row] > 0)) continue;
      labels.values.push_back(batch.labels[tower.label].values[row]);
      const float* const first = scores.scores + row * scores.width;
      of_rows.insert(of_rows.end(), first, first + scores.width);
    }
    const auto rows = static_cast<int64_t>(labels.values.size());
    item.counted->Add(tower, labels, {of_rows.data(), scores.width}, rows, sums);
  }

  // The metric, and of a grouped AUC also the mean by impressions.
  using RowValues = std::array<double, 2>;
  static RowValues ValuesOfRows(const Item& item) {
    if (item.metric->kind == MetricKind::kGroupedAuc) {
      const GroupedAucs values = GroupedAuc(item.rows.get());
      return {values.mean, values.by_rows};
    }
    return {MeanXauc(item.rows.get(), /*weighted=*/item.metric->kind == MetricKind::kGroupedXauc),
            0};
  }

  // Why there is no such value, on worker 0.
  static const char* WhyNone(const Item& item) {
    if (item.rows->Sorted().empty()) return "no rows";
    if (item.rows->HasNanScore()) return "a prediction is NaN";
    return item.metric->kind == MetricKind::kGroupedAuc ? kNoGroupHasBoth
                                                        : "no two rows are compared";
  }

  // Worker 0 gathers the rows, computes, and tells the others.
  StatusOr<RowValues> MergedValuesOfRows(const Item& item, Collective* collective) const {
    if (collective == nullptr) return ValuesOfRows(item);
    PEPNET_RETURN_IF_ERROR(item.rows->GatherToFirst(collective, "rows of " + item.name));
    RowValues values = {};
    // Doubles travel as bytes, so that all workers have the same bits.
    std::string bytes(sizeof(values), '\0');
    if (collective->index() == 0) {
      values = ValuesOfRows(item);
      std::memcpy(bytes.data(), values.data(), sizeof(values));
    }
    PEPNET_ASSIGN_OR_RETURN(const std::string received,
                            collective->BroadcastFromFirst(bytes, item.name));
    CHECK_EQ(received.size(), sizeof(values)) << item.name;
    std::memcpy(values.data(), received.data(), sizeof(values));
    return values;
  }

  // Sums over the workers.
  Status Merge(Collective* collective) {
    int64_t all = loss_rows;
    // Every worker counts the rows of all global batches itself, so the sum must be `count` times
    // its own: anything else means that workers saw other batches, and sums over them would be of
    // no evaluation.
    PEPNET_RETURN_IF_ERROR(collective->AllreduceSum(std::span<int64_t>(&all, 1), "metric counts"));
    if (all != loss_rows * collective->count()) {
      return absl::InternalError(
          absl::StrCat("the workers evaluated different global batches: this one saw ", loss_rows,
                       " rows, all ", collective->count(), " together ", all));
    }
    return collective->AllreduceSum(std::span<double>(sums), "metric sums");
  }
};

// Places in `sums` are given out in the order of the config, which all workers share.
MetricSet::MetricSet(const JobConfig* config) : state_(std::make_unique<State>()) {
  state_->config = config;
  size_t sums = 0;
  for (size_t t = 0; t < config->model.towers.size(); ++t) {
    const Tower& tower = config->model.towers[t];
    for (const Metric& metric : tower.metrics) {
      State::Item item{&metric,      metric.name, static_cast<int>(t), false, sums,
                       std::nullopt, nullptr};
      if (TypeOf(metric.kind).needs_rows) {
        if (TypeOf(metric.kind).grouping_field != nullptr) {
          CHECK_GE(metric.grouping_feature, 0) << metric.name;
        }
        item.rows = std::make_unique<ScoredRows>();
      } else {
        item.counted.emplace(&metric, tower.num_class);
        sums += item.counted->size();
      }
      state_->items.push_back(std::move(item));
      const std::string in_space = NameInTaskSpace(tower, metric);
      if (in_space.empty()) continue;
      State::Item same{&metric, in_space, static_cast<int>(t), true, sums, std::nullopt, nullptr};
      same.counted.emplace(&metric, tower.num_class);
      sums += same.counted->size();
      state_->items.push_back(std::move(same));
    }
    for (const Loss& loss : tower.losses) {
      if (state_->losses.emplace(loss.name, sums).second) ++sums;
    }
  }
  state_->sums.assign(sums, 0.0);
}

MetricSet::~MetricSet() = default;

void MetricSet::Add(const Batch& batch, const std::vector<std::vector<float>>& scores) {
  // A batch without rows here counts as well: xauc in_batch tells batches apart by this number,
  // which must be the same on all workers.
  ++state_->batches;
  if (batch.rows == 0) return;
  const Model& model = state_->config->model;
  CHECK_EQ(scores.size(), model.towers.size());
  for (const State::Item& item : state_->items) {
    const Tower& tower = model.towers[item.tower];
    const LabelColumn& label = batch.labels[tower.label];
    const TowerScores tower_scores = ScoresOfTower(tower, label, scores[item.tower], batch.rows);
    if (item.rows != nullptr) {
      state_->AddRows(item, batch, label, tower_scores);
    } else {
      double* const sums = state_->sums.data() + item.sums;
      if (item.in_task_space) {
        State::CountInTaskSpace(item, tower, batch, tower_scores, sums);
      } else {
        item.counted->Add(tower, label, tower_scores, batch.rows, sums);
      }
    }
  }
}

// The sum over workers of (part of the loss) times (global rows) is that over batches of loss times
// rows; divided by all rows it is the mean weighted by rows.
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
    if (item.rows == nullptr) {
      const double* sums = state_->sums.data() + item.sums;
      if (item.in_task_space) {  // pepnet's own, so that it need not be 0 without a value
        const WindowValue value = ValueOfWindow(*item.counted, sums);
        values[item.name] = value.value.value_or(std::numeric_limits<double>::quiet_NaN());
        if (first && !value.value.has_value()) {
          LOG(WARNING) << item.name << " has no value: " << value.why_none;
        }
        continue;
      }
      values[item.name] = item.counted->Value(sums);
      // One worker says it: all have the same sums.
      if (const std::string reason = item.counted->WhyNoValue(sums); first && !reason.empty()) {
        LOG(WARNING) << item.name << " has no value: " << reason
                     << "; it is written as 0, as the reference does";
      }
      continue;
    }
    const auto of_rows = state_->MergedValuesOfRows(item, collective);
    if (!of_rows.ok()) return Annotate(of_rows.status(), "merging the metrics");
    values[item.name] = (*of_rows)[0];
    if (first && std::isnan((*of_rows)[0])) {
      LOG(WARNING) << item.name << " has no value: " << State::WhyNone(item);
    }
    if (const std::string name = NameByImpressions(*item.metric); !name.empty()) {
      values[name] = (*of_rows)[1];
    }
  }
  for (const auto& [name, index] : state_->losses) {
    values[name] = mean(state_->sums[index], state_->loss_rows);
  }
  return values;
}

}  // namespace pepnet

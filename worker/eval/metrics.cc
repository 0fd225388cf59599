#include "worker/eval/metrics.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <span>

#include "common/base/logging.h"
#include "worker/eval/grouped_auc.h"

namespace pepnet {
namespace {

// Index of the last threshold <= score, -1 if there is none (also for NaN). Thresholds are nearly i / (n - 1), so a
// direct guess is at most a step or two away.
int ThresholdIndex(const std::vector<float>& thresholds, float score) {
  const int n = static_cast<int>(thresholds.size());
  if (!(score >= thresholds[0])) return -1;
  if (score >= thresholds[n - 1]) return n - 1;
  int k = static_cast<int>(score * static_cast<float>(n - 1));
  while (k + 1 < n && thresholds[k + 1] <= score) ++k;
  while (thresholds[k] > score) --k;
  return k;
}

bool Positive(const LabelColumn& label, int64_t row) { return label.values[row] == 1.0f; }

// What the metrics of one tower read for each row.
//   num_class 1: one score.   num_class 2: probs1 alone, or both probabilities.   more: all probabilities.
struct TowerScores {
  const float* scores;
  int width;  // floats per row

  // The score of class 1.
  float One(int64_t row) const { return scores[row * width + (width == 2 ? 1 : 0)]; }

  // Predicted class; a tie goes to the lowest, as in torch.
  int Class(int64_t row, double threshold, int num_class) const {
    if (width == 1) return One(row) > static_cast<float>(num_class == 1 ? threshold : 0.5) ? 1 : 0;
    const float* first = scores + row * width;
    int best = 0;
    for (int c = 1; c < width; ++c) {
      if (first[c] > first[best]) best = c;
    }
    return best;
  }
};

}  // namespace

// step = 1 / (n - 1) in float32; t_i = step i in the lower half, 1 - step (n - 1 - i) in the upper, each rounded once.
// (torch uses a fused multiply-add there on GPUs and on CPUs with AVX2, but not on older CPUs, where 15 of 200
// thresholds come out one bit off.) In double both expressions are exact before they are rounded.
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

// TPR_k = true_positives_k / positives, FPR_k = false_positives_k / negatives, an empty class has rate 0.
// AUC = sum over k from n - 1 down to 1 of (FPR_{k-1} - FPR_k) (TPR_{k-1} + TPR_k) / 2
double BinnedAuc(const std::vector<int64_t>& true_positives, const std::vector<int64_t>& false_positives,
                 int64_t positives, int64_t negatives) {
  CHECK_EQ(true_positives.size(), false_positives.size());
  if (positives == 0 || negatives == 0) return 0;
  double area = 0;  // of the curve in counts: exact until the last division for up to 2^26 rows
  for (size_t k = true_positives.size(); k-- > 1;) {
    area += static_cast<double>(false_positives[k - 1] - false_positives[k]) *
            (static_cast<double>(true_positives[k - 1]) + static_cast<double>(true_positives[k])) / 2;
  }
  return area / (static_cast<double>(positives) * static_cast<double>(negatives));
}

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

  void AddToAuc(const Item& item, const Batch& batch, const LabelColumn& label, const TowerScores& scores) {
    const size_t bins = item.thresholds.size() + 1;
    int64_t* by_class[2] = {&counts[item.counts + bins], &counts[item.counts]};
    for (int64_t row = 0; row < batch.rows; ++row) {
      ++by_class[Positive(label, row)][ThresholdIndex(item.thresholds, scores.One(row)) + 1];
    }
  }

  void AddToGroupedAuc(const Item& item, const Batch& batch, const LabelColumn& label, const TowerScores& scores) {
    const IdColumn& column = batch.ids[item.metric->grouping_feature];
    CHECK_EQ(static_cast<int64_t>(column.offsets.size()), batch.rows + 1) << item.metric->name;
    for (int64_t row = 0; row < batch.rows; ++row) {
      const bool has_id = column.offsets[row] < column.offsets[row + 1];
      item.grouped->Add(has_id ? column.ids[column.offsets[row]] : 0, scores.One(row), Positive(label, row));
    }
  }

  void AddToAccuracy(const Item& item, const Batch& batch, const LabelColumn& label, const TowerScores& scores) {
    const int num_class = config->model.towers[item.tower].num_class;
    int64_t right = 0;
    for (int64_t row = 0; row < batch.rows; ++row) {
      right += label.values[row] == static_cast<float>(scores.Class(row, item.metric->threshold, num_class)) ? 1 : 0;
    }
    counts[item.counts] += right;
    counts[item.counts + 1] += batch.rows;
  }

  void AddToError(const Item& item, const Batch& batch, const LabelColumn& label, const TowerScores& scores) {
    const bool squared = item.metric->kind == MetricKind::kMeanSquaredError;
    double sum = 0;
    for (int64_t row = 0; row < batch.rows; ++row) {
      const double error = static_cast<double>(scores.One(row)) - static_cast<double>(label.values[row]);
      sum += squared ? error * error : std::fabs(error);
    }
    sums[item.sums] += sum;
    counts[item.counts] += batch.rows;
  }

  double AucValue(const Item& item) const {
    const size_t n = item.thresholds.size();
    const int64_t* by_class[2] = {&counts[item.counts + n + 1], &counts[item.counts]};
    std::vector<int64_t> reached[2];  // rows of the class with score >= threshold k
    int64_t total[2];
    for (int c = 0; c < 2; ++c) {
      reached[c].resize(n);
      int64_t rows = 0;
      for (size_t k = n; k-- > 0;) reached[c][k] = rows += by_class[c][k + 1];
      total[c] = rows + by_class[c][0];
    }
    return BinnedAuc(reached[1], reached[0], total[1], total[0]);
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
                                              loss_rows, " rows, all ", collective->count(), " together ",
                                              all.back()));
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
          counts += 2 * (item.thresholds.size() + 1);
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
    const std::vector<float>& values = scores[item.tower];
    const LabelColumn& label = batch.labels[tower.label];
    const int width = static_cast<int>(static_cast<int64_t>(values.size()) / batch.rows);
    CHECK_EQ(static_cast<int64_t>(values.size()), width * batch.rows) << item.metric->name;
    CHECK(width == tower.num_class || (width == 1 && tower.num_class == 2)) << item.metric->name << ": " << width;
    CHECK_EQ(static_cast<int64_t>(label.values.size()), batch.rows) << item.metric->name;
    const TowerScores tower_scores{values.data(), width};
    switch (item.metric->kind) {
      case MetricKind::kAuc:
        state_->AddToAuc(item, batch, label, tower_scores);
        break;
      case MetricKind::kGroupedAuc:
        state_->AddToGroupedAuc(item, batch, label, tower_scores);
        break;
      case MetricKind::kAccuracy:
        state_->AddToAccuracy(item, batch, label, tower_scores);
        break;
      case MetricKind::kMeanAbsoluteError:
      case MetricKind::kMeanSquaredError:
        state_->AddToError(item, batch, label, tower_scores);
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
  std::map<std::string, double> values;
  for (const State::Item& item : state_->items) {
    const int64_t* counts = state_->counts.data() + item.counts;
    double value = 0;
    switch (item.metric->kind) {
      case MetricKind::kAuc:
        value = state_->AucValue(item);
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

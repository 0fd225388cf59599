#include "worker/metrics/bootstrap.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/mutant.h"
#include "common/base/random.h"
#include "common/base/thread_team.h"
#include "worker/metrics/metric_counts.h"
#include "worker/metrics/slices.h"

namespace pepnet {
namespace {

constexpr double kTail = 0.025;  // below and above the interval

// Of Poisson(1), by inversion: the number of k with word >= 2^32 * P(draws <= k). Beyond 12 draws,
// which one row in 10^10 has, 12 are taken.
class PoissonOne {
 public:
  PoissonOne() {
    // P(k) = e^-1 / k!.
    double probability = std::exp(-1.0), sum = 0;
    for (int k = 0; k < kMost; ++k) {
      sum += probability;
      bounds_[k] = static_cast<uint64_t>(sum * 0x1p32);
      probability /= k + 1;
    }
  }
  int Draws(uint32_t word) const {
    int k = 0;
    while (k < kMost && word >= bounds_[k]) ++k;
    return k;
  }

 private:
  static constexpr int kMost = 12;
  uint64_t bounds_[kMost];
};

// The figures of one round.
struct Values {
  std::optional<double> auc, logloss, pcoc;
};

// Of kTogether rounds from round kTogether * group on, in one pass over the rows in ascending
// score: Philox gives four words at a time.
constexpr int kTogether = 4;
std::array<Values, kTogether> DrawnValues(const std::vector<ScoredRow>& rows,
                                          const std::vector<double>& losses, uint64_t seed,
                                          int group) {
  static const PoissonOne poisson;
  const uint64_t key = RandomKey(seed, RandomPurpose::kBootstrap, static_cast<uint64_t>(group));
  struct Sums {
    double positives = 0, negatives = 0, pairs_won = 0, loss = 0, predicted = 0;
    double tied[2] = {0, 0};
  } sums[kTogether];
  for (size_t i = 0; i < rows.size();) {
    const float score = rows[i].score;
    for (; i < rows.size() && rows[i].score == score; ++i) {
      // The counter is the number of the row in the input, so a row is drawn equally often whatever
      // worker read it (law L2); the key holds seed and group of rounds.
      const std::array<uint32_t, 4> words = Philox4x32(key, 0, static_cast<uint64_t>(rows[i].key));
      for (int r = 0; r < kTogether; ++r) {
        const double draws = poisson.Draws(words[r]);
        sums[r].tied[rows[i].positive()] += draws;
        sums[r].loss += draws * losses[i];
        sums[r].predicted += draws * score;
      }
    }
    for (Sums& one : sums) {
      // The count is that of ExactAuc(), with a row that was drawn k times counting k times.
      one.pairs_won += one.tied[1] * (one.negatives + 0.5 * one.tied[0]);
      one.negatives += one.tied[0];
      one.positives += one.tied[1];
      one.tied[0] = one.tied[1] = 0;
    }
  }
  std::array<Values, kTogether> values;
  for (int r = 0; r < kTogether; ++r) {
    const Sums& one = sums[r];
    const double drawn = one.positives + one.negatives;
    if (drawn > 0) values[r].logloss = one.loss / drawn;
    if (one.positives > 0) values[r].pcoc = one.predicted / one.positives;
    if (one.positives > 0 && one.negatives > 0) {
      values[r].auc = one.pairs_won / (one.positives * one.negatives);
    }
  }
  return values;
}

// Between two neighbours of the sorted values it is linear.
double Quantile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

std::optional<Interval> IntervalOf(const std::optional<double>& value,
                                   const std::vector<Values>& rounds,
                                   std::optional<double> Values::*member) {
  std::vector<double> drawn;
  for (const Values& round : rounds) {
    if ((round.*member).has_value()) drawn.push_back(*(round.*member));
  }
  if (!value.has_value() || drawn.empty()) return std::nullopt;
  std::sort(drawn.begin(), drawn.end());
  return Interval{*value, Quantile(drawn, kTail), Quantile(drawn, 1 - kTail)};
}

}  // namespace

TaskIntervals DrawIntervals(const std::string& task, std::vector<ScoredRow> rows, int rounds,
                            uint64_t seed, int threads) {
  TaskIntervals intervals{task, rounds, {}, {}, {}};
  // By score, and within a score by number, so that sums have one order; scores that are NaN come
  // last.
  std::sort(rows.begin(), rows.end(), [](const ScoredRow& a, const ScoredRow& b) {
    if (std::isnan(a.score) || std::isnan(b.score)) {
      return std::isnan(b.score) && !std::isnan(a.score);
    }
    return a.score != b.score ? a.score < b.score : a.key < b.key;
  });
  const SliceQuality quality = MeasureSlice(rows);
  if (!quality.logloss.has_value()) return intervals;  // no rows, or a score that is NaN
  std::vector<double> losses;
  losses.reserve(rows.size());
  for (const ScoredRow& row : rows) losses.push_back(LogLossOf(row));
  std::vector<Values> drawn(rounds);
  ThreadTeam team(threads, "bootstrap");
  // Each group of rounds is computed by one thread alone and has a place of its own: results do not
  // depend on the number of threads.
  team.Run([&](int member) {
    for (int group = member; group * kTogether < rounds; group += team.size()) {
      const std::array<Values, kTogether> values = DrawnValues(rows, losses, seed, group);
      const int first = group * kTogether;
      std::copy_n(values.begin(), std::min(kTogether, rounds - first), drawn.begin() + first);
    }
  });
  intervals.auc = IntervalOf(quality.auc, drawn, &Values::auc);
  intervals.logloss = IntervalOf(quality.logloss, drawn, &Values::logloss);
  intervals.pcoc = IntervalOf(quality.pcoc, drawn, &Values::pcoc);
  return intervals;
}

BootstrapSet::BootstrapSet(const JobConfig* config, int rounds, uint64_t seed)
    : config_(config), rounds_(rounds), seed_(seed), tasks_(config->model.towers.size()) {}

void BootstrapSet::Add(const Batch& batch, const std::vector<std::vector<float>>& scores) {
  const int64_t first =
      rows_before_ + (MutantActive(Mutant::kBootstrapByLocalRow) ? 0 : batch.first_row);
  rows_before_ += batch.global_rows;
  if (rounds_ == 0 || batch.rows == 0) return;
  for (size_t t = 0; t < tasks_.size(); ++t) {
    const Tower& tower = config_->model.towers[t];
    if (!HasScore(tower)) continue;
    const LabelColumn& label = batch.labels[tower.label];
    const TowerScores of_tower = ScoresOfTower(tower, label, scores[t], batch.rows);
    for (int64_t row = 0; row < batch.rows; ++row) {
      tasks_[t].Add(first + row, of_tower.One(row), Positive(label, row));
    }
  }
}

StatusOr<std::vector<TaskIntervals>> BootstrapSet::Finish(Collective* collective, int threads) {
  std::vector<TaskIntervals> intervals;
  if (rounds_ == 0) return intervals;
  for (size_t t = 0; t < tasks_.size(); ++t) {
    if (!HasScore(config_->model.towers[t])) continue;
    PEPNET_RETURN_IF_ERROR(tasks_[t].GatherToFirst(
        collective, absl::StrCat("rows of ", config_->model.towers[t].name)));
  }
  if (collective->index() != 0) return intervals;
  for (size_t t = 0; t < tasks_.size(); ++t) {
    const Tower& tower = config_->model.towers[t];
    if (!HasScore(tower)) continue;
    const std::span<const ScoredRow> rows = tasks_[t].Sorted();
    intervals.push_back(
        DrawIntervals(tower.name, {rows.begin(), rows.end()}, rounds_, seed_, threads));
    // A task's rows are freed before those of the next are copied.
    tasks_[t] = {};
  }
  return intervals;
}

}  // namespace pepnet

#include "worker/explain/feature_importance.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log_functions.h"
#include "common/base/mutant.h"
#include "common/base/random.h"
#include "common/base/screen.h"
#include "worker/metrics/metric_counts.h"
#include "worker/metrics/slices.h"
#include "worker/sparse/forward_inputs.h"

namespace pepnet {
namespace {

constexpr int64_t kNoDomain = -1;

// Features that are permuted together.
struct Unit {
  std::string name;
  std::vector<size_t> features;
};

// Sequences of one group belong together element by element (an item, its price, its age): with one
// of them permuted alone, elements would be mixed that no data hold.
std::vector<Unit> UnitsOf(const JobConfig& config) {
  // By feature: the smallest feature that it shares a sequence group with, directly or through
  // others.
  std::vector<size_t> root(config.features.size());
  std::iota(root.begin(), root.end(), size_t{0});
  std::map<size_t, std::string> group_names;
  for (const SequenceGroup& group : config.model.sequence_groups) {
    size_t smallest = config.features.size();
    // Groups that share a feature join into one unit: dealing out one of them alone would tear the
    // other's sequences apart.
    for (const int leaf : group.sequence) {
      smallest = std::min(smallest, root[config.leaves[leaf].feature]);
    }
    for (const int leaf : group.sequence) {
      const size_t joined = root[config.leaves[leaf].feature];
      std::replace(root.begin(), root.end(), joined, smallest);
    }
    if (group.sequence.size() > 1) group_names.emplace(smallest, group.name);
  }
  std::vector<Unit> units;
  std::map<size_t, size_t> unit_of_root;
  for (size_t f = 0; f < config.features.size(); ++f) {
    if (!config.features[f].is_read) continue;
    const auto [place, is_new] = unit_of_root.emplace(root[f], units.size());
    if (is_new) units.push_back({config.features[f].name, {}});
    units[place->second].features.push_back(f);
  }
  for (Unit& unit : units) {
    if (unit.features.size() > 1) unit.name = group_names[root[unit.features[0]]];
  }
  return units;
}

// The scores of all rows, by task; the key of a row is its domain.
class Scores {
 public:
  explicit Scores(const JobConfig* config) : config_(config), tasks_(config->model.towers.size()) {}

  void Add(const Batch& batch, const std::vector<int64_t>& keys,
           const std::vector<ModelOutput>& outputs) {
    const std::vector<ModelOutput> scores = SelectMetricInputs(*config_, batch, outputs);
    for (size_t t = 0; t < tasks_.size(); ++t) {
      const Tower& tower = config_->model.towers[t];
      if (!HasScore(tower)) continue;
      const LabelColumn& label = batch.labels[tower.label];
      const TowerScores of_tower = ScoresOfTower(tower, label, scores[t].values, batch.rows);
      for (int64_t row = 0; row < batch.rows; ++row) {
        tasks_[t].Add(keys.empty() ? kNoDomain : keys[row], of_tower.One(row),
                      Positive(label, row));
      }
    }
  }

  // Worker 0: as Importance::base.
  StatusOr<std::vector<TaskQuality>> Measure(Collective* collective) {
    std::vector<TaskQuality> qualities;
    for (size_t t = 0; t < tasks_.size(); ++t) {
      const Tower& tower = config_->model.towers[t];
      if (!HasScore(tower)) continue;
      PEPNET_RETURN_IF_ERROR(
          tasks_[t].GatherToFirst(collective, absl::StrCat("scores of ", tower.name)));
      if (collective->index() != 0) continue;
      // The rows come sorted by domain and then by score; for the AUC over all they are sorted by
      // score alone.
      const std::span<const ScoredRow> sorted = tasks_[t].Sorted();
      std::vector<ScoredRow> all(sorted.begin(), sorted.end());
      SortByScore(&all);
      qualities.push_back(Quality(tower.name, std::nullopt, all));
      std::vector<std::span<const ScoredRow>> domains;
      for (size_t begin = 0, end = 0; begin < sorted.size(); begin = end) {
        while (end < sorted.size() && sorted[end].key == sorted[begin].key) ++end;
        if (sorted[begin].key != kNoDomain) domains.push_back(sorted.subspan(begin, end - begin));
      }
      // The sort is stable, so that domains of one size keep the order of their keys.
      std::stable_sort(domains.begin(), domains.end(),
                       [](const auto& a, const auto& b) { return a.size() > b.size(); });
      for (const std::span<const ScoredRow> domain : domains) {
        qualities.push_back(Quality(tower.name, DomainName(*config_, domain[0].key), domain));
      }
    }
    return qualities;
  }

 private:
  static TaskQuality Quality(const std::string& task, std::optional<std::string> domain,
                             std::span<const ScoredRow> rows) {
    const SliceQuality measured = MeasureSlice(rows);
    return {task,         std::move(domain), measured.rows, measured.positives,
            measured.auc, measured.logloss};
  }

  const JobConfig* config_;
  std::vector<ScoredRows> tasks_;
};

// Runs the model over all rows, again and again, with one unit of features permuted each time.
// Blocks are spread over the workers; only the cells of the unit, and the scores, travel.
class Explainer {
 public:
  Explainer(const WorkerContext& context, PepnetModel* model, RowBlocks* rows,
            int64_t finished_steps)
      : context_(context),
        config_(*context.config),
        model_(model),
        rows_(*rows),
        finished_steps_(finished_steps),
        inputs_(context.config) {}

  // The quality on all rows; the features of `unit` from where `source` says, null: as they are.
  StatusOr<std::vector<TaskQuality>> Evaluate(const Unit* unit, const KeyedPermutation* source) {
    Scores scores(&config_);
    const int workers = context_.collective->count();
    // By feature of the unit, of all rows as they are.
    std::vector<std::vector<FeatureColumn>> cells;
    for (size_t i = 0; unit != nullptr && i < unit->features.size(); ++i) {
      // GatherFeature() is a collective operation, so every worker comes through here for every
      // feature, with a block of its own or without.
      PEPNET_ASSIGN_OR_RETURN(cells.emplace_back(),
                              GatherFeature(rows_, unit->features[i], context_.collective));
    }
    for (size_t block = context_.collective->index(); block < rows_.blocks.size();
         block += workers) {
      std::vector<FeatureColumn> columns;
      for (size_t i = 0; i < cells.size(); ++i) {
        columns.push_back(
            TakeFrom(rows_, cells[i], config_.features[unit->features[i]], block,
                     [&](int64_t row) { return static_cast<int64_t>((*source)(row)); }));
      }
      // The keys are taken before the feature is permuted, which may be the one that says the
      // domain.
      const std::vector<int64_t> keys = DomainKeys(config_, rows_.blocks[block]);
      PreparedBatch prepared;
      prepared.batch = std::move(rows_.blocks[block]);
      for (size_t i = 0; i < columns.size(); ++i) {
        columns[i].Swap(&prepared.batch, unit->features[i]);
      }
      const Status run = Run(&prepared, keys, &scores);
      // The rows are put back even after an error: they belong to the caller.
      for (size_t i = 0; i < columns.size(); ++i) {
        columns[i].Swap(&prepared.batch, unit->features[i]);
      }
      rows_.blocks[block] = std::move(prepared.batch);
      PEPNET_RETURN_IF_ERROR(run);
    }
    return scores.Measure(context_.collective);
  }

 private:
  Status Run(PreparedBatch* prepared, const std::vector<int64_t>& keys, Scores* scores) {
    // A read-only pull changes no table, so each run sees the same rows of the tables.
    prepared->ids = FindUniqueIds(config_, prepared->batch);
    PEPNET_ASSIGN_OR_RETURN(
        prepared->ticket,
        context_.client->StartPull(prepared->ids, finished_steps_, /*read_only=*/true));
    PEPNET_ASSIGN_OR_RETURN(const ModelInput* input, inputs_.Make(*prepared, context_.client));
    PEPNET_ASSIGN_OR_RETURN(const std::vector<ModelOutput> outputs,
                            model_->Forward(*input, nullptr));
    scores->Add(prepared->batch, keys, outputs);
    return absl::OkStatus();
  }

  const WorkerContext& context_;
  const JobConfig& config_;
  PepnetModel* const model_;
  RowBlocks& rows_;
  const int64_t finished_steps_;
  ForwardInputs inputs_;
};

// The AUC that dealing out costs, summed over the tasks on all rows. It orders the features in
// tables and files.
double Cost(const std::vector<TaskQuality>& base, const FeatureImportance& feature) {
  double cost = 0;
  for (size_t i = 0; i < base.size(); ++i) {
    if (base[i].domain.has_value() || !base[i].auc.has_value()) continue;
    // A feature without an AUC of its own counts as costing nothing.
    cost += *base[i].auc - feature.shuffled[i].auc.value_or(*base[i].auc);
  }
  return cost;
}

// The feature whose first id is the domain, -1: none. Without a label column of domains the first
// feature of the domain group says which domain a row is of.
int DomainFeature(const JobConfig& config) {
  const Model& model = config.model;
  if (model.domain_label >= 0 || !model.domain.has_value() || model.domain->leaves.empty()) {
    return -1;
  }
  const int feature = config.leaves[model.domain->leaves[0]].feature;
  return config.features[feature].bucketizer == Bucketizer::kNone ? -1 : feature;
}

}  // namespace

std::string DomainColumn(const JobConfig& config) {
  if (config.model.domain_label >= 0) return config.data.labels[config.model.domain_label];
  const int feature = DomainFeature(config);
  return feature < 0 ? "" : config.features[feature].name;
}

std::vector<int64_t> DomainKeys(const JobConfig& config, const Batch& batch) {
  if (config.model.domain_label >= 0) return batch.labels[config.model.domain_label].integers;
  const int feature = DomainFeature(config);
  return feature < 0 ? std::vector<int64_t>() : FirstIds(batch, feature, kNoDomain);
}

std::string DomainName(const JobConfig& config, int64_t key) {
  if (const int feature = DomainFeature(config); feature >= 0) {
    if (const std::string* const word = VocabularyWord(config.features[feature], key);
        word != nullptr)
      return *word;
  }
  return absl::StrCat(key);
}

StatusOr<Importance> ExplainFeatures(const WorkerContext& context, PepnetModel* model,
                                     RowBlocks* rows, int64_t finished_steps, uint64_t seed) {
  const RankStatus::Phase phase(context.status(), "importance of the features");
  const JobConfig& config = *context.config;
  Importance importance;
  importance.rows = rows->rows;
  importance.domain_column = DomainColumn(config);
  Explainer explainer(context, model, rows, finished_steps);
  PEPNET_ASSIGN_OR_RETURN(importance.base, explainer.Evaluate(nullptr, nullptr));
  const std::vector<Unit> units = UnitsOf(config);
  const bool draws = context.first() && ProgressIsDrawn();
  for (size_t u = 0; u < units.size(); ++u) {
    if (draws) DrawProgress({absl::StrCat("feature ", u + 1, "/", units.size()), units[u].name});
    const uint64_t chance =
        MutantActive(Mutant::kExplainDealsByWorker) ? seed + context.collective->index() : seed;
    // The permutation is keyed by the unit's name and not by its number: a feature keeps it when
    // others come or go.
    const KeyedPermutation source(
        RandomKey(chance, RandomPurpose::kExplain, HashName(units[u].name)),
        static_cast<uint64_t>(rows->rows));
    FeatureImportance& feature = importance.features.emplace_back();
    feature.name = units[u].name;
    for (const size_t f : units[u].features) feature.features.push_back(config.features[f].name);
    PEPNET_ASSIGN_OR_RETURN(feature.shuffled, explainer.Evaluate(&units[u], &source));
  }
  if (draws) EraseProgress();
  if (!context.first()) return Importance();
  std::stable_sort(importance.features.begin(), importance.features.end(),
                   [&](const auto& a, const auto& b) {
                     return Cost(importance.base, a) > Cost(importance.base, b);
                   });
  return importance;
}

}  // namespace pepnet

#include "worker/model/loss_weight.h"

#include "common/base/log_functions.h"
#include "common/base/mutant.h"

namespace pepnet {
namespace {

// Whether w differs between rows: a tower with `weight` alone has w = 1.
bool HasRowWeights(const Tower& tower) {
  return tower.sample_weight >= 0 || tower.task_space_indicator >= 0;
}

// w of one row before normalisation. Precondition: the batch holds the columns that the tower
// names.
double RowWeight(const Tower& tower, const Batch& batch, int64_t row) {
  double w = 1;
  if (tower.sample_weight >= 0) w = batch.sample_weights[tower.sample_weight][row];
  if (tower.task_space_indicator >= 0) {
    const bool inside = batch.labels[tower.task_space_indicator].values[row] > 0;
    w *= inside ? tower.in_task_space_weight : tower.out_task_space_weight;
  }
  return w;
}

void CheckColumns(const Tower& tower, const Batch& batch) {
  const size_t rows = static_cast<size_t>(batch.rows);
  if (tower.sample_weight >= 0) {
    const size_t column = static_cast<size_t>(tower.sample_weight);
    CheckOrDie(column < batch.sample_weights.size() && batch.sample_weights[column].size() == rows,
               "batch without the sample weights of tower " + tower.name);
  }
  if (tower.task_space_indicator >= 0) {
    const size_t column = static_cast<size_t>(tower.task_space_indicator);
    CheckOrDie(column < batch.labels.size() && batch.labels[column].values.size() == rows,
               "batch without the task space indicator of tower " + tower.name);
  }
}

}  // namespace

LossNormalizers LocalLossNormalizers(const JobConfig& config, const Batch& batch) {
  LossNormalizers local;
  local.rows = static_cast<double>(batch.rows);
  for (const Tower& tower : config.model.towers) {
    double sum = local.rows;
    if (HasRowWeights(tower)) {
      // A batch without rows may come without columns.
      if (batch.rows > 0) CheckColumns(tower, batch);
      sum = 0;
      for (int64_t row = 0; row < batch.rows; ++row) sum += RowWeight(tower, batch, row);
    }
    local.weight_sums.push_back(sum);
  }
  return local;
}

std::vector<double> RowWeights(const Tower& tower, const Batch& batch) {
  std::vector<double> weights;
  if (!HasRowWeights(tower) || batch.rows == 0) return weights;
  CheckColumns(tower, batch);
  for (int64_t row = 0; row < batch.rows; ++row) weights.push_back(RowWeight(tower, batch, row));
  return weights;
}

std::vector<std::vector<float>> RowScales(const JobConfig& config, const Batch& batch,
                                          const LossNormalizers& global) {
  const LossNormalizers& used =
      MutantActive(Mutant::kLocalLossNormalizer) ? LocalLossNormalizers(config, batch) : global;
  CheckOrDie(used.weight_sums.size() == config.model.towers.size(), "one weight sum per tower");
  std::vector<std::vector<float>> scales;
  for (size_t t = 0; t < config.model.towers.size(); ++t) {
    const Tower& tower = config.model.towers[t];
    // An unweighted tower, and one with `weight` alone, has W = n.
    const double loss_normalizer = HasRowWeights(tower) ? used.weight_sums[t] : used.rows;
    // The loss of a global batch whose weights are all zero is 0 instead of a NaN.
    const double factor =
        loss_normalizer == 0 ? 0 : (tower.weighted ? tower.weight : 1.0) / loss_normalizer;
    std::vector<float>& scale =
        scales.emplace_back(static_cast<size_t>(batch.rows), static_cast<float>(factor));
    if (!HasRowWeights(tower)) continue;
    if (batch.rows > 0) CheckColumns(tower, batch);
    for (int64_t row = 0; row < batch.rows; ++row) {
      // The product is rounded to float once, so that a row's scale does not depend on which worker
      // has it.
      scale[row] = static_cast<float>(factor * RowWeight(tower, batch, row));
    }
  }
  return scales;
}

}  // namespace pepnet

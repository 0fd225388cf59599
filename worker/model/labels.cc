#include "worker/model/labels.h"

#include "common/base/log_functions.h"

namespace pepnet {
namespace {

Status CheckPresent(const JobConfig& config, const Batch& batch, int label) {
  const size_t column = static_cast<size_t>(label);
  if (column < batch.labels.size() &&
      batch.labels[column].values.size() == static_cast<size_t>(batch.rows))
    return {};
  return InvalidInput(batch.origin, ": label column '", config.data.labels[column],
                      "' has no value for every row");
}

// Every value is an integer v with 0 <= v < limit.
Status CheckIndex(const JobConfig& config, const Batch& batch, int label, int64_t limit,
                  const std::string& use) {
  PEPNET_RETURN_IF_ERROR(CheckPresent(config, batch, label));
  const std::string& name = config.data.labels[label];
  const std::vector<int64_t>& integers = batch.labels[label].integers;
  if (integers.size() != static_cast<size_t>(batch.rows)) {
    return InvalidInput(batch.origin, ": label column '", name, "' must hold integers, because ",
                        use, " reads it");
  }
  for (int64_t row = 0; row < batch.rows; ++row) {
    if (integers[row] >= 0 && integers[row] < limit) continue;
    return InvalidInput(batch.origin, ": label column '", name, "' is ", integers[row], " in row ",
                        row, " of the batch (counted from 0), but ", use, " expects 0 to ",
                        limit - 1);
  }
  return {};
}

}  // namespace

Status CheckDomains(const JobConfig& config, const Batch& batch) {
  const Model& model = config.model;
  if (model.domain_label < 0) return {};
  return CheckIndex(config, batch, model.domain_label, model.domain_count, "domain_input_name");
}

Status CheckLabels(const JobConfig& config, const Batch& batch) {
  for (const Tower& tower : config.model.towers) {
    PEPNET_RETURN_IF_ERROR(CheckPresent(config, batch, tower.label));
    for (const Loss& loss : tower.losses) {
      if (TypeOf(loss.kind).label != LabelRule::kClass) continue;
      PEPNET_RETURN_IF_ERROR(CheckIndex(config, batch, tower.label, tower.num_class, loss.name));
    }
  }
  return CheckDomains(config, batch);
}

Status CheckLossInput(const JobConfig& config, const ModelInput& input, const char* call) {
  if (input.row_scales == nullptr) CheckOrDie(false, absl::StrCat(call, " needs row scales"));
  return CheckLabels(config, *input.batch);
}

}  // namespace pepnet

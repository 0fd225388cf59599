#include "worker/watch/data_watch.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace pepnet {
namespace {

constexpr int64_t kLeastRows = 100;  // fewer say nothing
// Raw values beyond it rule over the other inputs, which are about 1 or smaller.
constexpr float kWide = 100;

// Labels that a tower of one or two classes learns.
std::vector<int> Targets(const JobConfig& config) {
  std::vector<int> labels;
  for (const Tower& tower : config.model.towers) {
    const bool values = TypeOf(tower.losses.front().kind).label == LabelRule::kNumber;
    if (tower.num_class <= 2 && !values) labels.push_back(tower.label);
  }
  std::sort(labels.begin(), labels.end());
  labels.erase(std::unique(labels.begin(), labels.end()), labels.end());
  return labels;
}

// Whether the values of the feature go into the network as the data have them.
bool IsPlain(const Feature& feature) {
  return feature.is_read && feature.bucketizer == Bucketizer::kNone &&
         feature.normalizer.kind == NormalizerKind::kNone;
}

}  // namespace

DataWatch::DataWatch(const JobConfig* config)
    : config_(config),
      targets_(Targets(*config)),
      positives_(targets_.size()),
      first_(config->features.size()),
      changed_(config->features.size()),
      ranges_(config->features.size()),
      copies_(config, targets_),
      domains_(config, targets_) {}

// Runs on every training batch, so everything here stops costing once it is settled.
void DataWatch::Observe(const Batch& batch) {
  if (batch.rows == 0) {
    copies_.Observe(batch);  // it counts the rows of all workers
    return;
  }
  for (size_t t = 0; t < targets_.size(); ++t) {
    for (const float label : batch.labels[targets_[t]].values) {
      positives_[t] += label == 1.0f ? 1 : 0;
    }
  }
  for (size_t f = 0; f < first_.size(); ++f) {
    const Feature& feature = config_->features[f];
    if (IsPlain(feature)) ranges_[f].Add(batch.values[f]);
    // Features that have changed cost nothing any more; most do within a few rows.
    if (changed_[f] || !feature.is_read) continue;
    int64_t row = 0;
    // The first row that this worker sees is the cell that all others are compared with.
    if (rows_ == 0) first_[f] = CellOf(batch, feature, f, row++);
    for (; row < batch.rows && !changed_[f]; ++row) {
      changed_[f] = !(CellOf(batch, feature, f, row) == first_[f]);
    }
  }
  copies_.Observe(batch);
  domains_.Observe(batch);
  rows_ += batch.rows;
}

void DataWatch::Range::Add(std::span<const float> values) {
  if (values.empty()) return;
  if (!known) low = high = values[0];
  known = true;
  for (const float value : values) {
    // The comparisons are written so that a NaN, for which both are false, changes nothing.
    low = value < low ? value : low;
    high = value > high ? value : high;
  }
}

StatusOr<std::vector<Warning>> DataWatch::Warnings(Collective* collective) const {
  // The observations of one worker. "features": the constant cell of each feature, null if it has
  // changed; "ranges": [low, high], null without values.
  nlohmann::json mine = {{"rows", rows_},
                         {"positives", positives_},
                         {"features", nlohmann::json::array()},
                         {"ranges", nlohmann::json::array()},
                         {"copies", copies_.State()},
                         {"domains", domains_.sums()}};
  for (size_t f = 0; f < first_.size(); ++f) {
    mine["features"].push_back(changed_[f] ? nlohmann::json()
                                           : nlohmann::json({first_[f].ids, first_[f].numbers}));
    const Range& range = ranges_[f];
    mine["ranges"].push_back(range.known ? nlohmann::json({range.low, range.high})
                                         : nlohmann::json());
  }
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> all,
                          collective->GatherToFirst(mine.dump(), "what the data look like"));
  // The gathering is over; what follows needs no other worker.
  std::vector<Warning> warnings;
  if (collective->index() != 0) return warnings;
  std::vector<nlohmann::json> seen;
  for (const std::string& text : all) {
    nlohmann::json one = nlohmann::json::parse(text);
    // Workers that saw no rows say nothing about constants.
    if (one["rows"] > 0) seen.push_back(std::move(one));
  }
  int64_t rows = 0;
  for (const auto& one : seen) rows += one["rows"].get<int64_t>();
  if (rows < kLeastRows) return warnings;
  for (size_t t = 0; t < targets_.size(); ++t) {
    int64_t positives = 0;
    for (const auto& one : seen) positives += one["positives"][t].get<int64_t>();
    if (positives > 0 && positives < rows) continue;
    const std::string& label = config_->data.labels[targets_[t]];
    warnings.push_back(
        {warning_kinds::kLabel, label,
         absl::StrCat("label ", label, " was ", positives == 0 ? "never" : "always", " 1 in ", rows,
                      " rows: nothing can be learnt from it; is it the right column?")});
  }
  std::vector<std::string> copies;
  std::vector<int64_t> domains(domains_.sums().size());
  for (const auto& one : seen) {
    copies.push_back(one["copies"].get<std::string>());
    for (size_t i = 0; i < domains.size(); ++i) domains[i] += one["domains"][i].get<int64_t>();
  }
  for (Warning& warning : copies_.Warnings(copies)) warnings.push_back(std::move(warning));
  for (Warning& warning : domains_.Warnings(domains)) warnings.push_back(std::move(warning));
  for (size_t f = 0; f < first_.size(); ++f) {
    const Feature& feature = config_->features[f];
    if (!feature.is_read) continue;
    const std::string name =
        absl::StrCat("feature ", feature.name, " (column ", feature.column, ")");
    bool constant = true;
    Range range;
    for (const auto& one : seen) {
      // The feature must be constant on every worker, and to the same cell: each may have seen one
      // value of its own.
      constant =
          constant && !one["features"][f].is_null() && one["features"][f] == seen[0]["features"][f];
      if (!one["ranges"][f].is_null()) range.Add(one["ranges"][f].get<std::vector<float>>());
    }
    if (constant) {
      warnings.push_back({warning_kinds::kConstant, feature.name,
                          absl::StrCat(name, " was the same in all of ", rows,
                                       " rows: the model learns nothing from it")});
    } else if (std::max(std::fabs(range.low), std::fabs(range.high)) > kWide) {
      warnings.push_back({warning_kinds::kRange, feature.name,
                          absl::StrFormat("%s had values from %.7g to %.7g, which go into the "
                                          "network as they are: they outweigh the "
                                          "other inputs, and training may diverge or stand still; "
                                          "set a normalizer (log10, zscore, "
                                          "minmax) or boundaries",
                                          name, range.low, range.high)});
    }
  }
  return warnings;
}

}  // namespace pepnet

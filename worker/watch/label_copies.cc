#include "worker/watch/label_copies.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"

namespace pepnet {

// Every pair of a label and a feature is a candidate until a row refutes it, which for nearly all
// happens within the first batch.
LabelCopies::LabelCopies(const JobConfig* config, const std::vector<int>& labels)
    : config_(config) {
  for (const int label : labels) {
    for (size_t f = 0; f < config->features.size(); ++f) {
      if (!config->features[f].is_read) continue;
      // Either class may be the one whose rows hold one cell: empty cells without a purchase, or a
      // constant with one.
      for (const bool side : {false, true}) candidates_.push_back({label, f, side});
    }
  }
}

void LabelCopies::Compare(const Batch& batch, Candidate* candidate) const {
  const Feature& feature = config_->features[candidate->feature];
  const std::vector<float>& label = batch.labels[candidate->label].values;
  for (int64_t row = 0; row < batch.rows && !candidate->known; ++row) {
    if ((label[row] == 1) != candidate->side) continue;
    candidate->cell = CellOf(batch, feature, candidate->feature, row);
    candidate->known = true;
  }
  if (!candidate->known) return;
  // The comparison begins at the first row of the batch, before the row that set the cell: each row
  // speaks for or against it.
  for (int64_t row = 0; row < batch.rows && !candidate->refuted; ++row) {
    const bool one = label[row] == 1;
    const bool same = CellOf(batch, feature, candidate->feature, row) == candidate->cell;
    // The cell and the class must come and go together; one row that has only one of the two is
    // enough.
    candidate->refuted = same != (one == candidate->side);
    ++candidate->rows[one];
  }
}

void LabelCopies::Observe(const Batch& batch) {
  // Rows of all workers are counted, so that all stop at the same batch.
  if (global_rows_ >= kWatchedRows) return;
  global_rows_ += batch.global_rows;
  if (batch.rows == 0) return;
  for (Candidate& candidate : candidates_) {
    if (!candidate.refuted) Compare(batch, &candidate);
  }
}

std::string LabelCopies::State() const {
  // Per candidate: false (refuted), null (nothing compared), or [ids, numbers, rows of label 0, of
  // label 1].
  nlohmann::json state = nlohmann::json::array();
  for (const Candidate& c : candidates_) {
    if (c.refuted) {
      state.push_back(false);
    } else if (!c.known) {
      state.push_back(nullptr);
    } else {
      state.push_back({c.cell.ids, c.cell.numbers, c.rows[0], c.rows[1]});
    }
  }
  return state.dump();
}

std::vector<Warning> LabelCopies::Warnings(const std::vector<std::string>& states) const {
  std::vector<nlohmann::json> seen;
  for (const std::string& state : states) seen.push_back(nlohmann::json::parse(state));
  std::vector<Warning> warnings;
  // Of a feature that copies a label both classes hold one cell: said once.
  const Candidate* named = nullptr;
  for (size_t i = 0; i < candidates_.size(); ++i) {
    const Candidate& candidate = candidates_[i];
    if (named != nullptr && named->label == candidate.label &&
        named->feature == candidate.feature) {
      continue;
    }
    const nlohmann::json* first = nullptr;
    bool refuted = false;
    int64_t rows[2] = {0, 0};
    for (const nlohmann::json& state : seen) {
      const nlohmann::json& one = state[i];
      if (one.is_null()) continue;
      // Two workers with different cells of one class refute the candidate: not all rows of the
      // class hold the same.
      refuted = refuted || !one.is_array() ||
                (first != nullptr && ((*first)[0] != one[0] || (*first)[1] != one[1]));
      if (refuted) break;
      first = &one;
      for (int label : {0, 1}) rows[label] += one[2 + label].get<int64_t>();
    }
    // Both classes must have been seen often: a match in few rows is chance.
    if (refuted || rows[0] < kLeastRows || rows[1] < kLeastRows) continue;
    named = &candidate;
    const Feature& feature = config_->features[candidate.feature];
    const std::string& label = config_->data.labels[candidate.label];
    warnings.push_back(
        {warning_kinds::kLeak, absl::StrCat(feature.name, " ", label),
         absl::StrCat("feature ", feature.name, " (column ", feature.column, ") tells label ",
                      label, ": all rows in which it is ", candidate.side ? 1 : 0,
                      " hold the same value, and no other of the ", rows[0] + rows[1],
                      " rows compared does; when the model is used the label is not known yet, so ",
                      "leave the feature out, or take its value from before the event")});
  }
  return warnings;
}

}  // namespace pepnet

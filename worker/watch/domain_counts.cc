#include "worker/watch/domain_counts.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/text.h"

namespace pepnet {
namespace {

constexpr size_t kNamed = 5;  // domains that a warning lists
// Positives that a domain of the gates alone would have by chance.
constexpr double kLeastExpected = 10;
constexpr int64_t kLeastAlwaysOne = 100;  // rows

}  // namespace

DomainCounts::DomainCounts(const JobConfig* config, std::vector<int> labels)
    : config_(config), labels_(std::move(labels)) {
  const Model& model = config->model;
  if (model.domain_label >= 0) {
    label_ = model.domain_label;
    column_ = config->data.labels[label_];
    count_ = model.domain_count;
    has_towers_ = true;
  } else if (model.domain.has_value() && !model.domain->leaves.empty()) {
    const int f = config->leaves[model.domain->leaves[0]].feature;
    const Feature& feature = config->features[f];
    if (feature.bucketizer != Bucketizer::kNone && !feature.sequence.has_value() &&
        feature.rows <= kMostDomains) {
      feature_ = f;
      column_ = feature.name;
      count_ = feature.rows;
    }
  }
  // Each domain has its rows, then its positives by label, in one vector that is summed over
  // workers.
  sums_.resize(static_cast<size_t>(count_) * (1 + labels_.size()));
}

void DomainCounts::Observe(const Batch& batch) {
  if (count_ == 0) return;
  for (int64_t row = 0; row < batch.rows; ++row) {
    int64_t domain = -1;
    if (label_ >= 0) {
      domain = batch.labels[label_].integers[row];
    } else if (const std::span<const int64_t> ids = batch.RowIds(feature_, row); !ids.empty()) {
      // A cell of several ids counts for its first alone.
      domain = ids[0];
    }
    // A row without domain; out of range is an error elsewhere.
    if (domain < 0 || domain >= count_) continue;
    int64_t* sums = sums_.data() + domain * static_cast<int64_t>(1 + labels_.size());
    ++sums[0];
    for (size_t l = 0; l < labels_.size(); ++l) {
      sums[1 + l] += batch.labels[labels_[l]].values[row] == 1 ? 1 : 0;
    }
  }
}

std::string DomainCounts::NameOf(int64_t domain) const {
  if (feature_ >= 0) {
    const std::string* const word = VocabularyWord(config_->features[feature_], domain);
    if (word != nullptr) return Printable(*word, 40);
  }
  return absl::StrCat(domain);
}

// The first few by name with their rows, the others as a number: a warning stays one line.
std::string DomainCounts::List(const std::vector<int64_t>& domains,
                               const std::vector<int64_t>& sums) const {
  std::string text = domains.size() == 1 ? "domain " : "domains ";
  for (size_t i = 0; i < std::min(domains.size(), kNamed); ++i) {
    const int64_t rows = sums[domains[i] * (1 + labels_.size())];
    absl::StrAppend(&text, i == 0 ? "" : ", ", NameOf(domains[i]));
    if (rows > 0) absl::StrAppend(&text, " (", rows, rows == 1 ? " row)" : " rows)");
  }
  if (domains.size() > kNamed) absl::StrAppend(&text, " and ", domains.size() - kNamed, " more");
  return absl::StrCat(text, " of ", column_);
}

// `sums` of all workers. Domains without rows, then labels that are constant within a domain.
std::vector<Warning> DomainCounts::Warnings(const std::vector<int64_t>& sums) const {
  std::vector<Warning> warnings;
  if (count_ == 0) return warnings;
  const auto width = static_cast<int64_t>(1 + labels_.size());
  int64_t all_rows = 0;
  std::vector<int64_t> empty;
  for (int64_t d = 0; d < count_; ++d) {
    all_rows += sums[d * width];
    if (sums[d * width] == 0) empty.push_back(d);
  }
  if (all_rows == 0) return warnings;
  if (has_towers_ && !empty.empty()) {
    warnings.push_back(
        {warning_kinds::kDomain, column_,
         absl::StrCat(List(empty, sums), " had none of the ", all_rows,
                      " training rows: ", empty.size() == 1 ? "its" : "their",
                      " towers stay as they began and predict ",
                      "nothing of use; correct task_domain_num, ", count_, ", or the data")});
  }
  for (size_t l = 0; l < labels_.size(); ++l) {
    int64_t all_positives = 0;
    for (int64_t d = 0; d < count_; ++d) all_positives += sums[d * width + 1 + l];
    if (all_positives == 0 || all_positives == all_rows) continue;  // a warning of its own
    const double rate = static_cast<double>(all_positives) / static_cast<double>(all_rows);
    std::vector<int64_t> never, always;
    for (int64_t d = 0; d < count_; ++d) {
      const int64_t rows = sums[d * width], positives = sums[d * width + 1 + l];
      // A domain with towers learns from its rows alone, however few; else a rare label may be
      // missing in a small domain by chance.
      const bool tells = has_towers_ || rate * static_cast<double>(rows) >= kLeastExpected;
      if (rows > 0 && positives == 0 && tells) never.push_back(d);
      if (rows >= kLeastAlwaysOne && positives == rows) always.push_back(d);
    }
    const std::string& label = config_->data.labels[labels_[l]];
    const char* learns =
        has_towers_
            ? ": the towers of a domain learn from its rows alone, so they learn a constant; "
            : ": the model learns a constant there; ";
    if (!never.empty()) {
      warnings.push_back({warning_kinds::kDomain, absl::StrCat(column_, " ", label, " never"),
                          absl::StrCat("label ", label, " was never 1 in ", List(never, sums),
                                       learns, "is the label recorded there?")});
    }
    if (!always.empty()) {
      warnings.push_back({warning_kinds::kDomain, absl::StrCat(column_, " ", label, " always"),
                          absl::StrCat("label ", label, " was always 1 in ", List(always, sums),
                                       learns, "are the rows with label 0 missing?")});
    }
  }
  return warnings;
}

}  // namespace pepnet

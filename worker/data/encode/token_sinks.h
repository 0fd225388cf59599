// The tokens of cells become ids of a table (IdSink) or plain values (ValueSink). Internal to this
// folder.
//
// Threads: one each. Failure: the Status tells value and feature; the caller adds file, row and
// column.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/feature.h"
#include "common/job_config/table.h"
#include "worker/data/encode/encode_counts.h"
#include "worker/data/files/cell_text.h"
#include "worker/data/files/column_view.h"

namespace pepnet {

struct EncoderOptions {
  bool farm_hash = false;
  bool clamp_out_of_range = false;
  // FG_NONE: messages then say so, since raw values are the likely reason
  bool finished_ids = false;
};

// An empty cell of a feature, or an empty element of a sequence, reads as this.
struct EmptyCell {
  bool has_default = false;  // false: no id; an error for a raw feature without table
  std::vector<int64_t> ids;
  std::vector<float> weights;  // of weighted features
  std::vector<float> values;   // raw features without table: feature.dim of them
};

// One feature, ready to encode its cells.
struct FeatureRule {
  struct StringHash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  Feature feature;
  std::unordered_map<std::string, int64_t, StringHash, std::equal_to<>> vocabulary;
  EmptyCell empty;
};

// log10: x > a ? log10(x) : b.   zscore: (x - a) / b.   minmax: (x - a) / (b - a).
// expression: its value.
double Normalize(const Normalizer& normalizer, double x);

// The remedy in a message about a cell that is no id: in FG_NONE that it means finished ids, else
// `otherwise`.
std::string ModeRemedy(const EncoderOptions& options, std::string_view otherwise);

// Collects the ids of one feature.
class IdSink {
 public:
  IdSink(const FeatureRule& rule, const EncoderOptions& options, std::vector<int64_t>* ids,
         std::vector<float>* weights)
      : rule_(rule), feature_(rule.feature), options_(options), ids_(*ids), weights_(*weights) {}

  // A token of a text: "id", or "id:weight" of a weighted feature.
  Status AddToken(std::string_view token, bool is_default);
  Status AddIdText(std::string_view token);
  Status AddInteger(int64_t value) {
    return feature_.bucketizer == Bucketizer::kIdentity ? AddInRange(value)
                                                        : AddOtherInteger(value);
  }
  // Precondition: the feature has boundaries.
  Status AddReal(double x);
  // An element of a column of numbers that is not empty.
  Status AddNumber(const ColumnView& view, int64_t element) {
    if (view.kind() == ColumnView::Kind::kReal) return AddReal(view.Real(element));
    int64_t value = 0;
    return view.Integer(element, &value) ? AddInteger(value) : AddIdText(view.ToText(element));
  }
  Status AddWeight(double weight);

  void set_normalize(bool normalize) { normalize_ = normalize; }
  int64_t clamped() const { return clamped_; }
  const VocabularyCounts& vocabulary_counts() const { return vocabulary_counts_; }

 private:
  Status AddInRange(int64_t id) {
    if (!IdsOf(feature_.rows).Contains(id)) return AddOutOfRange(absl::StrCat(id));
    ids_.push_back(id);
    return absl::OkStatus();
  }
  Status AddOtherInteger(int64_t value);
  Status AddOutOfRange(std::string_view id);

  const FeatureRule& rule_;
  const Feature& feature_;
  const EncoderOptions& options_;
  std::vector<int64_t>& ids_;
  std::vector<float>& weights_;
  bool normalize_ = true;
  int64_t clamped_ = 0;
  VocabularyCounts vocabulary_counts_;
};

// Collects the feature.dim values of one cell, or of one element, of a raw feature without table.
class ValueSink {
 public:
  ValueSink(const Feature& feature, bool normalize) : feature_(feature), normalize_(normalize) {}

  void Start(float* out) {
    out_ = out;
    count_ = 0;
  }
  Status AddText(std::string_view token);
  Status Add(double x);
  Status Finish() const;
  int count() const { return count_; }

 private:
  const Feature& feature_;
  const bool normalize_;
  float* out_ = nullptr;
  int count_ = 0;
};

}  // namespace pepnet

#include "worker/data/encode/feature_encoder.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "common/base/hash.h"
#include "common/base/mutant.h"
#include "worker/data/files/number_text.h"

namespace pepnet {
namespace {

// Id of x among boundaries b_1 < ... < b_n: the number of b with b <= x (a choice, spec 3.4).
int64_t BoundaryId(const std::vector<double>& boundaries, double x) {
  return std::upper_bound(boundaries.begin(), boundaries.end(), x) - boundaries.begin();
}

StatusOr<double> RealFromText(std::string_view text) {
  double value = 0;
  switch (ParseReal(text, &value)) {
    case NumberText::kOk:
      return value;
    case NumberText::kTooLarge:
      return InvalidInput(QuoteCell(text), " is too large for a number");
    case NumberText::kNotANumber:
      break;
  }
  return InvalidInput(QuoteCell(text), " is not a finite decimal number");
}

StatusOr<float> FiniteFloat(double value, std::string_view what) {
  const float rounded = static_cast<float>(value);
  if (!std::isfinite(rounded)) {
    return InvalidInput(std::string(what), " ", value, " is not a finite float32; correct the data");
  }
  return rounded;
}

// Calls add(token) for every token of `text`; empty tokens are passed over.
template <typename Add>
Status ForEachToken(std::string_view text, const std::string& separator, Add add) {
  while (!text.empty()) {
    const size_t stop = separator.empty() ? text.size() : std::min(text.find(separator), text.size());
    if (stop > 0) PEPNET_RETURN_IF_ERROR(add(text.substr(0, stop)));
    text.remove_prefix(std::min(text.size(), stop + separator.size()));
  }
  return absl::OkStatus();
}

// Is the column's type one that the feature can read?
Status CheckType(const Feature& feature, const ColumnView& view) {
  if (feature.bucketizer == Bucketizer::kNone) {
    if (!view.is_map()) return absl::OkStatus();
    return InvalidInput("raw feature '", feature.name,
                        "' needs numbers, texts or lists of them, but the column has type ", view.type_name());
  }
  if (view.kind() == ColumnView::Kind::kReal && (feature.bucketizer != Bucketizer::kBoundaries || feature.weighted)) {
    return InvalidInput("feature '", feature.name, "' needs ids as integers or texts, but the column has type ",
                        view.type_name(), "; write the column as integers");
  }
  if (feature.weighted && !view.is_map() && view.kind() != ColumnView::Kind::kText) {
    return InvalidInput("weighted feature '", feature.name,
                        "' needs texts like 'id:weight' or a map, but the column has ", "type ", view.type_name());
  }
  if (!feature.weighted && view.is_map()) {
    return InvalidInput("feature '", feature.name, "' is not weighted, but the column has type ", view.type_name(),
                        "; set weighted: true");
  }
  return absl::OkStatus();
}

Status CheckTypes(const Feature& feature, const RowSelection& selection, const std::vector<ColumnView>& views) {
  for (size_t i = 0; i < views.size(); ++i) {
    PEPNET_RETURN_IF_ERROR(Annotate(CheckType(feature, views[i]),
                                    absl::StrCat("'", *selection.chunks[i].path, "' column '", feature.column, "'")));
  }
  return absl::OkStatus();
}

// An empty text, a null, a list without elements, or a null list.
bool IsEmptyCell(const ColumnView& view, const ColumnView::Range& range) {
  return range.begin == range.end || (!view.is_list() && view.IsEmpty(range.begin));
}

}  // namespace

double Normalize(const Normalizer& normalizer, double x) {
  switch (normalizer.kind) {
    case NormalizerKind::kNone:
      return x;
    case NormalizerKind::kLog10:
      return x > normalizer.a ? std::log10(x) : normalizer.b;
    case NormalizerKind::kZscore:
      return (x - normalizer.a) / normalizer.b;
    case NormalizerKind::kMinmax:
      return (x - normalizer.a) / (normalizer.b - normalizer.a);
  }
  return x;
}

// Collects the ids of one feature.
class FeatureEncoder::IdSink {
 public:
  IdSink(const Rule& rule, const EncoderOptions& options, std::vector<int64_t>* ids, std::vector<float>* weights)
      : rule_(rule), feature_(rule.feature), options_(options), ids_(*ids), weights_(*weights) {}

  // A token of a text: "id", or "id:weight" of a weighted feature.
  Status AddToken(std::string_view token, bool is_default) {
    if (!feature_.weighted) return AddIdText(token);
    const size_t colon = token.rfind(':');
    double weight = 1;
    if (colon == std::string_view::npos) {
      if (!is_default) {
        return InvalidInput("the token ", QuoteCell(token), " of weighted feature '", feature_.name,
                            "' is not of the form 'id:weight'");
      }
    } else {
      PEPNET_ASSIGN_OR_RETURN(weight, RealFromText(token.substr(colon + 1)));
      token = token.substr(0, colon);
    }
    PEPNET_RETURN_IF_ERROR(AddIdText(token));
    return AddWeight(weight);
  }

  Status AddIdText(std::string_view token) {
    switch (feature_.bucketizer) {
      case Bucketizer::kIdentity: {
        int64_t id = 0;
        const NumberText parsed = ParseInteger(token, &id);
        if (parsed == NumberText::kNotANumber) {
          return InvalidInput(QuoteCell(token), " is not an integer, and feature '", feature_.name,
                              "' takes ids as they are, 0 to ", feature_.rows - 1,
                              "; correct the data, or give the feature a hash_bucket_size or a vocabulary");
        }
        if (parsed == NumberText::kTooLarge) return AddOutOfRange(token);
        return AddInRange(id);
      }
      case Bucketizer::kHash: {
        const uint64_t hash = options_.farm_hash ? FarmFingerprint64(token) : LibstdcxxStringHash(token);
        ids_.push_back(static_cast<int64_t>(hash % static_cast<uint64_t>(feature_.rows)));
        return absl::OkStatus();
      }
      case Bucketizer::kVocabulary: {
        const auto word = rule_.vocabulary.find(token);
        ids_.push_back(word != rule_.vocabulary.end() ? word->second : feature_.unknown_id);
        return absl::OkStatus();
      }
      case Bucketizer::kBoundaries: {
        PEPNET_ASSIGN_OR_RETURN(const double x, RealFromText(token));
        return AddReal(x);
      }
      case Bucketizer::kNone:
        break;
    }
    return absl::InternalError("a feature without table has no ids");
  }

  Status AddInteger(int64_t value) {
    if (feature_.bucketizer == Bucketizer::kIdentity) return AddInRange(value);
    if (feature_.bucketizer == Bucketizer::kBoundaries) return AddReal(static_cast<double>(value));
    char text[24];
    const auto [end, error] = std::to_chars(text, text + sizeof(text), value);
    return AddIdText(std::string_view(text, end - text));
  }

  // Precondition: the feature has boundaries.
  Status AddReal(double x) {
    if (!std::isfinite(x)) return InvalidInput("the value ", x, " is not a finite number; correct the data");
    ids_.push_back(BoundaryId(feature_.boundaries, normalize_ ? Normalize(feature_.normalizer, x) : x));
    return absl::OkStatus();
  }

  Status AddWeight(double weight) {
    PEPNET_ASSIGN_OR_RETURN(const float rounded, FiniteFloat(weight, "the weight"));
    weights_.push_back(rounded);
    return absl::OkStatus();
  }

  void set_normalize(bool normalize) { normalize_ = normalize; }
  int64_t clamped() const { return clamped_; }

 private:
  Status AddInRange(int64_t id) {
    if (id >= 0 && id < feature_.rows) {
      ids_.push_back(id);
      return absl::OkStatus();
    }
    return AddOutOfRange(absl::StrCat(id));
  }

  Status AddOutOfRange(std::string_view id) {
    const bool silent = MutantActive(Mutant::kClampToRowZero);
    if (!options_.clamp_out_of_range && !silent) {
      return InvalidInput("id ", std::string(id), " is out of range: feature '", feature_.name, "' has ", feature_.rows,
                          " rows, legal ids are 0 to ", feature_.rows - 1,
                          "; give the feature more rows, correct the data, or let such ids read row 0 with "
                          "--clamp_out_of_range");
    }
    if (!silent) ++clamped_;
    ids_.push_back(0);
    return absl::OkStatus();
  }

  const Rule& rule_;
  const Feature& feature_;
  const EncoderOptions& options_;
  std::vector<int64_t>& ids_;
  std::vector<float>& weights_;
  bool normalize_ = true;
  int64_t clamped_ = 0;
};

// Collects the feature.dim values of one cell of a raw feature without table.
class FeatureEncoder::ValueSink {
 public:
  ValueSink(const Feature& feature, bool normalize) : feature_(feature), normalize_(normalize) {}

  void Start(float* out) {
    out_ = out;
    count_ = 0;
  }
  Status AddText(std::string_view token) {
    PEPNET_ASSIGN_OR_RETURN(const double x, RealFromText(token));
    return Add(x);
  }
  Status Add(double x) {
    if (!std::isfinite(x)) return InvalidInput("the value ", x, " is not a finite number; correct the data");
    PEPNET_ASSIGN_OR_RETURN(const float value, FiniteFloat(normalize_ ? Normalize(feature_.normalizer, x) : x,
                                                           normalize_ ? "the normalized value" : "the value"));
    if (count_ < feature_.dim) out_[count_] = value;
    ++count_;
    return absl::OkStatus();
  }
  Status Finish() const {
    if (count_ == feature_.dim) return absl::OkStatus();
    return InvalidInput("the cell holds ", count_, " values, but feature '", feature_.name, "' has value_dim ",
                        feature_.dim);
  }
  int count() const { return count_; }

 private:
  const Feature& feature_;
  const bool normalize_;
  float* out_ = nullptr;
  int count_ = 0;
};

StatusOr<std::unique_ptr<FeatureEncoder>> FeatureEncoder::Create(const std::vector<Feature>& features,
                                                                 const EncoderOptions& options) {
  std::unique_ptr<FeatureEncoder> encoder(new FeatureEncoder);
  encoder->options_ = options;
  encoder->rules_.resize(features.size());
  for (size_t f = 0; f < features.size(); ++f) {
    Rule& rule = encoder->rules_[f];
    rule.feature = features[f];
    rule.vocabulary.insert(features[f].vocabulary.begin(), features[f].vocabulary.end());
    PEPNET_RETURN_IF_ERROR(
        Annotate(encoder->EncodeDefault(&rule), absl::StrCat("feature '", features[f].name, "', default_value")));
  }
  return encoder;
}

Status FeatureEncoder::EncodeDefault(Rule* rule) const {
  const Feature& feature = rule->feature;
  if (!feature.default_value.has_value() || feature.default_value->empty()) return absl::OkStatus();
  rule->empty.has_default = true;
  // The default value is bucketised but not normalised (spec 3.4).
  if (feature.bucketizer != Bucketizer::kNone) {
    IdSink sink(*rule, options_, &rule->empty.ids, &rule->empty.weights);
    sink.set_normalize(false);
    return ForEachToken(*feature.default_value, feature.separator,
                        [&](std::string_view token) { return sink.AddToken(token, true); });
  }
  rule->empty.values.assign(feature.dim, 0);
  ValueSink sink(feature, false);
  sink.Start(rule->empty.values.data());
  PEPNET_RETURN_IF_ERROR(ForEachToken(*feature.default_value, feature.separator,
                                      [&](std::string_view token) { return sink.AddText(token); }));
  if (sink.count() == 1) {
    std::fill(rule->empty.values.begin(), rule->empty.values.end(), rule->empty.values[0]);
    return absl::OkStatus();
  }
  return sink.Finish();
}

Status FeatureEncoder::Encode(const RowSelection& selection, std::span<const int> columns, Batch* batch,
                              int64_t* clamped) const {
  batch->ids.resize(rules_.size());
  batch->values.resize(rules_.size());
  for (size_t f = 0; f < rules_.size(); ++f) {
    const Rule& rule = rules_[f];
    PEPNET_ASSIGN_OR_RETURN(const std::vector<ColumnView> views, ViewColumn(selection, columns[f]));
    PEPNET_RETURN_IF_ERROR(CheckTypes(rule.feature, selection, views));
    if (rule.feature.bucketizer == Bucketizer::kNone) {
      PEPNET_RETURN_IF_ERROR(EncodeValues(rule, selection, views, &batch->values[f]));
    } else {
      PEPNET_RETURN_IF_ERROR(EncodeIds(rule, selection, views, &batch->ids[f], clamped));
    }
  }
  return absl::OkStatus();
}

Status FeatureEncoder::EncodeIds(const Rule& rule, const RowSelection& selection, const std::vector<ColumnView>& views,
                                 IdColumn* out, int64_t* clamped) const {
  const Feature& feature = rule.feature;
  const bool limits_tokens = TypeOf(feature.kind).limits_tokens;
  IdSink sink(rule, options_, &out->ids, &out->weights);
  const auto encode_cell = [&](const ColumnView& view, const ColumnView::Range& range) -> Status {
    const size_t before = out->ids.size();
    for (int64_t element = range.begin; element < range.end; ++element) {
      if (view.IsEmpty(element)) continue;
      if (view.kind() == ColumnView::Kind::kReal) {
        PEPNET_RETURN_IF_ERROR(sink.AddReal(view.Real(element)));
      } else if (int64_t value = 0; view.kind() == ColumnView::Kind::kInteger) {
        PEPNET_RETURN_IF_ERROR(view.Integer(element, &value) ? sink.AddInteger(value)
                                                             : sink.AddIdText(view.ToText(element)));
      } else if (view.is_map()) {
        PEPNET_RETURN_IF_ERROR(sink.AddIdText(view.Text(element)));
      } else if (view.is_list()) {
        PEPNET_RETURN_IF_ERROR(sink.AddToken(view.Text(element), false));
      } else {
        PEPNET_RETURN_IF_ERROR(ForEachToken(view.Text(element), feature.separator,
                                            [&](std::string_view token) { return sink.AddToken(token, false); }));
      }
      if (view.is_map()) {
        double weight = 0;
        if (!view.MapValue(element, &weight))
          return InvalidInput("the weight of id ", view.ToText(element), " is null");
        PEPNET_RETURN_IF_ERROR(sink.AddWeight(weight));
      }
    }
    const int64_t count = static_cast<int64_t>(out->ids.size() - before);
    if (limits_tokens && feature.value_dim > 0 && count > feature.value_dim) {
      return InvalidInput("the cell holds ", count, " ids, but feature '", feature.name, "' has value_dim ",
                          feature.value_dim);
    }
    return absl::OkStatus();
  };

  out->ids.reserve(selection.rows);
  out->offsets.reserve(selection.rows + 1);
  out->offsets.push_back(0);
  const Status status = ForEachRow(selection, views, [&](int chunk, int64_t row) -> Status {
    const ColumnView& view = views[chunk];
    const ColumnView::Range range = view.Elements(row);
    if (IsEmptyCell(view, range)) {
      out->ids.insert(out->ids.end(), rule.empty.ids.begin(), rule.empty.ids.end());
      out->weights.insert(out->weights.end(), rule.empty.weights.begin(), rule.empty.weights.end());
    } else if (Status cell = encode_cell(view, range); !cell.ok()) {
      return AtCell(selection.chunks[chunk], row, feature.column, cell);
    }
    out->offsets.push_back(static_cast<int32_t>(out->ids.size()));
    return absl::OkStatus();
  });
  *clamped += sink.clamped();
  return status;
}

Status FeatureEncoder::EncodeValues(const Rule& rule, const RowSelection& selection,
                                    const std::vector<ColumnView>& views, AlignedBuffer<float>* out) const {
  const Feature& feature = rule.feature;
  out->Resize(static_cast<size_t>(selection.rows) * feature.dim);
  float* at = out->data();
  ValueSink sink(feature, true);
  const auto encode_cell = [&](const ColumnView& view, const ColumnView::Range& range) -> Status {
    sink.Start(at);
    for (int64_t element = range.begin; element < range.end; ++element) {
      if (view.IsEmpty(element)) continue;  // then the number of values is wrong
      if (view.kind() != ColumnView::Kind::kText) {
        PEPNET_RETURN_IF_ERROR(sink.Add(view.Real(element)));
      } else if (view.is_list()) {
        PEPNET_RETURN_IF_ERROR(sink.AddText(view.Text(element)));
      } else {
        PEPNET_RETURN_IF_ERROR(ForEachToken(view.Text(element), feature.separator,
                                            [&](std::string_view token) { return sink.AddText(token); }));
      }
    }
    return sink.Finish();
  };
  return ForEachRow(selection, views, [&](int chunk, int64_t row) -> Status {
    const ColumnView& view = views[chunk];
    const ColumnView::Range range = view.Elements(row);
    Status cell;
    if (!IsEmptyCell(view, range)) {
      cell = encode_cell(view, range);
    } else if (rule.empty.has_default) {
      std::copy(rule.empty.values.begin(), rule.empty.values.end(), at);
    } else {
      cell = InvalidInput("the cell is empty, and feature '", feature.name, "' has no default_value");
    }
    if (!cell.ok()) return AtCell(selection.chunks[chunk], row, feature.column, cell);
    at += feature.dim;
    return absl::OkStatus();
  });
}

}  // namespace pepnet

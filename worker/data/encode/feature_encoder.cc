#include "worker/data/encode/feature_encoder.h"

#include <algorithm>
#include <utility>

#include "common/base/processor.h"
#include "worker/data/encode/sequence_cells.h"
#include "worker/data/files/cell_text.h"
#include "worker/data/files/number_text.h"

namespace pepnet {
namespace {

// Is the column's type one that the feature can read?
Status CheckType(const Feature& feature, const EncoderOptions& options, const ColumnView& view) {
  if (feature.sequence.has_value() && view.is_map()) {
    return InvalidInput(
        "sequence feature '", feature.name,
        "' needs texts, numbers, lists of them or lists of lists, but the column has type ",
        view.type_name());
  }
  if (feature.bucketizer == Bucketizer::kNone) {
    if (!view.is_map()) return absl::OkStatus();
    return InvalidInput("raw feature '", feature.name,
                        "' needs numbers, texts or lists of them, but the column has type ",
                        view.type_name());
  }
  if (view.kind() == ColumnView::Kind::kReal &&
      (feature.bucketizer != Bucketizer::kBoundaries || feature.weighted)) {
    return InvalidInput("feature '", feature.name,
                        "' needs ids as integers or texts, but the column has type ",
                        view.type_name(), ModeRemedy(options, "; write the column as integers"));
  }
  if (feature.weighted && !view.is_map() && view.kind() != ColumnView::Kind::kText) {
    return InvalidInput("weighted feature '", feature.name,
                        "' needs texts like 'id:weight' or a map, but the column has ", "type ",
                        view.type_name());
  }
  if (!feature.weighted && view.is_map()) {
    return InvalidInput("feature '", feature.name, "' is not weighted, but the column has type ",
                        view.type_name(), "; set weighted: true");
  }
  return absl::OkStatus();
}

Status CheckTypes(const Feature& feature, const EncoderOptions& options,
                  const RowSelection& selection, const CellColumn& cells) {
  if (feature.op.has_value()) return absl::OkStatus();  // it computes what the feature reads
  for (size_t i = 0; i < cells.views().size(); ++i) {
    const ColumnView& view = cells.views()[i];
    PEPNET_RETURN_IF_ERROR(
        Annotate(CheckType(feature, options, view.is_nested() ? view.inner() : view),
                 absl::StrCat("'", *selection.chunks[i].path, "' column '", feature.column, "'")));
  }
  return absl::OkStatus();
}

// Integers that are ids as they stand, whole runs of rows at once. False, with nothing added: the
// cells need a closer look, because they are of another kind, may be empty where that means
// something, or hold an id out of range.
bool AppendPlainIds(const FeatureRule& rule, const CellColumn& cells, IdColumn* out) {
  const Feature& feature = rule.feature;
  const bool limits_tokens = TypeOf(feature.kind).limits_tokens && feature.value_dim > 0;
  // This path is for rules that change nothing: no hash, no default for an empty cell, no limit to
  // check.
  if (feature.bucketizer != Bucketizer::kIdentity || feature.weighted || limits_tokens ||
      !rule.empty.ids.empty() || cells.is_computed()) {
    return false;
  }
  // All chunks take this path or none does: a mixture would need the state of the slow one.
  std::vector<ColumnView::PlainIntegers> chunks;
  for (const ColumnView& view : cells.views()) {
    chunks.push_back(view.plain_integers());
    if (chunks.back().values == nullptr) return false;
  }
  const auto numbers = [&](const RowRun& run) -> std::span<const int64_t> {
    const ColumnView::PlainIntegers& chunk = chunks[run.chunk];
    if (chunk.offsets == nullptr) return {chunk.values + run.begin, static_cast<size_t>(run.count)};
    return {chunk.values + chunk.offsets[run.begin],
            chunk.values + chunk.offsets[run.begin + run.count]};
  };
  const std::vector<RowRun>& runs = cells.selection().runs;
  size_t count = 0;
  // Counting first sizes the arrays once; the loops below write through plain pointers.
  for (const RowRun& run : runs) count += numbers(run).size();
  out->ids.resize(count);
  out->offsets.resize(static_cast<size_t>(cells.rows()) + 1);
  int64_t* id = out->ids.data();
  int32_t* offset = out->offsets.data();
  *offset++ = 0;
  constexpr size_t kRunsAhead = 16;  // runs of a shuffle are single rows
  const IdRange range = IdsOf(feature.rows);
  bool outside = false;
  for (size_t r = 0; r < runs.size(); ++r) {
    const RowRun& run = runs[r];
    if (r + kRunsAhead < runs.size()) {
      PrefetchRead(chunks[runs[r + kRunsAhead].chunk].values + runs[r + kRunsAhead].begin);
    }
    int32_t end = static_cast<int32_t>(id - out->ids.data());
    const int32_t* const starts = chunks[run.chunk].offsets;
    for (int64_t row = run.begin; row < run.begin + run.count; ++row) {
      end += starts != nullptr ? starts[row + 1] - starts[row] : 1;
      *offset++ = end;
    }
    // The range is checked without a branch, for all ids of the column at once. One that is out of
    // range is looked for again by the slow path, whose error names its row.
    for (const int64_t number : numbers(run)) {
      outside |= !range.Contains(number);
      *id++ = number;
    }
  }
  if (!outside) return true;
  out->ids.clear();
  out->offsets.clear();
  return false;
}

}  // namespace

StatusOr<std::unique_ptr<FeatureEncoder>> FeatureEncoder::Create(
    const std::vector<Feature>& features, const EncoderOptions& options) {
  std::unique_ptr<FeatureEncoder> encoder(new FeatureEncoder);
  encoder->options_ = options;
  encoder->rules_.resize(features.size());
  int column = 0;
  for (size_t f = 0; f < features.size(); ++f) {
    FeatureRule& rule = encoder->rules_[f];
    rule.feature = features[f];
    rule.vocabulary.insert(features[f].vocabulary.begin(), features[f].vocabulary.end());
    PEPNET_RETURN_IF_ERROR(
        Annotate(encoder->EncodeDefault(&rule),
                 absl::StrCat("feature '", features[f].name, "', default_value")));
    encoder->first_columns_.push_back(column);
    column += static_cast<int>(ColumnsOf(features[f]).size());
    std::unique_ptr<CellDeriver>& deriver = encoder->derivers_.emplace_back();
    if (features[f].op.has_value()) deriver = std::make_unique<CellDeriver>(features[f]);
  }
  return encoder;
}

Status FeatureEncoder::EncodeDefault(FeatureRule* rule) const {
  const Feature& feature = rule->feature;
  if (!feature.default_value.has_value() || feature.default_value->empty()) return absl::OkStatus();
  rule->empty.has_default = true;
  // The default value is bucketised but not normalised (spec 3.4).
  if (feature.bucketizer != Bucketizer::kNone) {
    IdSink sink(*rule, options_, &rule->empty.ids, &rule->empty.weights);
    sink.set_normalize(false);
    PEPNET_RETURN_IF_ERROR(
        ForEachToken(*feature.default_value, feature.separator,
                     [&](std::string_view token) { return sink.AddToken(token, true); }));
    if (ReadsOneId(feature) && rule->empty.ids.size() > 1) rule->empty.ids.resize(1);
    return absl::OkStatus();
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

Status FeatureEncoder::ReadCells(int f, Columns* columns) const {
  // A feature may be an input of several others; its cells are read once.
  if (columns->cells[f].has_value()) return absl::OkStatus();
  const Feature& feature = rules_[f].feature;
  int column = first_columns_[f];
  const auto view = [&](bool nested) -> StatusOr<CellColumn> {
    PEPNET_ASSIGN_OR_RETURN(std::vector<ColumnView> views,
                            ViewColumn(columns->selection, columns->numbers[column++], nested));
    return CellColumn(columns->selection, std::move(views));
  };
  if (!feature.op.has_value()) {
    PEPNET_ASSIGN_OR_RETURN(columns->cells[f], view(feature.sequence.has_value()));
    return CheckTypes(feature, options_, columns->selection, *columns->cells[f]);
  }
  // Inputs that are features themselves are computed first, below in this same function.
  std::vector<InputSource> inputs;
  for (const OperatorInput& input : feature.op->inputs) {
    if (input.feature < 0) {
      PEPNET_ASSIGN_OR_RETURN(CellColumn cells, view(input.by_element));
      inputs.push_back({std::move(cells), input.column, "", ""});
      continue;
    }
    // No deeper than ResolveInputs() allows.
    PEPNET_RETURN_IF_ERROR(ReadCells(input.feature, columns));
    const Feature& read = rules_[input.feature].feature;
    inputs.push_back({*columns->cells[input.feature], read.column, read.separator,
                      read.default_value.value_or("")});
  }
  PEPNET_ASSIGN_OR_RETURN(columns->cells[f], derivers_[f]->Compute(columns->selection, inputs));
  return absl::OkStatus();
}

Status FeatureEncoder::Encode(const RowSelection& selection, std::span<const int> columns,
                              Batch* batch, EncodeCounts* counts) const {
  counts->vocabulary.resize(rules_.size());
  batch->ids.resize(rules_.size());
  batch->values.resize(rules_.size());
  batch->elements.resize(rules_.size());
  Columns read{selection, columns, std::vector<std::optional<CellColumn>>(rules_.size())};
  for (size_t f = 0; f < rules_.size(); ++f) {
    const FeatureRule& rule = rules_[f];
    PEPNET_RETURN_IF_ERROR(ReadCells(static_cast<int>(f), &read));
    const CellColumn& cells = *read.cells[f];
    const bool is_sequence = rule.feature.sequence.has_value();
    if (is_sequence && rule.feature.bucketizer == Bucketizer::kNone) {
      PEPNET_RETURN_IF_ERROR(
          EncodeSequenceValues(rule, cells, &batch->values[f], &batch->elements[f]));
    } else if (is_sequence) {
      PEPNET_RETURN_IF_ERROR(EncodeSequenceIds(rule, options_, cells, &batch->ids[f],
                                               &batch->elements[f], &counts->clamped,
                                               &counts->vocabulary[f]));
    } else if (rule.feature.bucketizer == Bucketizer::kNone) {
      PEPNET_RETURN_IF_ERROR(EncodeValues(rule, cells, &batch->values[f]));
    } else {
      PEPNET_RETURN_IF_ERROR(
          EncodeIds(rule, cells, &batch->ids[f], &counts->clamped, &counts->vocabulary[f]));
    }
  }
  return absl::OkStatus();
}

Status FeatureEncoder::EncodeIds(const FeatureRule& rule, const CellColumn& cells, IdColumn* out,
                                 int64_t* clamped, VocabularyCounts* vocabulary) const {
  // Most columns of ids are plain integers in range, of which whole runs are copied.
  if (AppendPlainIds(rule, cells, out)) return absl::OkStatus();
  const Feature& feature = rule.feature;
  const bool limits_tokens = TypeOf(feature.kind).limits_tokens;
  IdSink sink(rule, options_, &out->ids, &out->weights);
  const auto encode_cell = [&](const ColumnView& view, const ColumnView::Range& range) -> Status {
    const size_t before = out->ids.size();
    for (int64_t element = range.begin; element < range.end; ++element) {
      if (view.IsEmpty(element)) continue;
      if (view.kind() != ColumnView::Kind::kText) {
        PEPNET_RETURN_IF_ERROR(sink.AddNumber(view, element));
      } else if (view.is_map()) {
        PEPNET_RETURN_IF_ERROR(sink.AddIdText(view.Text(element)));
      } else if (view.is_list()) {
        PEPNET_RETURN_IF_ERROR(sink.AddToken(view.Text(element), false));
      } else {
        PEPNET_RETURN_IF_ERROR(
            ForEachToken(view.Text(element), feature.separator,
                         [&](std::string_view token) { return sink.AddToken(token, false); }));
      }
      if (view.is_map()) {
        double weight = 0;
        if (view.map_kind() == ColumnView::Kind::kText) {
          const std::string_view text = view.MapText(element);
          if (text.empty()) {
            return InvalidInput("the weight of id ", view.ToText(element), " is empty");
          }
          PEPNET_ASSIGN_OR_RETURN(weight, ReadReal(text));
        } else if (!view.MapValue(element, &weight)) {
          return InvalidInput("the weight of id ", view.ToText(element), " is null");
        }
        PEPNET_RETURN_IF_ERROR(sink.AddWeight(weight));
      }
    }
    const int64_t count = static_cast<int64_t>(out->ids.size() - before);
    if (limits_tokens && feature.value_dim > 0 && count > feature.value_dim) {
      return InvalidInput("the cell holds ", count, " ids, but feature '", feature.name,
                          "' has value_dim ", feature.value_dim);
    }
    return absl::OkStatus();
  };

  out->ids.reserve(cells.rows());
  out->offsets.reserve(cells.rows() + 1);
  out->offsets.push_back(0);
  Status status = cells.ForEach(feature.column, [&](const ColumnView& view, int64_t row) -> Status {
    const ColumnView::Range range = view.Elements(row);
    if (view.IsEmptyCell(range)) {
      out->ids.insert(out->ids.end(), rule.empty.ids.begin(), rule.empty.ids.end());
      out->weights.insert(out->weights.end(), rule.empty.weights.begin(), rule.empty.weights.end());
    } else {
      PEPNET_RETURN_IF_ERROR(encode_cell(view, range));
    }
    // Offsets have 32 bits.
    if (out->ids.size() > static_cast<size_t>(INT32_MAX)) {
      return InvalidInput("feature '", feature.name, "' has more than ", INT32_MAX,
                          " ids up to here in the batch; lower batch_size");
    }
    out->offsets.push_back(static_cast<int32_t>(out->ids.size()));
    return absl::OkStatus();
  });
  *clamped += sink.clamped();
  vocabulary->Add(sink.vocabulary_counts());
  return status;
}

Status FeatureEncoder::EncodeValues(const FeatureRule& rule, const CellColumn& cells,
                                    AlignedBuffer<float>* out) const {
  const Feature& feature = rule.feature;
  out->Resize(static_cast<size_t>(cells.rows()) * feature.dim);
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
        PEPNET_RETURN_IF_ERROR(
            ForEachToken(view.Text(element), feature.separator,
                         [&](std::string_view token) { return sink.AddText(token); }));
      }
    }
    return sink.Finish();
  };
  return cells.ForEach(feature.column, [&](const ColumnView& view, int64_t row) -> Status {
    const ColumnView::Range range = view.Elements(row);
    if (!view.IsEmptyCell(range)) {
      PEPNET_RETURN_IF_ERROR(encode_cell(view, range));
    } else if (rule.empty.has_default) {
      std::copy(rule.empty.values.begin(), rule.empty.values.end(), at);
    } else {
      return InvalidInput("the cell is empty, and feature '", feature.name,
                          "' has no default_value");
    }
    at += feature.dim;
    return absl::OkStatus();
  });
}

}  // namespace pepnet

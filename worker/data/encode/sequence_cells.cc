#include "worker/data/encode/sequence_cells.h"

#include <algorithm>
#include <limits>

#include "common/base/mutant.h"
#include "worker/data/files/cell_text.h"

namespace pepnet {
namespace {

Status EmptyElement() {
  return InvalidInput(
      "an element is empty; write a value there, or remove the delimiter beside it");
}

// The elements of a cell are written to ids or to values. Add...() takes one element each.
class IdElements {
 public:
  IdElements(const FeatureRule& rule, const EncoderOptions& options, IdColumn* out)
      : rule_(rule),
        one_id_(ReadsOneId(rule.feature)),
        out_(*out),
        sink_(rule, options, &out->ids, &out->weights) {
    out_.offsets.push_back(0);
  }

  // Numbers of a list that make one element.
  int64_t list_step() const { return 1; }

  Status AddText(std::string_view text) {
    const size_t before = out_.ids.size();
    PEPNET_RETURN_IF_ERROR(ForEachToken(text, rule_.feature.separator, [&](std::string_view token) {
      if (Passes(before)) return absl::OkStatus();
      return sink_.AddToken(token, false);
    }));
    return End(before);
  }

  Status AddValues(const ColumnView& view, const ColumnView::Range& range) {
    const size_t before = out_.ids.size();
    for (int64_t value = range.begin; value < range.end; ++value) {
      if (view.IsEmpty(value) || Passes(before)) continue;
      PEPNET_RETURN_IF_ERROR(AddValue(view, value));
    }
    return End(before);
  }

  Status AddDefault() {
    out_.ids.insert(out_.ids.end(), rule_.empty.ids.begin(), rule_.empty.ids.end());
    Close();
    // Offsets count ids; the element ends here, whether it has one id or many.
    return absl::OkStatus();
  }

  int32_t count() const { return static_cast<int32_t>(out_.offsets.size()) - 1; }
  int64_t clamped() const { return sink_.clamped(); }
  const VocabularyCounts& vocabulary_counts() const { return sink_.vocabulary_counts(); }

 private:
  Status AddValue(const ColumnView& view, int64_t value) {
    const bool is_text = view.kind() == ColumnView::Kind::kText;
    return is_text ? sink_.AddToken(view.Text(value), false) : sink_.AddNumber(view, value);
  }

  // Whether the element has its one id; what follows is then not read. (FG_NONE reads it, to refuse
  // it.)
  bool Passes(size_t before) const {
    return one_id_ && rule_.feature.sequence->fills_empty && out_.ids.size() > before;
  }

  Status End(size_t before) {
    const size_t count = out_.ids.size() - before;
    if (count == 0 && rule_.feature.sequence->fills_empty) return AddDefault();
    if (count == 0) return EmptyElement();
    if (one_id_ && count > 1) {
      return InvalidInput("an element holds ", count, " ids, but feature '", rule_.feature.name,
                          "' has value_dim 1; set value_dim: 0 to pool them");
    }
    Close();
    return absl::OkStatus();
  }

  void Close() { out_.offsets.push_back(static_cast<int32_t>(out_.ids.size())); }

  const FeatureRule& rule_;
  const bool one_id_;
  IdColumn& out_;
  IdSink sink_;
};

class ValueElements {
 public:
  explicit ValueElements(const FeatureRule& rule) : rule_(rule), sink_(rule.feature, true) {}

  int64_t list_step() const { return rule_.feature.sequence->fills_empty ? 1 : rule_.feature.dim; }

  Status AddText(std::string_view text) {
    if (text.empty()) return AddEmpty();
    Start();
    PEPNET_RETURN_IF_ERROR(ForEachToken(text, rule_.feature.separator, [&](std::string_view token) {
      return sink_.AddText(token);
    }));
    return End();
  }

  Status AddValues(const ColumnView& view, const ColumnView::Range& range) {
    if (range.begin == range.end || (range.end - range.begin == 1 && view.IsEmpty(range.begin))) {
      return AddEmpty();
    }
    Start();
    for (int64_t value = range.begin; value < range.end; ++value) {
      if (view.IsEmpty(value)) continue;  // then the number of values is wrong
      PEPNET_RETURN_IF_ERROR(view.kind() == ColumnView::Kind::kText
                                 ? sink_.AddText(view.Text(value))
                                 : sink_.Add(view.Real(value)));
    }
    return End();
  }

  Status AddDefault() {
    values_.insert(values_.end(), rule_.empty.values.begin(), rule_.empty.values.end());
    ++count_;
    return absl::OkStatus();
  }

  int32_t count() const { return count_; }
  const std::vector<float>& values() const { return values_; }

 private:
  Status AddEmpty() { return rule_.feature.sequence->fills_empty ? AddDefault() : EmptyElement(); }

  void Start() {
    values_.resize(values_.size() + rule_.feature.dim);
    sink_.Start(values_.data() + values_.size() - rule_.feature.dim);
  }

  Status End() {
    PEPNET_RETURN_IF_ERROR(sink_.Finish());
    ++count_;
    return absl::OkStatus();
  }

  const FeatureRule& rule_;
  ValueSink sink_;
  std::vector<float> values_;
  int32_t count_ = 0;  // elements that are whole
};

// The elements of one cell that is not empty.
template <typename Elements>
Status EncodeCell(const FeatureRule& rule, const ColumnView& view, const ColumnView::Range& range,
                  Elements* elements) {
  const Sequence& sequence = *rule.feature.sequence;
  // The limit counts from the elements of the rows before: `elements` gathers the whole column.
  const int64_t limit = sequence.max_elements > 0
                            ? elements->count() + int64_t{sequence.max_elements}
                            : std::numeric_limits<int64_t>::max();
  const auto is_full = [&] { return elements->count() >= limit; };
  if (view.is_nested()) {
    for (int64_t list = range.begin; list < range.end && !is_full(); ++list) {
      PEPNET_RETURN_IF_ERROR(elements->AddValues(view.inner(), view.inner().Elements(list)));
    }
    return absl::OkStatus();
  }
  if (view.kind() != ColumnView::Kind::kText) {
    // A list of numbers may be flat: FG_NONE writes value_dim numbers for each element, one after
    // the other.
    const int64_t step = view.is_list() ? elements->list_step() : 1;
    if ((range.end - range.begin) % step != 0) {
      return InvalidInput("the list holds ", range.end - range.begin,
                          " values, which is no multiple of the value_dim ", step, " of feature '",
                          rule.feature.name, "'");
    }
    for (int64_t value = range.begin; value < range.end && !is_full(); value += step) {
      PEPNET_RETURN_IF_ERROR(elements->AddValues(view, {value, value + step}));
    }
    return absl::OkStatus();
  }
  if (view.is_list()) {
    for (int64_t text = range.begin; text < range.end && !is_full(); ++text) {
      PEPNET_RETURN_IF_ERROR(
          elements->AddText(view.IsEmpty(text) ? std::string_view() : view.Text(text)));
    }
    return absl::OkStatus();
  }
  return ForEachElement(view.Text(range.begin), sequence.delimiter, [&](std::string_view text) {
    return is_full() ? absl::OkStatus() : elements->AddText(text);
  });
}

template <typename Elements>
Status EncodeRows(const FeatureRule& rule, const CellColumn& cells, Elements* out,
                  std::vector<int32_t>* offsets) {
  offsets->reserve(cells.rows() + 1);
  offsets->push_back(0);
  PEPNET_RETURN_IF_ERROR(
      cells.ForEach(rule.feature.column, [&](const ColumnView& view, int64_t row) -> Status {
        const ColumnView::Range range = view.Elements(row);
        Status cell;
        if (!view.IsEmptyCell(range)) {
          const int32_t before = out->count();
          cell = EncodeCell(rule, view, range, out);
          // The failed element is the one after those that are whole.
          if (!cell.ok()) {
            cell = Annotate(cell, absl::StrCat("element ", out->count() - before + 1));
          }
        } else if (rule.empty.has_default) {
          cell = out->AddDefault();
        }
        if (cell.ok()) offsets->push_back(out->count());
        return cell;
      }));
  if (MutantActive(Mutant::kSequenceByRow)) {
    for (size_t row = offsets->size() - 1; row-- > 1;) (*offsets)[row] = (*offsets)[row - 1];
  }
  return absl::OkStatus();
}

}  // namespace

bool ReadsOneId(const Feature& feature) {
  return feature.sequence.has_value() && TypeOf(feature.kind).limits_tokens &&
         feature.value_dim == 1;
}

Status EncodeSequenceIds(const FeatureRule& rule, const EncoderOptions& options,
                         const CellColumn& cells, IdColumn* out, std::vector<int32_t>* elements,
                         int64_t* clamped, VocabularyCounts* vocabulary) {
  IdElements ids(rule, options, out);
  Status status = EncodeRows(rule, cells, &ids, elements);
  *clamped += ids.clamped();
  vocabulary->Add(ids.vocabulary_counts());
  return status;
}

Status EncodeSequenceValues(const FeatureRule& rule, const CellColumn& cells,
                            AlignedBuffer<float>* out, std::vector<int32_t>* elements) {
  // The number of elements is known only at the end, so the values are gathered first and copied
  // once.
  ValueElements values(rule);
  PEPNET_RETURN_IF_ERROR(EncodeRows(rule, cells, &values, elements));
  out->Resize(values.values().size());
  std::copy(values.values().begin(), values.values().end(), out->data());
  return absl::OkStatus();
}

}  // namespace pepnet

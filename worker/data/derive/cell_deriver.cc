#include "worker/data/derive/cell_deriver.h"

#include <arrow/builder.h>

#include <algorithm>
#include <utility>

#include "worker/data/files/cell_text.h"

namespace pepnet {
namespace {

Status FromArrow(const arrow::Status& status) {
  return status.ok() ? absl::OkStatus() : InvalidInput("a computed column: ", status.message());
}

// Lists of texts or numbers, or lists of such lists, one cell after another.
class CellBuilder {
 public:
  CellBuilder(bool of_tokens, bool nested) : of_tokens_(of_tokens), nested_(nested) {
    arrow::MemoryPool* const pool = arrow::default_memory_pool();
    tokens_ = std::make_shared<arrow::LargeStringBuilder>(pool);
    numbers_ = std::make_shared<arrow::DoubleBuilder>(pool);
    const std::shared_ptr<arrow::ArrayBuilder> values =
        of_tokens ? std::shared_ptr<arrow::ArrayBuilder>(tokens_) : numbers_;
    elements_ = std::make_shared<arrow::ListBuilder>(pool, values);
    if (nested) cells_ = std::make_shared<arrow::ListBuilder>(pool, elements_);
  }

  // The next cell of a sequence; its elements follow.
  Status StartCell() { return nested_ ? FromArrow(cells_->Append()) : absl::OkStatus(); }

  // A cell, or an element of a sequence.
  Status Add(const OperatorOutput& values) {
    PEPNET_RETURN_IF_ERROR(FromArrow(elements_->Append()));
    if (!of_tokens_) return FromArrow(numbers_->AppendValues(values.numbers));
    for (const std::string& token : values.tokens) {
      PEPNET_RETURN_IF_ERROR(FromArrow(tokens_->Append(token)));
    }
    return absl::OkStatus();
  }

  StatusOr<std::shared_ptr<arrow::Array>> Finish() {
    std::shared_ptr<arrow::Array> array;
    PEPNET_RETURN_IF_ERROR(FromArrow((nested_ ? cells_ : elements_)->Finish(&array)));
    return array;
  }

 private:
  const bool of_tokens_, nested_;
  std::shared_ptr<arrow::LargeStringBuilder> tokens_;
  std::shared_ptr<arrow::DoubleBuilder> numbers_;
  std::shared_ptr<arrow::ListBuilder> elements_, cells_;
};

// An element of an input that is a sequence.
struct Element {
  std::string_view text;               // unless values is set
  const ColumnView* values = nullptr;  // whose elements in `range` are the element's values
  ColumnView::Range range = {};
};

// The elements of a cell; an empty cell is one empty element.
void ListElements(const ColumnView& view, int64_t row, const std::string& delimiter,
                  std::vector<Element>* elements) {
  elements->clear();
  const ColumnView::Range range = view.Elements(row);
  if (view.IsEmptyCell(range)) {
    // An empty cell gives one empty element and not none: an operator may turn it into its default.
    elements->push_back({});
    return;
  }
  if (!view.is_nested() && !view.is_list() && view.kind() == ColumnView::Kind::kText) {
    (void)ForEachElement(view.Text(range.begin), delimiter, [&](std::string_view text) {
      elements->push_back({text, nullptr, {}});
      return absl::OkStatus();
    });
    return;
  }
  for (int64_t element = range.begin; element < range.end; ++element) {
    if (view.is_nested()) {
      elements->push_back({{}, &view.inner(), view.inner().Elements(element)});
    } else if (view.IsEmpty(element)) {
      elements->push_back({});
    } else if (view.kind() == ColumnView::Kind::kText) {
      elements->push_back({view.Text(element), nullptr, {}});
    } else {
      elements->push_back({{}, &view, {element, element + 1}});
    }
  }
}

Status AddElement(const Element& element, InputCell* cell) {
  return element.values == nullptr ? cell->AddText(element.text)
                                   : cell->AddCell(*element.values, element.range);
}

}  // namespace

Status CellDeriver::CheckTypes(const RowSelection& selection,
                               const std::vector<InputSource>& inputs) const {
  for (size_t i = 0; i < inputs.size(); ++i) {
    const InputCell cell(operator_->FormOf(static_cast<int>(i)));
    const CellColumn& cells = inputs[i].cells;
    for (size_t v = 0; v < cells.views().size(); ++v) {
      const ColumnView& view = cells.views()[v];
      const Status status = cell.CheckType(view.is_nested() ? view.inner() : view);
      if (status.ok()) continue;
      const std::string place =
          cells.is_computed() ? "the computed" : absl::StrCat("'", *selection.chunks[v].path, "'");
      return Annotate(status, absl::StrCat(place, " column '", inputs[i].column,
                                           "', read by feature '", feature_.name, "'"));
    }
  }
  return absl::OkStatus();
}

StatusOr<CellColumn> CellDeriver::Compute(const RowSelection& selection,
                                          const std::vector<InputSource>& inputs) const {
  PEPNET_RETURN_IF_ERROR(CheckTypes(selection, inputs));
  const std::vector<OperatorInput>& described = feature_.op->inputs;
  const bool is_sequence = feature_.sequence.has_value();
  // Each input has one cell here, reused from row to row: cells borrow their texts from the
  // columns.
  std::vector<InputCell> cells;
  for (size_t i = 0; i < inputs.size(); ++i) {
    InputForm form = operator_->FormOf(static_cast<int>(i));
    if (!inputs[i].separator.empty()) form.separator = inputs[i].separator;
    cells.emplace_back(std::move(form));
  }
  std::vector<std::vector<Element>> elements(inputs.size());
  OperatorOutput output;
  CellBuilder builder(feature_.op->gives_tokens, is_sequence);
  const auto apply = [&]() -> Status {
    output.Clear();
    PEPNET_RETURN_IF_ERROR(operator_->Apply(cells, &output));
    return builder.Add(output);
  };
  const auto read_row = [&](size_t i, const CellColumn::Cell& cell) -> Status {
    const ColumnView::Range range = cell.view->Elements(cell.row);
    // An empty cell of a feature reads as that feature's default_value, before the operator sees
    // it.
    if (cell.view->IsEmptyCell(range)) return cells[i].AddText(inputs[i].default_value);
    return cells[i].AddCell(*cell.view, range);
  };

  int64_t place = 0;
  PEPNET_RETURN_IF_ERROR(ForEachRow(selection, [&](int chunk, int64_t row) -> Status {
    const auto at = [&](const std::string& column, const Status& status) {
      return status.ok() ? status : AtCell(selection.chunks[chunk], row, column, status);
    };
    // Inputs by element must have equally many: element i of one belongs to element i of the other,
    // and padding would pair the wrong ones.
    size_t count = 0;  // elements of the row
    std::string counted;
    for (size_t i = 0; i < inputs.size(); ++i) {
      const CellColumn::Cell cell = inputs[i].cells.At(chunk, row, place);
      cells[i].Clear();
      if (!described[i].by_element) {
        PEPNET_RETURN_IF_ERROR(at(inputs[i].column, read_row(i, cell)));
        continue;
      }
      ListElements(*cell.view, cell.row, feature_.sequence->delimiter, &elements[i]);
      if (counted.empty()) {
        count = elements[i].size();
        counted = inputs[i].column;
      } else if (elements[i].size() != count) {
        return at(
            inputs[i].column,
            InvalidInput("the cell holds ", elements[i].size(), " elements, but column '", counted,
                         "' ", count, "; feature '", feature_.name, "' needs as many in both"));
      }
    }
    ++place;
    if (!is_sequence) return at(feature_.name, apply());
    PEPNET_RETURN_IF_ERROR(builder.StartCell());
    // An operator that makes elements itself (a tokenizer) is applied once a row.
    if (feature_.op->gives_elements) {
      output.Clear();
      PEPNET_RETURN_IF_ERROR(at(feature_.name, operator_->Apply(cells, &output)));
      for (size_t element = 0; element < output.tokens.size(); ++element) {
        if (feature_.sequence->max_elements > 0 &&
            element == static_cast<size_t>(feature_.sequence->max_elements))
          break;
        PEPNET_RETURN_IF_ERROR(builder.Add({{output.tokens[element]}, {}}));
      }
      return absl::OkStatus();
    }
    if (feature_.sequence->max_elements > 0) {
      count = std::min(count, static_cast<size_t>(feature_.sequence->max_elements));
    }
    // Inputs that are not by element keep the row's cell for all its elements.
    for (size_t element = 0; element < count; ++element) {
      for (size_t i = 0; i < inputs.size(); ++i) {
        if (!described[i].by_element) continue;
        cells[i].Clear();
        PEPNET_RETURN_IF_ERROR(at(inputs[i].column, AddElement(elements[i][element], &cells[i])));
      }
      const Status status = apply();
      if (!status.ok()) {
        return at(feature_.name, Annotate(status, absl::StrCat("element ", element + 1)));
      }
    }
    return absl::OkStatus();
  }));
  PEPNET_ASSIGN_OR_RETURN(const std::shared_ptr<arrow::Array> array, builder.Finish());
  PEPNET_ASSIGN_OR_RETURN(ColumnView view, ColumnView::Make(array, is_sequence));
  return CellColumn(selection, std::move(view));
}

}  // namespace pepnet

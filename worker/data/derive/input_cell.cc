#include "worker/data/derive/input_cell.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "worker/data/files/cell_text.h"
#include "worker/data/files/number_text.h"

namespace pepnet {

StatusOr<double> Pair::Number() const {
  if (is_number) return number;
  auto value = ReadReal(text);
  if (!value.ok()) {
    return Annotate(value.status(), absl::StrCat("the value of key ", QuoteCell(key)));
  }
  return value;
}

Pair SplitPair(std::string_view text, char mark) {
  // The first mark counts: a value may hold the mark, a key cannot.
  const size_t at = text.find(mark);
  Pair pair;
  pair.key = text.substr(0, at);
  pair.has_value = at != std::string_view::npos;
  if (pair.has_value) pair.text = text.substr(at + 1);
  return pair;
}

const Pair* FindPair(std::span<const Pair> pairs, std::string_view key) {
  const auto found =
      std::find_if(pairs.begin(), pairs.end(), [key](const Pair& pair) { return pair.key == key; });
  return found == pairs.end() ? nullptr : &*found;
}

void InputCell::Clear() {
  tokens_.clear();
  numbers_.clear();
  pairs_.clear();
  kept_count_ = 0;
}

Status InputCell::CheckType(const ColumnView& view) const {
  const bool is_text = view.kind() == ColumnView::Kind::kText;
  if (form_.kind == InputForm::Kind::kPairs) {
    if (view.is_map() || is_text) return absl::OkStatus();
    return InvalidInput("keys with values are needed, but the column has type ", view.type_name(),
                        "; write it as texts 'key", std::string(1, form_.pair_mark),
                        "value', lists of them, or a map");
  }
  if (!view.is_map()) return absl::OkStatus();
  return InvalidInput(form_.kind == InputForm::Kind::kNumbers ? "numbers" : "tokens",
                      " are needed, but the column has type ", view.type_name(),
                      "; write it as texts, numbers, or lists of them");
}

Status InputCell::AddText(std::string_view text) {
  return ForEachToken(text, form_.separator,
                      [&](std::string_view token) { return AddToken(token); });
}

Status InputCell::AddToken(std::string_view text) {
  switch (form_.kind) {
    case InputForm::Kind::kTokens:
      tokens_.push_back(text);
      return absl::OkStatus();
    case InputForm::Kind::kNumbers: {
      PEPNET_ASSIGN_OR_RETURN(const double number, ReadReal(text));
      numbers_.push_back(number);
      return absl::OkStatus();
    }
    case InputForm::Kind::kPairs: {
      const Pair pair = SplitPair(text, form_.pair_mark);
      if (!pair.has_value && form_.value_required) {
        return InvalidInput("the pair ", QuoteCell(text), " is not of the form 'key",
                            std::string(1, form_.pair_mark), "value'");
      }
      pairs_.push_back(pair);
      return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

Status InputCell::AddElement(const ColumnView& view, int64_t element) {
  if (view.is_map()) {
    Pair pair;
    pair.key = view.kind() == ColumnView::Kind::kText ? view.Text(element) : Kept(view, element);
    if (view.map_kind() == ColumnView::Kind::kText) {
      pair.text = view.MapText(element);
    } else {
      if (!view.MapValue(element, &pair.number)) {
        return InvalidInput("the value of key ", QuoteCell(pair.key), " is null");
      }
      pair.is_number = true;
      pair.text = Kept(pair.number);
    }
    pairs_.push_back(pair);
    return absl::OkStatus();
  }
  if (view.kind() == ColumnView::Kind::kText) return AddToken(view.Text(element));
  if (form_.kind == InputForm::Kind::kTokens) {
    // Numbers become their shortest decimal texts, as a CSV file would have them, so that tokens
    // and hashes agree.
    tokens_.push_back(Kept(view, element));
    return absl::OkStatus();
  }
  const double number = view.Real(element);
  if (!std::isfinite(number)) {
    return InvalidInput("the value ", number, " is not a finite number; correct the data");
  }
  numbers_.push_back(number);
  return absl::OkStatus();
}

Status InputCell::AddCell(const ColumnView& view, const ColumnView::Range& range) {
  if (view.IsEmptyCell(range)) return absl::OkStatus();
  if (!view.is_list() && view.kind() == ColumnView::Kind::kText) {
    return AddText(view.Text(range.begin));
  }
  for (int64_t element = range.begin; element < range.end; ++element) {
    if (!view.IsEmpty(element)) PEPNET_RETURN_IF_ERROR(AddElement(view, element));
  }
  return absl::OkStatus();
}

std::string_view InputCell::Kept(const ColumnView& view, int64_t element) {
  int64_t integer = 0;
  if (view.kind() == ColumnView::Kind::kReal) return Kept(view.Real(element));
  if (!view.Integer(element, &integer)) return Keep(view.ToText(element));
  char text[24];
  return Keep(
      {text, static_cast<size_t>(std::to_chars(text, text + sizeof(text), integer).ptr - text)});
}

// A number that a float holds is written as a float is: 0.1, not 0.10000000149011612.
std::string_view InputCell::Kept(double number) {
  char text[40];
  const float narrow = static_cast<float>(number);
  const auto end = static_cast<double>(narrow) == number
                       ? std::to_chars(text, text + sizeof(text), narrow)
                       : std::to_chars(text, text + sizeof(text), number);
  return Keep({text, static_cast<size_t>(end.ptr - text)});
}

std::string_view InputCell::Keep(std::string_view text) {
  // A deque keeps the texts where they are while it grows: views of earlier ones stay good.
  if (kept_count_ == kept_.size()) kept_.emplace_back();
  std::string& kept = kept_[kept_count_++];
  kept = text;
  return kept;
}

}  // namespace pepnet

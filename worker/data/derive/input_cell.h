// InputCell: one cell of an operator's input, or one element of it, in the form that the operator
//            reads.
//
// Threads:   one. Ownership: texts are borrowed from the column, or kept here until Clear().
// Failure:   the Status tells the value; the caller adds file, row and column.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "worker/data/files/column_view.h"

namespace pepnet {

// The form in which an operator reads an input.
struct InputForm {
  enum class Kind { kTokens, kNumbers, kPairs };
  Kind kind = Kind::kTokens;
  std::string separator;        // between the tokens, numbers or pairs of a text
  char pair_mark = ':';         // between key and value of a pair
  bool value_required = false;  // a pair without mark is an error, else a key alone
};

// "key:value" of a text, or an entry of a map.
struct Pair {
  std::string_view key;
  std::string_view text;   // value
  double number = 0;       // value; only with is_number
  bool is_number = false;  // of a map to numbers: text is the number in decimal
  bool has_value = true;

  StatusOr<double> Number() const;
};

// "key<mark>value" cut at its first mark; without one it is a key alone.
Pair SplitPair(std::string_view text, char mark);

// The first pair with the key, which counts; null: there is none. Cells have few keys: a search
// beats an index.
const Pair* FindPair(std::span<const Pair> pairs, std::string_view key);

class InputCell {
 public:
  explicit InputCell(InputForm form) : form_(std::move(form)) {}

  void Clear();
  // Splits a text by the form's separator.
  Status AddText(std::string_view text);
  // An element of a column of lists, maps or numbers that is not empty.
  Status AddElement(const ColumnView& view, int64_t element);
  // A whole cell; an empty one adds nothing.
  Status AddCell(const ColumnView& view, const ColumnView::Range& range);
  // Error: a column of a type that has no such form.
  Status CheckType(const ColumnView& view) const;

  bool empty() const { return tokens_.empty() && numbers_.empty() && pairs_.empty(); }
  std::span<const std::string_view> tokens() const { return tokens_; }  // of kTokens
  std::span<const double> numbers() const { return numbers_; }          // of kNumbers
  std::span<const Pair> pairs() const { return pairs_; }                // of kPairs

 private:
  Status AddToken(std::string_view text);
  // The number of an element in its shortest decimal form.
  std::string_view Kept(const ColumnView& view, int64_t element);
  std::string_view Kept(double number);
  std::string_view Keep(std::string_view text);

  InputForm form_;
  std::vector<std::string_view> tokens_;
  std::vector<double> numbers_;
  std::vector<Pair> pairs_;
  std::deque<std::string> kept_;  // texts of numbers; the first kept_count_ are in use
  size_t kept_count_ = 0;
};

}  // namespace pepnet

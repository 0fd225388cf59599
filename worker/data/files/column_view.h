// ColumnView: the cells of one Arrow column as texts, integers or reals, single or in lists,
// whatever the storage width.
//
// Ownership: borrows nothing; keeps its array alive. Texts die with the view.
// Types:     (u)int8..64, half, float, double, bool (the integers 0 and 1), decimals (integers
//            where their scale is 0, else reals), timestamps (the integer count of their unit since
//            1970) and date32 (days since 1970), utf8/binary in all forms, dictionaries of these
//            texts, list/large_list/fixed_size_list of all of them, and map from text or integer to
//            number (the weights of weighted ids) or text. Where it is asked for, lists of lists.
// A cell with an empty text, a null or a list without elements is empty.
#pragma once

#include <arrow/array.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/processor.h"
#include "common/base/status.h"

namespace pepnet {

class ColumnView {
 public:
  enum class Kind { kText, kInteger, kReal };

  // Error: the type is none of the above; the message names only the type. `nested`: lists of lists
  // are legal.
  static StatusOr<ColumnView> Make(std::shared_ptr<arrow::Array> array, bool nested = false);

  Kind kind() const { return elements_.kind; }
  bool is_list() const { return lists_ != Lists::kNone; }
  bool is_map() const { return lists_ == Lists::kMap; }
  // A column of lists of lists: Elements() are row numbers of inner(), and what takes element
  // numbers is asked there.
  bool is_nested() const { return inner_ != nullptr; }
  const ColumnView& inner() const { return *inner_; }
  std::string type_name() const { return array_->type()->ToString(); }

  // Elements of the cell in `row`: [begin, end), one for a column without lists; none for a null
  // list.
  struct Range {
    int64_t begin = 0, end = 0;
  };
  Range Elements(int64_t row) const;
  // Whether the cell with these elements is empty: an empty text, a null, a list without elements,
  // or a null list.
  bool IsEmptyCell(const Range& range) const {
    return range.begin == range.end || (!is_list() && IsEmpty(range.begin));
  }
  // Bring the cell of a row that will be read soon into the cache: first its number, place or
  // offset, and, some rows later, the text behind that. Not asked for: the elements of lists, and
  // texts of dictionaries and views.
  void Prefetch(int64_t row) const {
    if (cells_ != nullptr) PrefetchRead(cells_ + row * cell_bytes_);
  }
  void PrefetchText(int64_t row) const;

  // The numbers of a column of int64, or of lists of int64, in which nothing is null, as they lie
  // in memory: row i holds values[i], or values[offsets[i] .. offsets[i + 1]). No values: not such
  // a column. Die with the view.
  struct PlainIntegers {
    const int64_t* values = nullptr;
    const int32_t* offsets = nullptr;  // null: no lists
  };
  PlainIntegers plain_integers() const;

  // The following functions take element numbers.
  // Null or an empty text.
  bool IsEmpty(int64_t element) const;
  // Precondition: kind() is kText and the element is not null.
  std::string_view Text(int64_t element) const;
  // Precondition: kind() is kInteger, not null. False if an unsigned value or a decimal exceeds
  // int64.
  bool Integer(int64_t element, int64_t* value) const;
  // Precondition: kind() is kReal or kInteger, not null.
  double Real(int64_t element) const;
  // Of a map: what its values are. The elements are its keys.
  Kind map_kind() const { return map_values_.kind; }
  // Precondition: is_map() with numbers, the key is not empty. False if the value is null.
  bool MapValue(int64_t element, double* value) const;
  // Precondition: is_map() with texts, the key is not empty. A null is an empty text.
  std::string_view MapText(int64_t element) const;
  // The element as text, for hashes, vocabularies and messages: integers in decimal, decimals with
  // all their digits, other reals as %.5g, %.9g or %.17g, which their type can be read back from.
  std::string ToText(int64_t element) const;

 private:
  struct Values {
    const arrow::Array* array = nullptr;
    // Of the values; of the dictionary's values for a dictionary.
    arrow::Type::type type = arrow::Type::NA;
    const arrow::DictionaryArray* dictionary = nullptr;
    const arrow::Array* texts = nullptr;  // the dictionary, or the array itself
    Kind kind = Kind::kText;
  };
  enum class Lists { kNone, kList, kLargeList, kFixedSizeList, kMap };

  static Status Inspect(const arrow::Array& array, Values* values);
  static std::string_view TextOf(const Values& values, int64_t element);
  static bool IntegerOf(const Values& values, int64_t element, int64_t* value);
  static double RealOf(const Values& values, int64_t element);

  std::shared_ptr<arrow::Array> array_;
  // The raw values of array_, cell_bytes_ per row; null: not known.
  const uint8_t* cells_ = nullptr;
  int64_t cell_bytes_ = 0;
  Lists lists_ = Lists::kNone;
  Values elements_;
  Values map_values_;
  std::shared_ptr<const ColumnView> inner_;  // shared by copies
};

}  // namespace pepnet

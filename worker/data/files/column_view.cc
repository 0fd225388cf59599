#include "worker/data/files/column_view.h"

#include <arrow/array/util.h>
#include <arrow/type.h>
#include <arrow/util/decimal.h>
#include <arrow/util/float16.h>

#include <cstdio>

#include "absl/strings/numbers.h"
#include "common/base/processor.h"

// arrow::Type has many more values than the ones a column may have.
#pragma GCC diagnostic ignored "-Wswitch-enum"

namespace pepnet {
namespace {

template <typename Array>
auto ValueOf(const arrow::Array* array, int64_t element) {
  return static_cast<const Array*>(array)->Value(element);
}

// Calls use(number, scale) with a decimal of any width, and returns what it returns.
template <typename Use>
auto WithDecimal(const arrow::Array& array, int64_t element, const Use& use) {
  const int32_t scale = static_cast<const arrow::DecimalType&>(*array.type()).scale();
  const uint8_t* bytes = static_cast<const arrow::FixedSizeBinaryArray&>(array).GetValue(element);
  switch (array.type_id()) {
    case arrow::Type::DECIMAL32:
      return use(arrow::Decimal32(bytes), scale);
    case arrow::Type::DECIMAL64:
      return use(arrow::Decimal64(bytes), scale);
    case arrow::Type::DECIMAL128:
      return use(arrow::Decimal128(bytes), scale);
    default:
      return use(arrow::Decimal256(bytes), scale);
  }
}

// Bytes that a row of the type has in the second of an array's buffers; 0: none, or not whole
// bytes.
int64_t CellBytes(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::STRING:
    case arrow::Type::BINARY:
    case arrow::Type::LIST:
    case arrow::Type::MAP:
      return sizeof(int32_t);
    case arrow::Type::LARGE_STRING:
    case arrow::Type::LARGE_BINARY:
    case arrow::Type::LARGE_LIST:
      return sizeof(int64_t);
    case arrow::Type::STRING_VIEW:
    case arrow::Type::BINARY_VIEW:
      return sizeof(arrow::BinaryViewType::c_type);
    default:
      return arrow::is_fixed_width(type.id()) ? type.bit_width() / 8 : 0;
  }
}

bool IsList(const arrow::DataType& type) {
  return type.id() == arrow::Type::LIST || type.id() == arrow::Type::LARGE_LIST ||
         type.id() == arrow::Type::FIXED_SIZE_LIST;
}

Status Unsupported(const arrow::Array& array) {
  return InvalidInput(
      "the type ", array.type()->ToString(),
      " is not supported; write the column as numbers, texts, lists of them, or a map from text or "
      "integer to number");
}

}  // namespace

Status ColumnView::Inspect(const arrow::Array& array, Values* values) {
  values->array = values->texts = &array;
  values->type = array.type_id();
  // A dictionary column has its values once and an index per cell; kind and type are those of the
  // values.
  if (values->type == arrow::Type::DICTIONARY) {
    values->dictionary = static_cast<const arrow::DictionaryArray*>(&array);
    values->texts = values->dictionary->dictionary().get();
    values->type = values->texts->type_id();
  }
  switch (values->type) {
    case arrow::Type::STRING:
    case arrow::Type::BINARY:
    case arrow::Type::LARGE_STRING:
    case arrow::Type::LARGE_BINARY:
    case arrow::Type::STRING_VIEW:
    case arrow::Type::BINARY_VIEW:
    case arrow::Type::NA:  // a column of nulls only; its elements are never read
      values->kind = Kind::kText;
      return absl::OkStatus();
    case arrow::Type::INT8:
    case arrow::Type::INT16:
    case arrow::Type::INT32:
    case arrow::Type::INT64:
    case arrow::Type::UINT8:
    case arrow::Type::UINT16:
    case arrow::Type::UINT32:
    case arrow::Type::UINT64:
    case arrow::Type::BOOL:
    case arrow::Type::TIMESTAMP:
    case arrow::Type::DATE32:
      values->kind = Kind::kInteger;
      break;
    case arrow::Type::DECIMAL32:
    case arrow::Type::DECIMAL64:
    case arrow::Type::DECIMAL128:
    case arrow::Type::DECIMAL256:
      values->kind = static_cast<const arrow::DecimalType&>(*array.type()).scale() == 0
                         ? Kind::kInteger
                         : Kind::kReal;
      break;
    case arrow::Type::HALF_FLOAT:
    case arrow::Type::FLOAT:
    case arrow::Type::DOUBLE:
      values->kind = Kind::kReal;
      break;
    default:
      return Unsupported(array);
  }
  // Dictionaries of numbers have no reader here.
  if (values->dictionary != nullptr) return Unsupported(array);
  return absl::OkStatus();
}

StatusOr<ColumnView> ColumnView::Make(std::shared_ptr<arrow::Array> array, bool nested) {
  ColumnView view;
  view.array_ = std::move(array);
  view.cell_bytes_ = CellBytes(*view.array_->type());
  const auto& buffers = view.array_->data()->buffers;
  // A slice begins at an offset within its buffers, which raw pointers do not know of.
  if (view.cell_bytes_ > 0 && buffers.size() > 1 && buffers[1] != nullptr) {
    view.cells_ = buffers[1]->data() + view.array_->offset() * view.cell_bytes_;
  }
  const arrow::Array* values = view.array_.get();
  switch (values->type_id()) {
    case arrow::Type::LIST:
      view.lists_ = Lists::kList;
      values = static_cast<const arrow::ListArray*>(values)->values().get();
      break;
    case arrow::Type::LARGE_LIST:
      view.lists_ = Lists::kLargeList;
      values = static_cast<const arrow::LargeListArray*>(values)->values().get();
      break;
    case arrow::Type::FIXED_SIZE_LIST:
      view.lists_ = Lists::kFixedSizeList;
      values = static_cast<const arrow::FixedSizeListArray*>(values)->values().get();
      break;
    case arrow::Type::MAP: {
      view.lists_ = Lists::kMap;
      const auto* map = static_cast<const arrow::MapArray*>(values);
      PEPNET_RETURN_IF_ERROR(Inspect(*map->items(), &view.map_values_));
      values = map->keys().get();
      break;
    }
    default:
      break;
  }
  // One level of nesting is unwrapped, by a view of the inner lists as rows of their own.
  if (nested && view.is_list() && !view.is_map() && IsList(*values->type())) {
    PEPNET_ASSIGN_OR_RETURN(ColumnView inner, Make(arrow::MakeArray(values->data()), false));
    view.inner_ = std::make_shared<const ColumnView>(std::move(inner));
    return view;
  }
  PEPNET_RETURN_IF_ERROR(Inspect(*values, &view.elements_));
  return view;
}

ColumnView::Range ColumnView::Elements(int64_t row) const {
  if (lists_ == Lists::kNone) return {row, row + 1};
  // A null list may have any offsets.
  if (array_->IsNull(row)) return {0, 0};
  if (lists_ == Lists::kLargeList) {
    const auto* lists = static_cast<const arrow::LargeListArray*>(array_.get());
    return {lists->value_offset(row), lists->value_offset(row + 1)};
  }
  if (lists_ == Lists::kFixedSizeList) {
    const auto* lists = static_cast<const arrow::FixedSizeListArray*>(array_.get());
    return {lists->value_offset(row), lists->value_offset(row) + lists->value_length()};
  }
  // A map is a list of pairs.
  const auto* lists = static_cast<const arrow::ListArray*>(array_.get());
  return {lists->value_offset(row), lists->value_offset(row + 1)};
}

ColumnView::PlainIntegers ColumnView::plain_integers() const {
  // Nulls are asked for once, by the column, so that the loop over the numbers needs no branch.
  const bool is_plain = (lists_ == Lists::kNone || lists_ == Lists::kList) && inner_ == nullptr &&
                        elements_.type == arrow::Type::INT64 &&
                        elements_.array->null_count() == 0 && array_->null_count() == 0;
  if (!is_plain) return {};
  const int64_t* const values =
      static_cast<const arrow::Int64Array*>(elements_.array)->raw_values();
  if (lists_ == Lists::kNone) return {values, nullptr};
  return {values, static_cast<const arrow::ListArray*>(array_.get())->raw_value_offsets()};
}

// Only where a null has an offset like any other cell.
void ColumnView::PrefetchText(int64_t row) const {
  if (lists_ != Lists::kNone || elements_.dictionary != nullptr) return;
  switch (elements_.type) {
    case arrow::Type::STRING:
    case arrow::Type::BINARY:
    case arrow::Type::LARGE_STRING:
    case arrow::Type::LARGE_BINARY:
      PrefetchRead(Text(row).data());
      break;
    default:
      break;
  }
}

bool ColumnView::IsEmpty(int64_t element) const {
  if (elements_.array->IsNull(element)) return true;
  return elements_.kind == Kind::kText && Text(element).empty();
}

std::string_view ColumnView::TextOf(const Values& values, int64_t element) {
  const int64_t at =
      values.dictionary != nullptr ? values.dictionary->GetValueIndex(element) : element;
  switch (values.type) {
    case arrow::Type::STRING:
    case arrow::Type::BINARY:
      return static_cast<const arrow::BinaryArray*>(values.texts)->GetView(at);
    case arrow::Type::LARGE_STRING:
    case arrow::Type::LARGE_BINARY:
      return static_cast<const arrow::LargeBinaryArray*>(values.texts)->GetView(at);
    default:
      return static_cast<const arrow::BinaryViewArray*>(values.texts)->GetView(at);
  }
}

std::string_view ColumnView::Text(int64_t element) const { return TextOf(elements_, element); }

std::string_view ColumnView::MapText(int64_t element) const {
  return map_values_.array->IsNull(element) ? std::string_view() : TextOf(map_values_, element);
}

bool ColumnView::IntegerOf(const Values& values, int64_t element, int64_t* value) {
  switch (values.type) {
    case arrow::Type::INT8:
      *value = ValueOf<arrow::Int8Array>(values.array, element);
      return true;
    case arrow::Type::INT16:
      *value = ValueOf<arrow::Int16Array>(values.array, element);
      return true;
    case arrow::Type::INT32:
      *value = ValueOf<arrow::Int32Array>(values.array, element);
      return true;
    case arrow::Type::UINT8:
      *value = ValueOf<arrow::UInt8Array>(values.array, element);
      return true;
    case arrow::Type::UINT16:
      *value = ValueOf<arrow::UInt16Array>(values.array, element);
      return true;
    case arrow::Type::UINT32:
      *value = ValueOf<arrow::UInt32Array>(values.array, element);
      return true;
    case arrow::Type::UINT64:
      // A number above int64 is no id that a table could have; the caller takes its text for the
      // message.
      *value = static_cast<int64_t>(ValueOf<arrow::UInt64Array>(values.array, element));
      return *value >= 0;
    case arrow::Type::BOOL:
      *value = ValueOf<arrow::BooleanArray>(values.array, element) ? 1 : 0;
      return true;
    case arrow::Type::TIMESTAMP:
      *value = ValueOf<arrow::TimestampArray>(values.array, element);
      return true;
    case arrow::Type::DATE32:
      *value = ValueOf<arrow::Date32Array>(values.array, element);
      return true;
    case arrow::Type::DECIMAL32:
    case arrow::Type::DECIMAL64:
    case arrow::Type::DECIMAL128:
    case arrow::Type::DECIMAL256:
      return WithDecimal(*values.array, element, [value](const auto& number, int32_t) {
        return absl::SimpleAtoi(number.ToIntegerString(), value);
      });
    default:
      *value = ValueOf<arrow::Int64Array>(values.array, element);
      return true;
  }
}

double ColumnView::RealOf(const Values& values, int64_t element) {
  if (values.type == arrow::Type::DOUBLE) return ValueOf<arrow::DoubleArray>(values.array, element);
  if (values.type == arrow::Type::FLOAT) return ValueOf<arrow::FloatArray>(values.array, element);
  if (values.type == arrow::Type::HALF_FLOAT) {
    return arrow::util::Float16::FromBits(ValueOf<arrow::HalfFloatArray>(values.array, element))
        .ToDouble();
  }
  if (arrow::is_decimal(values.type)) {
    return WithDecimal(*values.array, element,
                       [](const auto& number, int32_t scale) { return number.ToDouble(scale); });
  }
  int64_t integer = 0;
  if (IntegerOf(values, element, &integer)) return static_cast<double>(integer);
  // IntegerOf() has wrapped the value around: it is a uint64 above int64.
  return static_cast<double>(static_cast<uint64_t>(integer));
}

bool ColumnView::Integer(int64_t element, int64_t* value) const {
  return IntegerOf(elements_, element, value);
}

double ColumnView::Real(int64_t element) const { return RealOf(elements_, element); }

bool ColumnView::MapValue(int64_t element, double* value) const {
  if (map_values_.array->IsNull(element)) return false;
  *value = RealOf(map_values_, element);
  return true;
}

std::string ColumnView::ToText(int64_t element) const {
  if (elements_.array->IsNull(element)) return "";
  if (elements_.kind == Kind::kText) return std::string(Text(element));
  if (arrow::is_decimal(elements_.type)) {
    return WithDecimal(*elements_.array, element,
                       [](const auto& number, int32_t scale) { return number.ToString(scale); });
  }
  if (elements_.kind == Kind::kReal) {
    char text[32];
    // The digits are enough to read the same value back, by type.
    const char* format = elements_.type == arrow::Type::HALF_FLOAT ? "%.5g"
                         : elements_.type == arrow::Type::FLOAT    ? "%.9g"
                                                                   : "%.17g";
    std::snprintf(text, sizeof(text), format, Real(element));
    return text;
  }
  int64_t integer = 0;
  if (Integer(element, &integer)) return absl::StrCat(integer);
  return absl::StrCat(static_cast<uint64_t>(integer));
}

}  // namespace pepnet

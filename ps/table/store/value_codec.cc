#include "ps/table/store/value_codec.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "common/base/processor.h"
#include "common/base/random.h"

namespace pepnet {
namespace {

constexpr uint32_t kSign = 0x80000000, kInfinity = 0x7F800000;             // of a float32
constexpr uint32_t kHalf = uint32_t{1} << 31;                              // of a quantum
constexpr int kLeastScale = -126, kLargestScale = 121, kNotFinite = -128;  // k of INT8

uint32_t BitsOf(float x) { return std::bit_cast<uint32_t>(x); }
uint32_t MagnitudeOf(float x) { return BitsOf(x) & ~kSign; }

// |x| in quanta: whole ones, and the rest in 2^-32.
struct Quanta {
  uint32_t whole;
  uint32_t rest;
};

// |x| 2^32 / 2^quantum_exponent, rounded down. Precondition: the quantum is no less than the last
// place of x.
Quanta QuantaOf(uint32_t magnitude, int quantum_exponent) {
  const uint32_t exponent = magnitude >> 23;
  // |x| = mantissa * 2^(max(exponent, 1) - 150)
  const uint64_t mantissa = (magnitude & 0x7FFFFF) | (exponent > 0 ? 0x800000 : 0);
  const int shift = quantum_exponent + 150 - static_cast<int>(std::max<uint32_t>(exponent, 1));
  // The mantissa has 24 bits, so 32 more fit. A shift of 63 leaves 0, as any longer one would,
  // which the language does not define.
  const uint64_t fixed = mantissa << 32 >> std::min(shift, 63);
  return {static_cast<uint32_t>(fixed >> 32), static_cast<uint32_t>(fixed)};
}

// Whole quanta after rounding an element of a row.
struct ToNearest {
  PEPNET_SIMD_INLINE uint32_t operator()(Quanta x, size_t) const {
    return x.whole + ((x.rest > kHalf || (x.rest == kHalf && x.whole % 2 == 1)) ? 1 : 0);
  }
};
struct Stochastic {
  const uint32_t* words;

  PEPNET_SIMD_INLINE uint32_t operator()(Quanta x, size_t element) const {
    return x.whole + (words[element] < x.rest ? 1 : 0);
  }
};

// Neighbours of one sign have neighbouring codes, so that quanta are counted in codes. No branches:
// rows of many numbers are rounded in vector instructions.
template <typename Round>
PEPNET_SIMD_INLINE uint16_t ToBf16(float x, size_t element, const Round& round) {
  const uint32_t bits = BitsOf(x), magnitude = bits & ~kSign;
  const uint32_t code = round({magnitude >> 16, magnitude << 16}, element);
  const uint32_t finite = code < 0x7F7F ? code : 0x7F7F;
  const uint32_t not_finite = magnitude == kInfinity ? 0x7F80 : 0x7FC0;
  return static_cast<uint16_t>((bits & kSign) >> 16 |
                               (magnitude < kInfinity ? finite : not_finite));
}
PEPNET_SIMD_CLONES
void ToBf16(const float* __restrict values, size_t dim, Stochastic round,
            uint16_t* __restrict codes) {
  for (size_t e = 0; e < dim; ++e) codes[e] = ToBf16(values[e], e, round);
}
void ToBf16(const float* values, size_t dim, ToNearest round, uint16_t* codes) {
  for (size_t e = 0; e < dim; ++e) codes[e] = ToBf16(values[e], e, round);
}
float FromBf16(uint16_t code) { return std::bit_cast<float>(uint32_t{code} << 16); }

template <typename Round>
uint16_t ToFp16(float x, size_t element, const Round& round) {
  constexpr uint32_t kLeastNormal = 0x38800000;  // 2^-14, the code 0x400
  constexpr int kSubnormalQuantum = -24;
  const uint32_t magnitude = MagnitudeOf(x);
  const uint16_t sign = static_cast<uint16_t>((BitsOf(x) & kSign) >> 16);
  // A normal number loses 13 of its 23 mantissa bits; shifted up by 19 they are the rest in 2^-32.
  // The difference of the bits is the code, and a carry into the exponent gives the next code.
  // Below 2^-14 all quanta are 2^-24.
  const Quanta quanta = magnitude < kLeastNormal
                            ? QuantaOf(magnitude, kSubnormalQuantum)
                            : Quanta{((magnitude - kLeastNormal) >> 13) + 0x400, magnitude << 19};
  const uint32_t code = round(quanta, element);
  if (magnitude > kInfinity) return sign | 0x7E00;
  if (magnitude == kInfinity) return sign | 0x7C00;
  return sign | static_cast<uint16_t>(std::min<uint32_t>(code, 0x7BFF));
}
float FromFp16(uint16_t code) {
  const uint32_t sign = uint32_t{code & 0x8000u} << 16, magnitude = code & 0x7FFF;
  if (magnitude >= 0x7C00) {
    return std::bit_cast<float>(sign | kInfinity | (magnitude & 0x3FF) << 13);
  }
  // The exponent is biased by 127 instead of 15. A subnormal number is `magnitude` quanta of 2^-24.
  if (magnitude >= 0x400) return std::bit_cast<float>(sign | ((magnitude << 13) + (112u << 23)));
  return std::bit_cast<float>(sign | BitsOf(static_cast<float>(magnitude) * 0x1.0p-24f));
}

// k of the scale of a row with this largest magnitude, which is finite.
int ScaleOf(uint32_t largest) {
  // |x| = f 2^E with 1 <= f < 2, and 127 = 1.984375 * 2^6.
  const int exponent = static_cast<int>(largest >> 23) - 127;
  return std::clamp(exponent - 6 + ((largest & 0x7FFFFF) > 0x7E0000 ? 1 : 0), kLeastScale,
                    kLargestScale);
}

template <typename Round>
void ToInt8(const float* values, size_t dim, const Round& round, int8_t* out) {
  uint32_t largest = 0;
  for (size_t e = 0; e < dim; ++e) largest = std::max(largest, MagnitudeOf(values[e]));
  if (largest >= kInfinity) {
    std::fill_n(out, dim, int8_t{0});
    out[dim] = kNotFinite;
    return;
  }
  const int scale = ScaleOf(largest);
  for (size_t e = 0; e < dim; ++e) {
    const uint32_t whole = round(QuantaOf(MagnitudeOf(values[e]), scale), e);
    const auto q = static_cast<int8_t>(std::min<uint32_t>(whole, 127));
    out[e] = (BitsOf(values[e]) & kSign) != 0 ? static_cast<int8_t>(-q) : q;
  }
  out[dim] = static_cast<int8_t>(scale);
}
void FromInt8(const int8_t* row, size_t dim, float* values) {
  const int scale = row[dim];
  // 0 * NaN is NaN, so a row that is not finite reads NaN in every element.
  const float factor = scale == kNotFinite
                           ? std::bit_cast<float>(kInfinity | 0x400000)
                           : std::bit_cast<float>(static_cast<uint32_t>(scale + 127) << 23);
  for (size_t e = 0; e < dim; ++e) values[e] = static_cast<float>(row[e]) * factor;
}

template <typename Round>
void WriteRow(ValueKind kind, const float* values, size_t dim, int64_t words, const Round& round,
              float* row) {
  // And so the padding.
  if (kind != ValueKind::kFp32 && words > 0) std::memset(row + words - 1, 0, sizeof(float));
  auto* const codes = reinterpret_cast<uint16_t*>(row);
  switch (kind) {
    case ValueKind::kFp32:
      return CopyRow(values, dim, row);
    case ValueKind::kFp16:
      for (size_t e = 0; e < dim; ++e) codes[e] = ToFp16(values[e], e, round);
      return;
    case ValueKind::kBf16:
      return ToBf16(values, dim, round, codes);
    case ValueKind::kInt8:
      return ToInt8(values, dim, round, reinterpret_cast<int8_t*>(row));
  }
}

}  // namespace

void ValueCodec::ReadNarrow(const float* row, float* values) const {
  const auto* const codes = reinterpret_cast<const uint16_t*>(row);
  switch (kind_) {
    case ValueKind::kFp32:
      return CopyRow(row, dim_, values);
    case ValueKind::kFp16:
      for (size_t e = 0; e < dim_; ++e) values[e] = FromFp16(codes[e]);
      return;
    case ValueKind::kBf16:
      for (size_t e = 0; e < dim_; ++e) values[e] = FromBf16(codes[e]);
      return;
    case ValueKind::kInt8:
      return FromInt8(reinterpret_cast<const int8_t*>(row), dim_, values);
  }
}

void ValueCodec::WriteNarrow(const float* values, float* row) const {
  WriteRow(kind_, values, dim_, words_, ToNearest(), row);
}

void ValueCodec::WriteRows(std::span<const float* const> values, uint64_t key,
                           std::span<const int64_t> ids, float* const* rows) const {
  // The words of all rows are drawn first, many counters at once.
  thread_local std::vector<uint32_t> words;  // reused: one allocation per thread, not per call
  const size_t row_blocks = (dim_ + 3) / 4;
  words.resize(4 * row_blocks * ids.size());
  PhiloxWords(key, ids, row_blocks, words.data());
  for (size_t i = 0; i < ids.size(); ++i) {
    WriteRow(kind_, values[i], dim_, words_, Stochastic{words.data() + 4 * row_blocks * i},
             rows[i]);
  }
}

void RoundToNearest(ValueKind kind, std::span<float> values) {
  if (kind == ValueKind::kFp32) return;
  const ValueCodec codec(kind, static_cast<int>(values.size()));
  thread_local std::vector<float> row;  // reused: one allocation per thread, not per row
  row.resize(static_cast<size_t>(codec.words()));
  codec.Write(values.data(), row.data());
  codec.Read(row.data(), values.data());
}

}  // namespace pepnet

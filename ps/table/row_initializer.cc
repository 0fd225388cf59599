#include "ps/table/row_initializer.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/base/processor.h"
#include "common/base/random.h"
#include "ps/table/store/value_codec.h"

namespace pepnet {
namespace {

constexpr size_t kBlockFloats = 4;    // of one counter
constexpr size_t kWordsAtOnce = 512;  // drawn before they are made numbers, in the first cache

// low + span * UnitFloat(word), word by word.
PEPNET_SIMD_CLONES
void UniformOf(const uint32_t* __restrict words, size_t count, float low, float span,
               float* __restrict out) {
  for (size_t i = 0; i < count; ++i) {
    // 24 bits fit an int32, whose conversion to float all vector units have; that of uint32 came
    // with AVX-512.
    out[i] = low + span * (static_cast<float>(static_cast<int32_t>(words[i] >> 8)) * 0x1.0p-24f);
  }
}

}  // namespace

FloatRange UniformRange(const Table& table) {
  if (table.initializer.kind == InitKind::kDefault) {
    const double bound = std::sqrt(1.0 / static_cast<double>(table.rows));
    return {static_cast<float>(-bound), static_cast<float>(2 * bound)};
  }
  return {static_cast<float>(table.initializer.a),
          static_cast<float>(table.initializer.b - table.initializer.a)};
}

RowInitializer::RowInitializer(const Table& table, uint64_t seed)
    : initializer_(table.initializer),
      value_kind_(table.value_kind),
      range_(UniformRange(table)),
      rows_(static_cast<uint64_t>(table.rows)),
      seed_(seed),
      table_hash_(HashName(table.name)),
      key_(RandomKey(seed, RandomPurpose::kTableInit, table_hash_)) {}

void RowInitializer::Fill(int64_t id, std::span<float> out) const {
  FillExactly(id, out);
  RoundToNearest(value_kind_, out);
}

void RowInitializer::FillExactly(int64_t id, std::span<float> out) const {
  switch (initializer_.kind) {
    case InitKind::kConstant:
      std::fill(out.begin(), out.end(), range_.low);
      return;
    case InitKind::kNormal:
      return FillNormal(id, out);
    case InitKind::kDefault:
    case InitKind::kUniform:
      return FillUniform(id, out);
    case InitKind::kTruncatedNormal:
      return FillTruncatedNormal(id, out);
    case InitKind::kEye:
      for (size_t e = 0; e < out.size(); ++e) out[e] = static_cast<int64_t>(e) == id ? 1.0f : 0.0f;
      return;
    case InitKind::kSparse:
      return FillSparse(id, out);
  }
}

void RowInitializer::FillUniform(int64_t id, std::span<float> out) const {
  for (size_t begin = 0; begin < out.size(); begin += 4) {
    const auto words = Philox4x32(key_, static_cast<uint64_t>(id), begin / 4);
    const size_t count = std::min<size_t>(4, out.size() - begin);
    for (size_t i = 0; i < count; ++i) {
      out[begin + i] = range_.low + range_.span * UnitFloat(words[i]);
    }
  }
}

void RowInitializer::FillNormal(int64_t id, std::span<float> out) const {
  // A kSparse initializer keeps its share of zeros in `a`, where kNormal keeps the mean.
  const double mean = initializer_.kind == InitKind::kSparse ? 0 : initializer_.a;
  for (size_t begin = 0; begin < out.size(); begin += 4) {
    const auto words = Philox4x32(key_, static_cast<uint64_t>(id), begin / 4);
    const size_t count = std::min<size_t>(4, out.size() - begin);
    for (size_t i = 0; i < count; ++i) out[begin + i] = NormalFloat(words, i, mean, initializer_.b);
  }
}

void RowInitializer::FillTruncatedNormal(int64_t id, std::span<float> out) const {
  const auto& [kind, mean, deviation, low, high] = initializer_;
  // An interval above the mean is mirrored: F is precise in its lower half, where 1 - F does not
  // cancel.
  const bool is_upper = low > mean;
  const double sign = is_upper ? -1 : 1;
  const double begin = NormalDistribution((is_upper ? mean - high : low - mean) / deviation);
  const double share =
      NormalDistribution((is_upper ? mean - low : high - mean) / deviation) - begin;
  for (size_t e = 0; e < out.size(); e += 4) {
    const auto words = Philox4x32(key_, static_cast<uint64_t>(id), e / 4);
    const size_t count = std::min<size_t>(4, out.size() - e);
    for (size_t i = 0; i < count; ++i) {
      const double z = NormalQuantile(begin + share * ((words[i] + 0.5) * 0x1.0p-32));
      // The quantile is rounded, so a number at a bound may fall just outside.
      out[e + i] = static_cast<float>(std::clamp(mean + sign * deviation * z, low, high));
    }
  }
}

void RowInitializer::FillSparse(int64_t id, std::span<float> out) const {
  FillNormal(id, out);
  const double rows = static_cast<double>(rows_);
  const auto zeros = static_cast<uint64_t>(std::clamp(std::ceil(initializer_.a * rows), 0.0, rows));
  for (size_t e = 0; e < out.size(); ++e) {
    // Column e has a permutation of its own: the id with place p < zeros is 0. No state is kept,
    // and any server finds the zeros of its rows alone (law L3).
    const KeyedPermutation place(RandomKey(seed_, RandomPurpose::kTableInit, table_hash_, 1 + e),
                                 rows_);
    if (place(static_cast<uint64_t>(id) % rows_) < zeros) out[e] = 0;
  }
}

void RowInitializer::FillRows(std::span<const int64_t> ids, int dim, float* out) const {
  // Uniform values are the default, and early steps draw them for nearly every id: many counters at
  // once. Rows of another width go one by one; both ways give the same bits.
  const bool is_uniform =
      initializer_.kind == InitKind::kDefault || initializer_.kind == InitKind::kUniform;
  size_t i = 0;
  if (is_uniform && dim % kBlockFloats == 0) {
    const size_t width = static_cast<size_t>(dim),
                 at_once = std::max<size_t>(1, kWordsAtOnce / width);
    std::vector<uint32_t> words(std::min(at_once, ids.size()) * width);
    while (i < ids.size()) {
      const size_t count = std::min(at_once, ids.size() - i);
      PhiloxWords(key_, ids.subspan(i, count), width / kBlockFloats, words.data());
      UniformOf(words.data(), count * width, range_.low, range_.span, out + i * width);
      i += count;
    }
  }
  const auto row = [&](size_t number) {
    return std::span(out + number * static_cast<size_t>(dim), static_cast<size_t>(dim));
  };
  for (; i < ids.size(); ++i) FillExactly(ids[i], row(i));
  if (value_kind_ == ValueKind::kFp32) return;
  for (size_t number = 0; number < ids.size(); ++number) RoundToNearest(value_kind_, row(number));
}

}  // namespace pepnet

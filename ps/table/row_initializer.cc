#include "ps/table/row_initializer.h"

#include <algorithm>
#include <cmath>

#include "common/base/random.h"

namespace pepnet {

RowInitializer::RowInitializer(const Table& table, uint64_t seed)
    : kind_(table.initializer.kind),
      low_(static_cast<float>(table.initializer.a)),
      span_(static_cast<float>(table.initializer.b - table.initializer.a)),
      mean_(table.initializer.a),
      stddev_(table.initializer.b),
      key_(RandomKey(seed, RandomPurpose::kTableInit, HashName(table.name))) {
  if (kind_ == InitKind::kDefault) {
    const double bound = std::sqrt(1.0 / static_cast<double>(table.rows));
    low_ = static_cast<float>(-bound);
    span_ = static_cast<float>(2 * bound);
  }
}

void RowInitializer::Fill(int64_t id, std::span<float> out) const {
  switch (kind_) {
    case InitKind::kConstant:
      std::fill(out.begin(), out.end(), low_);
      return;
    case InitKind::kNormal:
      return FillNormal(id, out);
    case InitKind::kDefault:
    case InitKind::kUniform:
      return FillUniform(id, out);
  }
}

void RowInitializer::FillUniform(int64_t id, std::span<float> out) const {
  for (size_t begin = 0; begin < out.size(); begin += 4) {
    const auto words = Philox4x32(key_, static_cast<uint64_t>(id), begin / 4);
    const size_t count = std::min<size_t>(4, out.size() - begin);
    for (size_t i = 0; i < count; ++i) out[begin + i] = low_ + span_ * UnitFloat(words[i]);
  }
}

void RowInitializer::FillNormal(int64_t id, std::span<float> out) const {
  for (size_t begin = 0; begin < out.size(); begin += 4) {
    const auto words = Philox4x32(key_, static_cast<uint64_t>(id), begin / 4);
    const size_t count = std::min<size_t>(4, out.size() - begin);
    for (size_t i = 0; i < count; ++i) out[begin + i] = NormalFloat(words, i, mean_, stddev_);
  }
}

}  // namespace pepnet

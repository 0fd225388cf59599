#include "ps/table/row_initializer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

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
    for (size_t i = 0; i < count; ++i) {
      const double u1 = 1.0 - UnitFloat(words[i & ~size_t{1}]);  // in (0, 1]: the logarithm is finite
      const double angle = 2 * std::numbers::pi * UnitFloat(words[i | 1]);
      const double radius = std::sqrt(-2 * std::log(u1));
      out[begin + i] = static_cast<float>(mean_ + stddev_ * radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle)));
    }
  }
}

}  // namespace pepnet

// The first value of a row: a function of (seed, table, id) alone (law L3). A table of fewer bits
// rounds it to nearest (store/value_codec.h).
//
//   kDefault  U(-sqrt(1/rows), sqrt(1/rows))              kUniform   U(a, b)
//   kNormal   a + b * N(0, 1), Box-Muller                 kConstant  a
//   kTruncatedNormal   a + b * N(0, 1) within low <= x <= high
//   kEye               1 where element e == id, else 0
//   kSparse            N(0, b) as kNormal, but 0 in ceil(a * rows) rows of each column
// Element e of row `id` comes from word e % 4 of Philox4x32(RandomKey(seed, kTableInit,
// HashName(table)), id, e / 4).
// Normal: elements 2k and 2k+1 share their two words, u1 = 1 - UnitFloat(word 2k) and
//   u2 = UnitFloat(word 2k+1):
//   z(2k) = sqrt(-2 ln u1) cos(2 pi u2),  z(2k+1) = sqrt(-2 ln u1) sin(2 pi u2), in double.
// Truncated: with F the normal distribution function, u = (word + 1/2) / 2^32 and y the bounds as
//   (bound - a) / b, z = F^-1( F(y_low) + u (F(y_high) - F(y_low)) ); where low > a computed for
//   -x, and negated: F is precise below 0.
// Sparse: element e of row `id` is 0 where P_e(id) < ceil(a * rows), P_e the KeyedPermutation of
//   [0, rows) with the key RandomKey(seed, kTableInit, HashName(table), 1 + e). So each column has
//   its exact number of zeros.
#pragma once

#include <cstdint>
#include <span>

#include "common/job_config/table.h"

namespace pepnet {

// low + span * u with u in [0, 1).
struct FloatRange {
  float low, span;
};
// Of a table with uniform initial values, kDefault or kUniform.
FloatRange UniformRange(const Table& table);

class RowInitializer {
 public:
  RowInitializer(const Table& table, uint64_t seed);
  // Writes out.size() == dim floats. Precondition of a column's number of zeros: 0 <= id < rows.
  void Fill(int64_t id, std::span<float> out) const;
  // The same for one row after the other: ids.size() * dim floats. In less time for uniform values.
  void FillRows(std::span<const int64_t> ids, int dim, float* out) const;

 private:
  void FillExactly(int64_t id, std::span<float> out) const;  // float32
  void FillUniform(int64_t id, std::span<float> out) const;
  void FillNormal(int64_t id, std::span<float> out) const;
  void FillTruncatedNormal(int64_t id, std::span<float> out) const;
  void FillSparse(int64_t id, std::span<float> out) const;

  Initializer initializer_;
  ValueKind value_kind_;
  FloatRange range_;  // uniform; constant: low
  uint64_t rows_;
  uint64_t seed_, table_hash_;
  uint64_t key_;
};

}  // namespace pepnet

// The first value of a row: a function of (seed, table, id) alone (law L3).
//
//   kDefault  U(-sqrt(1/rows), sqrt(1/rows))              kUniform   U(a, b)
//   kNormal   a + b * N(0, 1), Box-Muller                 kConstant  a
// Element e of row `id` comes from word e % 4 of Philox4x32(RandomKey(seed, kTableInit, HashName(table)), id, e / 4).
// Normal: elements 2k and 2k+1 share their two words, u1 = 1 - UnitFloat(word 2k), u2 = UnitFloat(word 2k+1):
//   z(2k) = sqrt(-2 ln u1) cos(2 pi u2),  z(2k+1) = sqrt(-2 ln u1) sin(2 pi u2), in double.
#pragma once

#include <cstdint>
#include <span>

#include "common/job_config/table.h"

namespace pepnet {

class RowInitializer {
 public:
  RowInitializer(const Table& table, uint64_t seed);
  // Writes out.size() == dim floats.
  void Fill(int64_t id, std::span<float> out) const;
  // The same for one row after the other: ids.size() * dim floats. In less time for uniform values.
  void FillRows(std::span<const int64_t> ids, int dim, float* out) const;

 private:
  void FillUniform(int64_t id, std::span<float> out) const;
  void FillNormal(int64_t id, std::span<float> out) const;

  InitKind kind_;
  float low_, span_;      // uniform; constant: low_
  double mean_, stddev_;  // normal
  uint64_t key_;
};

}  // namespace pepnet

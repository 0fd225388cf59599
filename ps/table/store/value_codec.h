// ValueCodec: how the values of a row, or its optimizer state, stand in a server's table, and how
//             float32 is rounded to them.
//
// Words:   of 4 bytes:
//            FP32        dim floats
//            FP16, BF16  dim x 2 bytes, padded with 0 to a word
//            INT8        dim x int8 q, a byte k, padded with 0 to a word: element e is q[e] 2^k.
//                        2^k is the row's scale; k = -128: the row holds a number that is not
//                        finite, and reads NaN in all elements
// Scale:   k is the least in [-126, 121] with max_e |x[e]| <= 127 * 2^k. So q 2^k is exact in
//          float32, and what a row reads is rounded to itself: a smaller scale is found only where
//          all elements are its multiples.
// Rounding: |x| = (u + f) quanta, u whole, 0 <= f < 1 (the quantum: to the next number of the type,
// 2^k of INT8).
//            to nearest     u + 1 if f > 1/2, or f = 1/2 and u is odd, else u
//            stochastic     u + 1 if word < 2^32 f, else u: x in the mean. Element e of row `id`
//                           has word e % 4 of Philox4x32(key, id, e / 4)
//          f counts in steps of 2^-32, rounded down: that matters only where |x| < 2^-9 quanta.
//          Sign and what is exact stay; INT8 has no -0. A finite number beyond the type's largest
//          becomes the largest, as in FP16 65504; infinities and NaN stay in FP16 and BF16.
// Bits:    integer arithmetic alone, so the same on every CPU.
// Threads: constant after construction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "common/base/copy_row.h"
#include "common/job_config/table.h"

namespace pepnet {

class ValueCodec {
 public:
  ValueCodec(ValueKind kind, int dim)
      : kind_(kind),
        dim_(static_cast<size_t>(dim)),
        words_(TypeOf(kind).value_bytes(dim) / sizeof(float)) {}

  ValueKind kind() const { return kind_; }
  // Values are float32: they are read and changed where they stand.
  bool is_float() const { return kind_ == ValueKind::kFp32; }
  size_t dim() const { return dim_; }
  // Of 4 bytes that the numbers take.
  int64_t words() const { return words_; }

  // The dim values of the row at `row`, exactly.
  void Read(const float* row, float* values) const {
    if (is_float()) return CopyRow(row, dim_, values);
    ReadNarrow(row, values);
  }
  // Rounds dim values into the row at `row`, to nearest.
  void Write(const float* values, float* row) const {
    if (is_float()) return CopyRow(values, dim_, row);
    WriteNarrow(values, row);
  }
  // Rounds values[i], of the row ids[i], stochastically into rows[i], for each i. Any thread.
  void WriteRows(std::span<const float* const> values, uint64_t key, std::span<const int64_t> ids,
                 float* const* rows) const;

 private:
  void ReadNarrow(const float* row, float* values) const;
  void WriteNarrow(const float* values, float* row) const;

  ValueKind kind_;
  size_t dim_;
  int64_t words_;
};

// Replaces the values of one row by what they read after they have been rounded to nearest.
void RoundToNearest(ValueKind kind, std::span<float> values);

}  // namespace pepnet

// EncoderBuffers: numbered arrays of floats that grow to the largest size asked for and are kept,
// so that no step allocates. What lies in which is the business of the encoder that uses them.
//
// Threads:   one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "worker/model/fused/kernels/sized_buffer.h"

namespace pepnet {

class EncoderBuffers {
 public:
  // Array `number` with room for `size` floats. A call that asks for no more than an earlier one
  // leaves its contents as they are; one that asks for more leaves them undefined, and ends the
  // pointers to them.
  float* Get(size_t number, int64_t size) {
    if (arrays_.size() <= number) arrays_.resize(number + 1);
    return Sized(&arrays_[number], size);
  }
  // As Get(), all zeros.
  float* GetZeroed(size_t number, int64_t size) {
    float* const array = Get(number, size);
    for (int64_t i = 0; i < size; ++i) array[i] = 0;
    return array;
  }

 private:
  std::vector<AlignedBuffer<float>> arrays_;
};

}  // namespace pepnet

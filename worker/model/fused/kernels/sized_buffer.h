// Buffers that grow to the largest size asked for and are kept from step to step.
#pragma once

#include <cstdint>

#include "common/base/aligned_buffer.h"

namespace pepnet {

// The buffer with room for `size` floats, contents undefined unless an earlier call asked for as
// much.
inline float* Sized(AlignedBuffer<float>* buffer, int64_t size) {
  if (static_cast<int64_t>(buffer->size()) < size) {
    buffer->Resize(0);  // nothing to keep
    buffer->Resize(static_cast<size_t>(size));
  }
  return buffer->data();
}

}  // namespace pepnet

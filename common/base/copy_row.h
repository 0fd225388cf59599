// CopyRow: copies the floats of one row; the usual widths without a call, which costs more than the
// copy. A row of no floats (the state of sgd) may have null pointers. `to` need not be aligned.
#pragma once

#include <cstddef>
#include <cstring>

namespace pepnet {

inline void CopyRow(const float* from, size_t dim, void* to) {
  switch (dim) {
    case 0:
      return;
    case 4:
      std::memcpy(to, from, 4 * sizeof(float));
      return;
    case 8:
      std::memcpy(to, from, 8 * sizeof(float));
      return;
    case 16:
      std::memcpy(to, from, 16 * sizeof(float));
      return;
    case 32:
      std::memcpy(to, from, 32 * sizeof(float));
      return;
    default:
      std::memcpy(to, from, dim * sizeof(float));
  }
}

}  // namespace pepnet

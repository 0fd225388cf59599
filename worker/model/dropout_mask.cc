#include "worker/model/dropout_mask.h"

#include <algorithm>
#include <array>

#include "common/base/random.h"

namespace pepnet {

uint64_t DropoutKey(uint64_t seed, int64_t layer, int64_t step) {
  return RandomKey(seed, RandomPurpose::kDropout, static_cast<uint64_t>(layer), static_cast<uint64_t>(step));
}

void FillDropoutMask(uint64_t key, double ratio, int64_t first_row, int64_t rows, int64_t width, float* mask) {
  const float kept = ratio < 1 ? static_cast<float>(1.0 / (1.0 - ratio)) : 0.0f;
  for (int64_t row = 0; row < rows; ++row) {
    const uint64_t global_row = static_cast<uint64_t>(first_row + row);
    for (int64_t begin = 0; begin < width; begin += 4) {
      const std::array<uint32_t, 4> words = Philox4x32(key, global_row, static_cast<uint64_t>(begin / 4));
      const int64_t count = std::min<int64_t>(4, width - begin);
      for (int64_t j = 0; j < count; ++j) {
        mask[row * width + begin + j] = static_cast<double>(UnitFloat(words[j])) >= ratio ? kept : 0.0f;
      }
    }
  }
}

}  // namespace pepnet

// Exp: the exponential function of the fused engine's loops.
#pragma once

#include <bit>
#include <cstdint>

#include "common/base/processor.h"

namespace pepnet {

// e^x by x = n ln 2 + r, |r| <= ln 2 / 2, and a polynomial of degree 7 in r (coefficients of the
// Cephes library), within 2 units in the last place; without branches, so that loops over it become
// vector instructions.
PEPNET_SIMD_INLINE float Exp(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  constexpr float kRounder = 12582912.0f;
  const float shifted = x * 1.44269504f + kRounder;
  const float n = shifted - kRounder;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const uint32_t exponent = (std::bit_cast<uint32_t>(shifted) - 0x4B400000u + 127u) << 23;
  return p * std::bit_cast<float>(exponent);
}

}  // namespace pepnet

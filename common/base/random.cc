#include "common/base/random.h"

#include <cmath>
#include <numbers>

namespace pepnet {

float NormalFloat(const std::array<uint32_t, 4>& words, size_t i, double mean, double deviation) {
  const double u1 = 1.0 - UnitFloat(words[i & ~size_t{1}]);  // in (0, 1]: the logarithm is finite
  const double angle = 2 * std::numbers::pi * UnitFloat(words[i | 1]);
  const double radius = std::sqrt(-2 * std::log(u1));
  return static_cast<float>(mean + deviation * radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle)));
}

KeyedPermutation::KeyedPermutation(uint64_t key, uint64_t n) : key_(key), n_(n), half_bits_(1) {
  while (half_bits_ < 31 && (uint64_t{1} << (2 * half_bits_)) < n) ++half_bits_;
}

uint64_t KeyedPermutation::Encrypt(uint64_t x) const {
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t left = x >> half_bits_, right = x & mask;
  for (uint64_t round = 0; round < 6; ++round) {
    const uint64_t next = left ^ (HashCombine(key_ + round, right) & mask);
    left = right;
    right = next;
  }
  return (left << half_bits_) | right;
}

uint64_t KeyedPermutation::operator()(uint64_t i) const {
  do {
    i = Encrypt(i);  // a bijection of the enclosing power of four; walk until back inside [0, n)
  } while (i >= n_);
  return i;
}

}  // namespace pepnet

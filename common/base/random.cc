#include "common/base/random.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "common/base/processor.h"

namespace pepnet {
namespace {

constexpr size_t kLanes = 8;  // counters at once

// As PhiloxWords(), of groups * kLanes blocks.
PEPNET_SIMD_CLONES
void PhiloxGroups(uint64_t key, const int64_t* ids, size_t row_blocks, size_t groups,
                  uint32_t* __restrict out) {
  uint32_t block = 0;
  for (size_t group = 0; group < groups; ++group) {
    // A counter of 128 bits, lowest word first: | block of the row | 0 | id low | id high |. The
    // arrays hold one word of kLanes counters each, so that every loop over `l` of the rounds
    // becomes vector instructions.
    uint32_t c0[kLanes], c1[kLanes], c2[kLanes], c3[kLanes];
    for (size_t l = 0; l < kLanes; ++l) {
      c0[l] = block;
      c1[l] = 0;
      c2[l] = static_cast<uint32_t>(*ids);
      c3[l] = static_cast<uint32_t>(static_cast<uint64_t>(*ids) >> 32);
      if (++block == row_blocks) {
        block = 0;
        ++ids;
      }
    }
    uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
      for (size_t l = 0; l < kLanes; ++l) {
        const uint64_t p0 = uint64_t{0xD2511F53u} * c0[l];
        const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2[l];
        c0[l] = static_cast<uint32_t>(p1 >> 32) ^ c1[l] ^ k0;
        c2[l] = static_cast<uint32_t>(p0 >> 32) ^ c3[l] ^ k1;
        c1[l] = static_cast<uint32_t>(p1);
        c3[l] = static_cast<uint32_t>(p0);
      }
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    for (size_t l = 0; l < kLanes; ++l) {
      const uint32_t words[] = {c0[l], c1[l], c2[l], c3[l]};
      for (size_t e = 0; e < 4; ++e) out[4 * l + e] = words[e];
    }
    out += 4 * kLanes;
  }
}

}  // namespace

void PhiloxWords(uint64_t key, std::span<const int64_t> ids, size_t row_blocks, uint32_t* out) {
  const size_t blocks = ids.size() * row_blocks, groups = blocks / kLanes;
  PhiloxGroups(key, ids.data(), row_blocks, groups, out);
  for (size_t b = groups * kLanes; b < blocks; ++b) {
    const auto words = Philox4x32(key, static_cast<uint64_t>(ids[b / row_blocks]), b % row_blocks);
    std::copy(words.begin(), words.end(), out + 4 * b);
  }
}

float NormalFloat(const std::array<uint32_t, 4>& words, size_t i, double mean, double deviation) {
  const double u1 = 1.0 - UnitFloat(words[i & ~size_t{1}]);  // in (0, 1]: the logarithm is finite
  const double angle = 2 * std::numbers::pi * UnitFloat(words[i | 1]);
  const double radius = std::sqrt(-2 * std::log(u1));
  return static_cast<float>(mean +
                            deviation * radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle)));
}

double NormalDistribution(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

// Acklam's rational approximation ("An algorithm for computing the inverse normal cumulative
// distribution function", relative error below 1.2e-9) and one step of Halley's method.
double NormalQuantile(double p) {
  constexpr double kCentre[] = {-3.969683028665376e+01, 2.209460984245205e+02,
                                -2.759285104469687e+02, 1.383577518672690e+02,
                                -3.066479806614716e+01, 2.506628277459239e+00};
  constexpr double kCentreBelow[] = {-5.447609879822406e+01, 1.615858368580409e+02,
                                     -1.556989798598866e+02, 6.680131188771972e+01,
                                     -1.328068155288572e+01, 1};
  constexpr double kTail[] = {-7.784894002430293e-03, -3.223964580411365e-01,
                              -2.400758277161838e+00, -2.549732539343734e+00,
                              4.374664141464968e+00,  2.938163982698783e+00};
  constexpr double kTailBelow[] = {7.784695709041462e-03, 3.224671290700398e-01,
                                   2.445134137142996e+00, 3.754408661907416e+00, 1};
  constexpr double kTailBegin = 0.02425;
  if (p > 0.5) return -NormalQuantile(1 - p);
  const auto polynomial = [](const auto& coefficients, double x) {
    double value = 0;
    for (const double coefficient : coefficients) value = value * x + coefficient;
    return value;
  };
  double x = 0;
  if (p < kTailBegin) {
    const double q = std::sqrt(-2 * std::log(p));
    x = polynomial(kTail, q) / polynomial(kTailBelow, q);
  } else {
    const double q = p - 0.5;
    x = polynomial(kCentre, q * q) * q / polynomial(kCentreBelow, q * q);
  }
  // Halley's method for F(x) = p, with the normal density f = F' and F'' = -x f: with e = (F(x) -
  // p) / f(x), x becomes x - e / (1 + x e / 2). One step brings 1e-9 to the precision of a double.
  const double step =
      (NormalDistribution(x) - p) * std::sqrt(2 * std::numbers::pi) * std::exp(x * x / 2);
  return x - step / (1 + x * step / 2);
}

KeyedPermutation::KeyedPermutation(uint64_t key, uint64_t n) : key_(key), n_(n), half_bits_(1) {
  // The halves have equal width: the domain is the least 4^b >= n, and fewer than four walks are
  // needed on average.
  while (half_bits_ < 31 && (uint64_t{1} << (2 * half_bits_)) < n) ++half_bits_;
}

uint64_t KeyedPermutation::Encrypt(uint64_t x) const {
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  // A Feistel round is a bijection whatever its function is: (l, r) -> (r, l ^ F(r)) can be undone.
  // So no two numbers meet, and no table is needed to seek in the permutation.
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

// Counter-based randomness: every random number is a function of (seed, purpose, step, row,
// element), so no random state has to be saved and nothing depends on the number of workers,
// servers or threads (laws L2 to L4).
//
// Source: Philox4x32-10, Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC'11).
// Frozen by golden tests.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "common/base/hash.h"

namespace pepnet {

// The purpose of the numbers; part of the key. Never renumber.
enum class RandomPurpose : uint64_t {
  kTableInit = 1,  // (seed, table hash) x id x element
  kDenseInit = 2,  // (seed, parameter hash) x element
  kDropout = 3,    // (seed, layer, step) x global row x element
  kShuffle = 4,    // (seed, epoch, window)
  kTest = 5,
  kAdmission = 6,       // (seed, table hash) x id x step
  kExplain = 7,         // (seed, feature hash): which row gives its values
  kBootstrap = 8,       // (seed, round) x row
  kRounding = 9,        // (seed, table hash, step) x id x element
  kStateRounding = 11,  // (seed, table hash, step) x id x number of the state
  kSlopes = 10,         // (seed, module hash, step) x global row x element: of nn.RReLU
};

// Key of one stream.
constexpr uint64_t RandomKey(uint64_t seed, RandomPurpose purpose, uint64_t a, uint64_t b = 0) {
  return HashCombine(
      HashCombine(HashCombine(Mix64(seed + 0x9e3779b97f4a7c15ULL), static_cast<uint64_t>(purpose)),
                  a),
      b);
}

// Four independent 32-bit words for counter (hi, lo).
inline std::array<uint32_t, 4> Philox4x32(uint64_t key, uint64_t hi, uint64_t lo) {
  uint32_t c0 = static_cast<uint32_t>(lo), c1 = static_cast<uint32_t>(lo >> 32);
  uint32_t c2 = static_cast<uint32_t>(hi), c3 = static_cast<uint32_t>(hi >> 32);
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {c0, c1, c2, c3};
}

// The words of many counters, in vector instructions: those of block b = 0 .. row_blocks - 1 of row
// i, which are Philox4x32(key, ids[i], b), begin at out[4 * (i * row_blocks + b)].
void PhiloxWords(uint64_t key, std::span<const int64_t> ids, size_t row_blocks, uint32_t* out);

// Uniform in [0, 1) with 24 bits: exact in float32.
constexpr float UnitFloat(uint32_t word) { return static_cast<float>(word >> 8) * 0x1.0p-24f; }

// Normally distributed number i of the four that four words give, by the Box-Muller transform of
// words 0, 1 and 2, 3.
float NormalFloat(const std::array<uint32_t, 4>& words, size_t i, double mean, double deviation);

// The distribution function of the standard normal distribution, to full precision in its lower
// half, and its inverse: the x with NormalDistribution(x) == p, for 0 < p < 1, to about 15 digits
// where p >= 1e-200.
double NormalDistribution(double x);
double NormalQuantile(double p);

// A keyed permutation of [0, n), seekable in O(1): Feistel network on the enclosing power of four
// with cycle walking.
class KeyedPermutation {
 public:
  KeyedPermutation(uint64_t key, uint64_t n);
  // Precondition: i < n.
  uint64_t operator()(uint64_t i) const;

 private:
  uint64_t Encrypt(uint64_t x) const;
  uint64_t key_;
  uint64_t n_;
  int half_bits_;
};

}  // namespace pepnet

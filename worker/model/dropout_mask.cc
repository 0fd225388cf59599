#include "worker/model/dropout_mask.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <array>
#include <cmath>

#include "common/base/processor.h"
#include "common/base/random.h"

namespace pepnet {

uint64_t DropoutKey(uint64_t seed, int64_t layer, int64_t step) {
  return RandomKey(seed, RandomPurpose::kDropout, static_cast<uint64_t>(layer),
                   static_cast<uint64_t>(step));
}

int32_t DropoutThreshold(double ratio) {
  return static_cast<int32_t>(std::ceil(std::clamp(ratio, 0.0, 1.0) * 0x1p24));
}

float KeptScale(double ratio) { return ratio < 1 ? static_cast<float>(1.0 / (1.0 - ratio)) : 0.0f; }

namespace {

constexpr int64_t kBlocks = 8;  // Philox blocks computed side by side

#if defined(__x86_64__)
// words[4 * b + j] = word j of Philox4x32(key, hi, first_block + b), b < kBlocks. random.h explains
// the rounds. Each 32-bit word lies in the lower half of a 64-bit lane; what the upper half holds
// is never read by the multiplication.
__attribute__((target("avx2"))) void PhiloxBlocksAvx2(uint64_t key, uint64_t hi,
                                                      uint64_t first_block, uint32_t* words) {
  constexpr int kVectors = 2;
  const __m256i m0 = _mm256_set1_epi64x(0xD2511F53), m1 = _mm256_set1_epi64x(0xCD9E8D57);
  __m256i c0[kVectors], c1[kVectors], c2[kVectors], c3[kVectors];
  // The counter of block b has four words; the 64-bit key is that of layer and step:
  //   c0 c1 = number of the block = element / 4      c2 c3 = global row
  for (int v = 0; v < kVectors; ++v) {
    const int64_t block = static_cast<int64_t>(first_block) + 4 * v;
    c0[v] = _mm256_add_epi64(_mm256_set1_epi64x(block), _mm256_set_epi64x(3, 2, 1, 0));
    c1[v] = _mm256_srli_epi64(c0[v], 32);
    c2[v] = _mm256_set1_epi64x(static_cast<int64_t>(hi));
    c3[v] = _mm256_set1_epi64x(static_cast<int64_t>(hi >> 32));
  }
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const __m256i key0 = _mm256_set1_epi64x(k0), key1 = _mm256_set1_epi64x(k1);
    for (int v = 0; v < kVectors; ++v) {
      const __m256i p0 = _mm256_mul_epu32(m0, c0[v]), p1 = _mm256_mul_epu32(m1, c2[v]);
      c0[v] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p1, 32), c1[v]), key0);
      c2[v] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p0, 32), c3[v]), key1);
      c1[v] = p1;
      c3[v] = p0;
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  for (int v = 0; v < kVectors; ++v) {
    // The words go from lanes of 64 bits with a word each back to their order in memory: words 0
    // and 1 and words 2 and 3 are paired, interleaved by block, and then the halves are put in
    // order.
    const __m256i w01 = _mm256_blend_epi32(c0[v], _mm256_slli_epi64(c1[v], 32), 0xAA);
    const __m256i w23 = _mm256_blend_epi32(c2[v], _mm256_slli_epi64(c3[v], 32), 0xAA);
    const __m256i even = _mm256_unpacklo_epi64(w01, w23), odd = _mm256_unpackhi_epi64(w01, w23);
    __m256i* const out = reinterpret_cast<__m256i*>(words + 16 * v);
    _mm256_storeu_si256(out, _mm256_permute2x128_si256(even, odd, 0x20));
    _mm256_storeu_si256(out + 1, _mm256_permute2x128_si256(even, odd, 0x31));
  }
}
#endif

void PhiloxBlocks(uint64_t key, uint64_t hi, uint64_t first_block, uint32_t* words) {
#if defined(__x86_64__)
  // The CPU is asked once. Both ways give the same words, so masks do not depend on the machine.
  static const bool avx2 = __builtin_cpu_supports("avx2");
  if (avx2) return PhiloxBlocksAvx2(key, hi, first_block, words);
#endif
  for (int64_t b = 0; b < kBlocks; ++b) {
    const std::array<uint32_t, 4> block =
        Philox4x32(key, hi, first_block + static_cast<uint64_t>(b));
    std::copy(block.begin(), block.end(), words + 4 * b);
  }
}

// The words are integers of 24 bits above the shift, so u >= ratio is an integer comparison.
PEPNET_SIMD_CLONES void KeepWords(const uint32_t* __restrict words, int32_t threshold, float kept,
                                  int64_t count, float* __restrict mask) {
  for (int64_t i = 0; i < count; ++i) {
    mask[i] = static_cast<int32_t>(words[i] >> 8) >= threshold ? kept : 0.0f;
  }
}

}  // namespace

void FillDropoutMask(uint64_t key, double ratio, int64_t first_row, int64_t rows, int64_t width,
                     float* mask) {
  for (int64_t row = 0; row < rows; ++row) {
    FillDropoutMaskFrom(key, ratio, first_row + row, 0, width, mask + row * width);
  }
}

void FillUniforms(uint64_t key, int64_t row, int64_t count, float* u) {
  uint32_t words[4 * kBlocks];
  for (int64_t first = 0; first < count; first += 4 * kBlocks) {
    PhiloxBlocks(key, static_cast<uint64_t>(row), static_cast<uint64_t>(first / 4), words);
    for (int64_t i = first; i < std::min(first + 4 * kBlocks, count); ++i) {
      u[i] = UnitFloat(words[i - first]);
    }
  }
}

void FillDropoutMaskFrom(uint64_t key, double ratio, int64_t row, int64_t first_element,
                         int64_t count, float* mask) {
  const float kept = KeptScale(ratio);
  const int32_t threshold = DropoutThreshold(ratio);
  uint32_t words[4 * kBlocks];
  // A part may begin in the middle of a block: the block is drawn whole and its first words
  // dropped.
  int64_t skipped = first_element % 4;  // words of the first block that belong to elements before
  for (int64_t block = first_element / 4; count > 0; block += kBlocks) {
    PhiloxBlocks(key, static_cast<uint64_t>(row), static_cast<uint64_t>(block), words);
    const int64_t here = std::min(4 * kBlocks - skipped, count);
    KeepWords(words + skipped, threshold, kept, here, mask);
    mask += here;
    count -= here;
    skipped = 0;
  }
}

}  // namespace pepnet

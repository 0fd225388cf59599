#include "common/base/hash.h"

#include <farmhash.h>

#include <bit>
#include <cstring>

namespace pepnet {
namespace {

static_assert(std::endian::native == std::endian::little, "the hash reads little-endian words");

// memcpy() because the text need not be aligned; it compiles to one load.
uint64_t Load64(const char* p) {
  uint64_t word;
  std::memcpy(&word, p, sizeof(word));
  return word;
}

constexpr uint64_t FoldHigh(uint64_t v) { return v ^ (v >> 47); }

}  // namespace

// With seed 0xc70f6907, mul 0xc6a4a7935bd1e995 and fold(v) = v ^ (v >> 47), all mod 2^64:
//   h = seed ^ (n * mul);  each 8 bytes k:  h = (h ^ fold(k * mul) * mul) * mul;
//   tail of 1 to 7 bytes, zero-extended, t:  h = (h ^ t) * mul;  result = fold(fold(h) * mul)
uint64_t LibstdcxxStringHash(std::string_view bytes) {
  constexpr uint64_t kMul = 0xc6a4a7935bd1e995ULL;
  uint64_t h = 0xc70f6907ULL ^ (bytes.size() * kMul);
  const char* p = bytes.data();
  size_t n = bytes.size();
  for (; n >= 8; p += 8, n -= 8) h = (h ^ (FoldHigh(Load64(p) * kMul) * kMul)) * kMul;
  if (n > 0) {
    uint64_t tail = 0;
    std::memcpy(&tail, p, n);
    h = (h ^ tail) * kMul;
  }
  return FoldHigh(FoldHigh(h) * kMul);
}

// Fingerprint64 is frozen by its authors, unlike Hash64, so ids stay the same from version to
// version.
uint64_t FarmFingerprint64(std::string_view bytes) {
  return util::Fingerprint64(bytes.data(), bytes.size());
}

}  // namespace pepnet

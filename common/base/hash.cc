#include "common/base/hash.h"

#include <bit>
#include <cstring>
#include <utility>

namespace pepnet {
namespace {

static_assert(std::endian::native == std::endian::little, "both hashes read little-endian words");

uint64_t Load64(const char* p) {
  uint64_t word;
  std::memcpy(&word, p, sizeof(word));
  return word;
}

uint64_t Load32(const char* p) {
  uint32_t word;
  std::memcpy(&word, p, sizeof(word));
  return word;
}

constexpr uint64_t FoldHigh(uint64_t v) { return v ^ (v >> 47); }

// ---- FarmHash Fingerprint64: one formula per length class.

constexpr uint64_t kFarm0 = 0xc3a5c85c97cb3127ULL;
constexpr uint64_t kFarm1 = 0xb492b66fbe98f273ULL;
constexpr uint64_t kFarm2 = 0x9ae16a3b2f90404fULL;

constexpr uint64_t Ror(uint64_t v, int bits) { return std::rotr(v, bits); }

// Two words to one.
constexpr uint64_t Fold2(uint64_t u, uint64_t v, uint64_t mul) {
  const uint64_t a = FoldHigh((u ^ v) * mul);
  return FoldHigh((v ^ a) * mul) * mul;
}

struct Pair {
  uint64_t first = 0;
  uint64_t second = 0;
};

// 32 bytes and two seeds to two words.
Pair Fold32Bytes(const char* p, uint64_t a, uint64_t b) {
  const uint64_t w = Load64(p), x = Load64(p + 8), y = Load64(p + 16), z = Load64(p + 24);
  a += w;
  b = Ror(b + a + z, 21);
  const uint64_t start = a;
  a += x + y;
  b += Ror(a, 44);
  return {a + z, b + start};
}

uint64_t FarmUpTo16(const char* p, size_t n) {
  const uint64_t mul = kFarm2 + n * 2;
  if (n >= 8) {
    const uint64_t a = Load64(p) + kFarm2, b = Load64(p + n - 8);
    return Fold2(Ror(b, 37) * mul + a, (Ror(a, 25) + b) * mul, mul);
  }
  if (n >= 4) return Fold2(n + (Load32(p) << 3), Load32(p + n - 4), mul);
  if (n == 0) return kFarm2;
  const auto byte = [p](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(p[i])); };
  const uint32_t y = byte(0) + (byte(n / 2) << 8);
  const uint32_t z = static_cast<uint32_t>(n) + (byte(n - 1) << 2);
  return FoldHigh((y * kFarm2) ^ (z * kFarm0)) * kFarm2;
}

uint64_t Farm17To32(const char* p, size_t n) {
  const uint64_t mul = kFarm2 + n * 2;
  const uint64_t a = Load64(p) * kFarm1, b = Load64(p + 8);
  const uint64_t c = Load64(p + n - 8) * mul, d = Load64(p + n - 16) * kFarm2;
  return Fold2(Ror(a + b, 43) + Ror(c, 30) + d, a + Ror(b + kFarm2, 18) + c, mul);
}

uint64_t Farm33To64(const char* p, size_t n) {
  const uint64_t mul = kFarm2 + n * 2;
  const uint64_t a = Load64(p) * kFarm2, b = Load64(p + 8);
  const uint64_t c = Load64(p + n - 8) * mul, d = Load64(p + n - 16) * kFarm2;
  const uint64_t y = Ror(a + b, 43) + Ror(c, 30) + d;
  const uint64_t z = Fold2(y, a + Ror(b + kFarm2, 18) + c, mul);
  const uint64_t e = Load64(p + 16) * mul, f = Load64(p + 24);
  const uint64_t g = (y + Load64(p + n - 32)) * mul, h = (z + Load64(p + n - 24)) * mul;
  return Fold2(Ror(e + f, 43) + Ror(g, 30) + h, e + Ror(f + a, 18) + g, mul);
}

// State of the loop over blocks of 64 bytes.
struct FarmState {
  uint64_t x, y, z;
  Pair v, w;

  // The last block differs from the others in its multiplier and in two factors (1 elsewhere, 9 there).
  void AddBlock(const char* p, uint64_t mul, uint64_t factor) {
    x = Ror(x + y + v.first + Load64(p + 8), 37) * mul;
    y = Ror(y + v.second + Load64(p + 48), 42) * mul;
    x ^= w.second * factor;
    y += v.first * factor + Load64(p + 40);
    z = Ror(z + w.first, 33) * mul;
    v = Fold32Bytes(p, v.second * mul, x + w.first);
    w = Fold32Bytes(p + 32, z + w.second, y + Load64(p + 16));
    std::swap(z, x);
  }
};

uint64_t FarmOver64(const char* p, size_t n) {
  constexpr uint64_t kSeed = 81;
  FarmState s{};
  s.y = kSeed * kFarm1 + 113;
  s.z = FoldHigh(s.y * kFarm2 + 113) * kFarm2;
  s.x = kSeed * kFarm2 + Load64(p);
  const size_t rest = (n - 1) % 64;  // the last block is the last 64 bytes: it overlaps the one before
  for (const char* end = p + (n - 1) / 64 * 64; p != end; p += 64) s.AddBlock(p, kFarm1, 1);
  const uint64_t mul = kFarm1 + ((s.z & 0xff) << 1);
  s.w.first += rest;
  s.v.first += s.w.first;
  s.w.first += s.v.first;
  s.AddBlock(p + rest + 1 - 64, mul, 9);
  return Fold2(Fold2(s.v.first, s.w.first, mul) + FoldHigh(s.y) * kFarm0 + s.z,
               Fold2(s.v.second, s.w.second, mul) + s.x, mul);
}

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

uint64_t FarmFingerprint64(std::string_view bytes) {
  const char* p = bytes.data();
  const size_t n = bytes.size();
  if (n <= 16) return FarmUpTo16(p, n);
  if (n <= 32) return Farm17To32(p, n);
  if (n <= 64) return Farm33To64(p, n);
  return FarmOver64(p, n);
}

}  // namespace pepnet

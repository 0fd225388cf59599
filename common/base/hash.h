// Hashes that are written into checkpoints or decide where a row lives. Frozen: golden tests pin
// them, a change is a version bump of the checkpoint format.
#pragma once

#include <cstdint>
#include <string_view>

namespace pepnet {

// The finaliser of splitmix64: a bijection of 64-bit words with full avalanche.
constexpr uint64_t Mix64(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ULL;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebULL;
  x ^= x >> 31;
  return x;
}

// Order-sensitive combination of two words.
constexpr uint64_t HashCombine(uint64_t a, uint64_t b) {
  return Mix64(a + 0x9e3779b97f4a7c15ULL + Mix64(b));
}

// FNV-1a over the bytes, then Mix64: for names (tables, parameters), not for bulk data.
constexpr uint64_t HashName(std::string_view name) {
  uint64_t h = 0xcbf29ce484222325ULL;
  for (char c : name) {
    h ^= static_cast<unsigned char>(c);
    h *= 0x100000001b3ULL;
  }
  return Mix64(h);
}

// std::hash<std::string> of libstdc++ on 64-bit machines (seed 0xc70f6907), written out so that it
// can never change under us: what the reference uses for hash_bucket_size (spec 3.2).
uint64_t LibstdcxxStringHash(std::string_view bytes);

// FarmHash Fingerprint64 (TensorFlow's string_to_hash_bucket_fast), selected by --hash=farm.
uint64_t FarmFingerprint64(std::string_view bytes);

}  // namespace pepnet

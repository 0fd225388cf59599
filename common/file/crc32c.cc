#include "common/file/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace pepnet {
namespace {

constexpr uint32_t kReversedPolynomial = 0x82f63b78u;

// kTables[0][b]: the crc of the byte b; kTables[k][b]: of b followed by k zero bytes (slicing by
// eight).
constexpr auto kTables = [] {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t b = 0; b < 256; ++b) {
    uint32_t crc = b;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kReversedPolynomial : 0);
    tables[0][b] = crc;
  }
  for (size_t k = 1; k < 8; ++k) {
    for (size_t b = 0; b < 256; ++b) {
      tables[k][b] = (tables[k - 1][b] >> 8) ^ tables[0][tables[k - 1][b] & 0xff];
    }
  }
  return tables;
}();

uint64_t LoadWord(const uint8_t* p) {
  uint64_t word;
  std::memcpy(&word, p, sizeof(word));
  return word;
}

}  // namespace

uint32_t ExtendCrc32cPortable(uint32_t crc, const void* data, size_t bytes) {
  const uint8_t* p = static_cast<const uint8_t*>(data);
  // The state is kept inverted between calls, as the definition of crc32c demands at both ends, so
  // that the checksum of pieces, one after the other, is that of the whole.
  crc = ~crc;
  for (; bytes >= 8; p += 8, bytes -= 8) {
    // Eight bytes are taken at once: byte k of them is followed by 7 - k others, which table 7 - k
    // accounts for.
    const uint64_t word = LoadWord(p) ^ crc;
    crc = 0;
    for (size_t k = 0; k < 8; ++k) crc ^= kTables[7 - k][(word >> (8 * k)) & 0xff];
  }
  for (; bytes > 0; ++p, --bytes) crc = (crc >> 8) ^ kTables[0][(crc ^ *p) & 0xff];
  return ~crc;
}

#if defined(__x86_64__)

namespace {

// The state after kStreamBytes zero bytes, as the xor of what its four bytes contribute. The state
// is linear over xor and one zero byte is the matrix that has the states of single bits as columns;
// ten squarings make it 2^10 zero bytes.
constexpr size_t kStreamBytes = 1024;
constexpr auto kSkipTables = [] {
  std::array<uint32_t, 32> columns{};
  const auto times = [&columns](uint32_t state) {
    uint32_t result = 0;
    for (size_t bit = 0; bit < 32; ++bit) result ^= (state >> bit & 1) != 0 ? columns[bit] : 0;
    return result;
  };
  for (size_t bit = 0; bit < 32; ++bit) {
    const uint32_t state = uint32_t{1} << bit;
    columns[bit] = (state >> 8) ^ kTables[0][state & 0xff];
  }
  for (size_t length = 1; length < kStreamBytes; length *= 2) {
    std::array<uint32_t, 32> square{};
    for (size_t bit = 0; bit < 32; ++bit) square[bit] = times(columns[bit]);
    columns = square;
  }
  std::array<std::array<uint32_t, 256>, 4> tables{};
  for (size_t k = 0; k < 4; ++k) {
    for (uint32_t b = 0; b < 256; ++b) tables[k][b] = times(b << (8 * k));
  }
  return tables;
}();

uint64_t SkipStream(uint64_t state) {
  return kSkipTables[0][state & 0xff] ^ kSkipTables[1][state >> 8 & 0xff] ^
         kSkipTables[2][state >> 16 & 0xff] ^ kSkipTables[3][state >> 24 & 0xff];
}

}  // namespace

// The instruction takes three cycles and may begin every cycle: three streams at once are three
// times as fast.
__attribute__((target("sse4.2"))) static uint32_t ExtendCrc32cSse42(uint32_t crc, const void* data,
                                                                    size_t bytes) {
  const uint8_t* p = static_cast<const uint8_t*>(data);
  uint64_t state = static_cast<uint32_t>(~crc);
  for (; bytes >= 3 * kStreamBytes; p += 3 * kStreamBytes, bytes -= 3 * kStreamBytes) {
    uint64_t second = 0, third = 0;
    for (size_t i = 0; i < kStreamBytes; i += 8) {
      state = _mm_crc32_u64(state, LoadWord(p + i));
      second = _mm_crc32_u64(second, LoadWord(p + kStreamBytes + i));
      third = _mm_crc32_u64(third, LoadWord(p + 2 * kStreamBytes + i));
    }
    // The streams began with state 0. Appending a stream to another means to move the first on by
    // as many zero bytes and to add (xor) the second: the crc is linear.
    state = SkipStream(SkipStream(state) ^ second) ^ third;
  }
  for (; bytes >= 8; p += 8, bytes -= 8) state = _mm_crc32_u64(state, LoadWord(p));
  uint32_t last = static_cast<uint32_t>(state);
  for (; bytes > 0; ++p, --bytes) last = _mm_crc32_u8(last, *p);
  return ~last;
}

uint32_t ExtendCrc32c(uint32_t crc, const void* data, size_t bytes) {
  static const bool has_instruction = __builtin_cpu_supports("sse4.2");
  return has_instruction ? ExtendCrc32cSse42(crc, data, bytes)
                         : ExtendCrc32cPortable(crc, data, bytes);
}

#else

uint32_t ExtendCrc32c(uint32_t crc, const void* data, size_t bytes) {
  return ExtendCrc32cPortable(crc, data, bytes);
}

#endif

}  // namespace pepnet

#include "common/net/packing.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "common/base/logging.h"

namespace pepnet {
namespace {

// float16 holds values below 2^16; the largest one is scaled to below 2^15
constexpr int kFloat16Top = 15;
constexpr int kFloat16Most = 200;  // no float needs more

size_t CountsBytes(const FrameHeader& header) { return PullBodyBytes(header.table_count, 0); }

// Bytes of the marks behind a pull's ids. Precondition: the body holds the counts.
size_t MarkBytes(const FrameHeader& header, const uint8_t* body) {
  if ((header.flags & FrameHeader::kMarked) == 0) return 0;
  return MarkWords(IdCount({reinterpret_cast<const uint32_t*>(body), header.table_count})) *
         sizeof(uint64_t);
}

FrameHeader WithFlags(FrameHeader header, uint32_t flags) {
  header.flags = flags;
  return header;
}

Bytes ShortenIds(const FrameHeader& header, Bytes frame) {
  // It does not leave the process.
  if ((header.flags & FrameHeader::kByReference) != 0) return frame;
  const size_t counts = CountsBytes(header), marks = MarkBytes(header, FrameBody(frame));
  const size_t ids = (header.body_bytes - counts - marks) / sizeof(int64_t);
  const int64_t* in = reinterpret_cast<const int64_t*>(FrameBody(frame) + counts);
  uint64_t used = 0;  // bits of any id
  for (size_t i = 0; i < ids; ++i) used |= static_cast<uint64_t>(in[i]);
  // A negative id has its upper bits set and does not fit either.
  if (used > std::numeric_limits<uint32_t>::max()) return frame;
  Bytes packed = MakeFrame(WithFlags(header, header.flags | FrameHeader::kShortIds),
                           counts + ids * sizeof(uint32_t) + marks);
  std::memcpy(FrameBody(packed), FrameBody(frame), counts);
  uint32_t* out = reinterpret_cast<uint32_t*>(FrameBody(packed) + counts);
  for (size_t i = 0; i < ids; ++i) out[i] = static_cast<uint32_t>(in[i]);
  std::memcpy(out + ids, in + ids, marks);
  return packed;
}

StatusOr<ParsedFrame> LengthenIds(const ParsedFrame& frame) {
  const FrameHeader& header = frame.header();
  const size_t counts = CountsBytes(header);
  const size_t marks = header.body_bytes < counts ? 0 : MarkBytes(header, frame.body());
  if (header.body_bytes < counts + marks ||
      (header.body_bytes - counts - marks) % sizeof(uint32_t) != 0) {
    return InvalidInput("a packed pull of ", header.table_count, " tables has a body of ",
                        header.body_bytes, " bytes");
  }
  const size_t ids = (header.body_bytes - counts - marks) / sizeof(uint32_t);
  ParsedFrame plain(WithFlags(header, header.flags & ~FrameHeader::kShortIds),
                    counts + ids * sizeof(int64_t) + marks);
  std::memcpy(plain.body(), frame.body(), counts);
  const uint32_t* in = reinterpret_cast<const uint32_t*>(frame.body() + counts);
  int64_t* out = reinterpret_cast<int64_t*>(plain.body() + counts);
  for (size_t i = 0; i < ids; ++i) out[i] = in[i];
  std::memcpy(out + ids, in + ids, marks);
  return plain;
}

Bytes Narrow(const FrameHeader& header, Bytes frame) {
  const size_t count = header.body_bytes / sizeof(float);
  const float* in = reinterpret_cast<const float*>(FrameBody(frame));
  const bool half = DtypeOf(header) == WireDtype::kFloat16;
  Bytes packed = MakeFrame(header, count * sizeof(uint16_t));
  uint16_t* out = reinterpret_cast<uint16_t*>(FrameBody(packed));
  if (half) {
    const double scale = std::ldexp(1.0, header.exponent);  // the products are exact in double
    for (size_t i = 0; i < count; ++i) out[i] = ToFloat16(static_cast<float>(in[i] * scale));
  } else {
    for (size_t i = 0; i < count; ++i) out[i] = ToBFloat16(in[i]);
  }
  return packed;
}

StatusOr<ParsedFrame> Widen(const ParsedFrame& frame) {
  FrameHeader header = frame.header();
  if (header.body_bytes % sizeof(uint16_t) != 0 || header.exponent < -300 ||
      header.exponent > 300) {
    return InvalidInput("packed floats of ", header.body_bytes, " bytes, scaled by 2^",
                        header.exponent, ", expected 2 bytes each");
  }
  const size_t count = header.body_bytes / sizeof(uint16_t);
  const uint16_t* in = reinterpret_cast<const uint16_t*>(frame.body());
  const bool half = DtypeOf(header) == WireDtype::kFloat16;
  // Flags and exponent say how the frame travelled; the plain frame knows nothing of it.
  const int exponent = std::exchange(header.exponent, 0);
  ParsedFrame plain(WithFlags(header, header.flags & ~FrameHeader::kDtypeMask),
                    count * sizeof(float));
  float* out = reinterpret_cast<float*>(plain.body());
  if (half) {
    // A power of two loses nothing on the way back but what lies below the least float32.
    const double scale = std::ldexp(1.0, -exponent);
    for (size_t i = 0; i < count; ++i) out[i] = static_cast<float>(FromFloat16(in[i]) * scale);
  } else {
    for (size_t i = 0; i < count; ++i) out[i] = FromBFloat16(in[i]);
  }
  return plain;
}

bool HasFloats(const FrameHeader& header) {
  return header.type == MessageType::kRows || header.type == MessageType::kPush;
}

}  // namespace

StatusOr<WireDtype> ParseWireDtype(const std::string& name) {
  if (name == "float32") return WireDtype::kFloat32;
  if (name == "bfloat16") return WireDtype::kBFloat16;
  if (name == "float16") return WireDtype::kFloat16;
  return InvalidInput("--wire_dtype=", name, ": expected float32, bfloat16 or float16");
}

int Float16Exponent(std::span<const float> values) {
  float largest = 0;
  for (float value : values) {
    // Infinities and NaN travel as such and do not decide about the scale of the others.
    const float size = std::fabs(value);
    if (size > largest && size <= std::numeric_limits<float>::max()) largest = size;
  }
  if (largest == 0) return kFloat16Most;
  int exponent = 0;
  std::frexp(largest, &exponent);  // largest < 2^exponent
  return std::min(kFloat16Most, kFloat16Top - exponent);
}

Bytes Pack(Bytes frame) {
  const StatusOr<FrameHeader> header = ParseHeader(frame);
  CHECK(header.ok()) << header.status();
  if (header->type == MessageType::kPull) return ShortenIds(*header, std::move(frame));
  if (HasFloats(*header) && DtypeOf(*header) != WireDtype::kFloat32) {
    return Narrow(*header, std::move(frame));
  }
  return frame;
}

StatusOr<ParsedFrame> Unpack(Bytes received) {
  PEPNET_ASSIGN_OR_RETURN(ParsedFrame frame, ParsedFrame::Parse(std::move(received)));
  const FrameHeader& header = frame.header();
  if (DtypeOf(header) > WireDtype::kFloat16) {
    return InvalidInput("frame with unknown number format ", header.flags);
  }
  if (header.type == MessageType::kPull && (header.flags & FrameHeader::kShortIds) != 0) {
    return LengthenIds(frame);
  }
  if (HasFloats(header) && DtypeOf(header) != WireDtype::kFloat32) return Widen(frame);
  return frame;
}

// ---- rounding -----------------------------------------------------------------------------------

// The upper half of a float; adding 0x7fff, and 1 more if the kept part is odd, rounds to nearest,
// ties to even.
uint16_t ToBFloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  // NaN stays one
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

float FromBFloat16(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

uint16_t ToFloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const uint32_t size = bits & 0x7fffffff;
  if (size > 0x7f800000) return sign | 0x7e00;   // NaN
  if (size >= 0x477ff000) return sign | 0x7c00;  // rounds to 2^16 or more
  // Below 2^-14: a multiple of 2^-24; the addition rounds it to nearest even.
  if (size < 0x38800000) {
    const float shifted = std::bit_cast<float>(size) + 0.5f;
    return sign |
           static_cast<uint16_t>(std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(0.5f));
  }
  const uint32_t rounded = size + 0xfff + ((size >> 13) & 1);
  // The exponent's bias falls from 127 to 15.
  return sign | static_cast<uint16_t>((rounded - 0x38000000) >> 13);
}

// As a float, the ten bits of the fraction stand 13 places higher and the exponent is 112 too
// small.
float FromFloat16(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16, rest = uint32_t{bits & 0x7fffu} << 13;
  // Infinite, or NaN.
  if ((bits & 0x7c00) == 0x7c00) return std::bit_cast<float>(sign | rest | 0x7f800000);
  return std::bit_cast<float>(sign |
                              std::bit_cast<uint32_t>(std::bit_cast<float>(rest) * 0x1p112f));
}

}  // namespace pepnet

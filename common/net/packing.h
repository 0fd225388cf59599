// Packing: the same frame in fewer bytes, while it travels between a worker and a server.
//
//   Pull        ids in 4 bytes instead of 8 where all of them fit; marks as they are. Loses
//               nothing.
//   Rows, Push  floats in 16 bits where the job asks for it (--wire_dtype): bfloat16 keeps 8
//               significant bits and the whole range; float16 keeps 11 bits of values between 2^-14
//               and 2^16, so gradients, which are tiny, travel multiplied by a power of two
//               (FrameHeader::exponent). Both round to nearest, ties to even. How rows are spread
//               over servers does not change a bit (law L3).
//
// The sender packs last, the receiver unpacks first; nobody else sees a packed frame.
// Threads: any.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "common/base/status.h"
#include "common/net/message.h"
#include "common/net/transport.h"

namespace pepnet {

enum class WireDtype : uint32_t { kFloat32 = 0, kBFloat16 = 1, kFloat16 = 2 };

// "float32", "bfloat16" or "float16".
StatusOr<WireDtype> ParseWireDtype(const std::string& name);

// The requests or contents that a frame's flags name.
inline WireDtype DtypeOf(const FrameHeader& header) {
  return static_cast<WireDtype>((header.flags & FrameHeader::kDtypeMask) >>
                                FrameHeader::kDtypeShift);
}
inline uint32_t DtypeFlags(WireDtype dtype) {
  return static_cast<uint32_t>(dtype) << FrameHeader::kDtypeShift;
}

// The power of two that brings the largest of a step's gradients just below float16's limit. Taken
// over all servers' gradients of a worker, so that it does not depend on how they are spread.
int Float16Exponent(std::span<const float> values);

// Packs a pull's ids, and the floats of rows and pushes into what the frame's flags say; other
// frames as they are.
// Precondition: a frame made by MakeFrame.
Bytes Pack(Bytes frame);

// A received frame as it was before Pack, but for rounded floats; its flags say float32 (a pull
// keeps what it asks for). InvalidArgument for bytes that are no frame, and for a packed body that
// cannot be one.
StatusOr<ParsedFrame> Unpack(Bytes received);

// ---- rounding, bit by bit -----------------------------------------------------------------------

uint16_t ToBFloat16(float value);
float FromBFloat16(uint16_t bits);
// Values beyond 65504 become infinite, those below 2^-24 zero.
uint16_t ToFloat16(float value);
float FromFloat16(uint16_t bits);

}  // namespace pepnet

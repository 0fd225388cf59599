// The frames between workers and servers (to servers: channel kRequests; to workers: kRows, replies
// to kSave: kSave). One struct encodes and decodes each; golden tests pin the bytes.
//
//   frame   = header body
//   header  = magic u32 'PEPN' | version u16 | type u16 | sender u32 | table_count u32 | step i64
//             | body_bytes u64 | lr f64 | update i64 | flags u32 | exponent i32 | event_time i64
//             (64 bytes, little-endian)
//   Pull    : counts u32 * table_count, padded to 8 bytes, then ids i64 * sum(counts), in table
//             order. step: the step whose rows are wanted; answered once step - 1 is applied. flags
//             bit 0: read-only (eval, predict): no ticket is kept and no push follows; step then
//             means "after `step` steps are applied". flags bits 1, 2: the WireDtype of the rows
//             that are to come back.
//             flags bit 4, between threads of one process only: the rows are wanted by reference.
//             flags bit 5: behind the ids stand marks, u64 * ceil(sum(counts) / 64): bit i % 64 of
//             word i / 64 says whether a row of the worker's batch with a positive click label
//             names the i-th id (RowPolicy).
//   Rows    : the reply. values f32: for each table in order, count rows of dim floats. By
//             reference: for each of them a pointer u64 to its floats, in the server's table or
//             behind the pointers; good until this worker's next push, and after a read-only pull
//             until any update that this worker takes part in.
//   Push    : gradients f32 in the order of the ticket (worker, step) that the pull opened; ids do
//             not travel again. lr: rate of this step; update: number of this table update, from 1
//             (adam's t). event_time: the latest of the worker's rows, in seconds since 1970; 0:
//             none of them has one.
//   Control : body is a serialised message of proto/wire.proto, chosen by type.
//   Error   : code u32 (absl::StatusCode, never 0), then the text of the Status; the request
//           failed.
// On its way a frame may be packed into fewer bytes: common/net/packing.h.
// A worker without rows sends pulls and pushes with zero counts. One pull and one push per server
// and step, for all tables.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "common/base/status.h"
#include "common/net/transport.h"

namespace pepnet {

enum class MessageType : uint16_t {
  kConfigure = 1,  // ServerPlan -> Ack
  kPull = 2,       // -> kRows
  kRows = 3,
  kPush = 4,  // no reply
  // SaveRequest -> SaveReply; begins once `step` steps are applied, answers when all is on disk
  kSave = 5,
  kLoad = 6,      // LoadRequest -> Ack
  kStats = 7,     // -> StatsReply, once header.step steps are applied; 0: as things stand
  kShutdown = 8,  // -> Ack; the server's loop ends
  kAck = 9,
  kError = 10,
};

struct FrameHeader {
  static constexpr uint32_t kMagic = 0x4e504550;  // "PEPN"
  static constexpr uint16_t kVersion = 1;
  static constexpr uint32_t kReadOnly = 1;
  static constexpr uint32_t kDtypeShift = 1, kDtypeMask = 3u << kDtypeShift;
  static constexpr uint32_t kShortIds = 8;  // packed: ids of 4 bytes
  static constexpr uint32_t kByReference = 16;
  static constexpr uint32_t kMarked = 32;

  uint32_t magic = kMagic;
  uint16_t version = kVersion;
  MessageType type = MessageType::kAck;
  uint32_t sender = 0;  // worker index, or server index in replies
  uint32_t table_count = 0;
  int64_t step = 0;
  uint64_t body_bytes = 0;
  double lr = 0;
  int64_t update = 0;
  uint32_t flags = 0;
  int32_t exponent = 0;  // packed float16: the body holds value * 2^exponent
  int64_t event_time = 0;
};
static_assert(sizeof(FrameHeader) == 64);

// A frame of `body_bytes` uninitialised body bytes behind `header` (whose body_bytes is set); body
// starts 64-byte aligned.
Bytes MakeFrame(FrameHeader header, size_t body_bytes);
Bytes MakeFrame(FrameHeader header, const std::string& body);

// Puts another header in front of a frame's body; its body_bytes is set.
void SetHeader(FrameHeader header, Bytes* frame);

inline uint8_t* FrameBody(Bytes& frame) { return frame.data() + sizeof(FrameHeader); }
inline const uint8_t* FrameBody(const Bytes& frame) { return frame.data() + sizeof(FrameHeader); }

// The header of bytes that may be a frame, or InvalidArgument: too short, wrong magic, version,
// unknown type, or body length. For code that only inspects passing frames; a receiver makes a
// ParsedFrame of it.
StatusOr<FrameHeader> ParseHeader(const Bytes& frame);

// ParsedFrame: a received frame whose header has been checked, once, against the bytes behind it.
//
// Memory: the bytes do not move with the object: what borrows from the body (PullBody) stays good.
class ParsedFrame {
 public:
  // InvalidArgument as ParseHeader().
  static StatusOr<ParsedFrame> Parse(Bytes frame);
  // As MakeFrame(): a frame that is made here, with `body_bytes` uninitialised body bytes.
  ParsedFrame(const FrameHeader& header, size_t body_bytes);

  const FrameHeader& header() const { return header_; }
  uint8_t* body() { return FrameBody(bytes_); }
  const uint8_t* body() const { return FrameBody(bytes_); }
  size_t body_bytes() const { return header_.body_bytes; }
  std::string BodyString() const { return {reinterpret_cast<const char*>(body()), body_bytes()}; }
  // The whole frame, as it travels.
  const Bytes& bytes() const { return bytes_; }

 private:
  ParsedFrame(const FrameHeader& header, Bytes bytes) : header_(header), bytes_(std::move(bytes)) {}

  FrameHeader header_;
  Bytes bytes_;
};

// Body of a pull.
struct PullBody {
  std::span<const uint32_t> counts;  // by table
  std::span<const int64_t> ids;      // table after table
  std::span<const uint64_t> marks;   // a bit an id; empty: the frame has none
};
size_t PullBodyBytes(size_t table_count, size_t id_count, bool marked = false);
// The ids of all tables together.
uint64_t IdCount(std::span<const uint32_t> counts);
// Words of the marks of so many ids.
inline size_t MarkWords(size_t id_count) { return (id_count + 63) / 64; }
// Precondition: frame has PullBodyBytes(counts.size(), IdCount(counts), marked) body bytes, marked
// if its header's flags say so. Returns where the ids are to be written; the marks stand behind
// them.
int64_t* WritePullCounts(Bytes& frame, std::span<const uint32_t> counts);
// Borrows from `frame`. InvalidArgument if counts and length disagree.
StatusOr<PullBody> ParsePull(const ParsedFrame& frame);

// An error frame carries code and message of a Status.
Bytes MakeErrorFrame(FrameHeader header, const Status& status);
Status ParseErrorFrame(const ParsedFrame& frame);

}  // namespace pepnet

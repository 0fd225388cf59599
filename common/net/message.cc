#include "common/net/message.h"

#include <bit>
#include <numeric>

#include "common/base/logging.h"

namespace pepnet {
namespace {

static_assert(std::endian::native == std::endian::little,
              "frames are little-endian and are copied as they lie in memory");

// Bytes of the counts: | count u32 per table | 4 bytes of zeros where their number is odd |. The
// ids behind them begin at a multiple of 8, and can be read where they stand.
constexpr size_t CountBytes(size_t table_count) {
  return (table_count * sizeof(uint32_t) + 7) / 8 * 8;
}

bool KnownType(MessageType type) {
  return type >= MessageType::kConfigure && type <= MessageType::kError;
}

}  // namespace

Bytes MakeFrame(FrameHeader header, size_t body_bytes) {
  Bytes frame(sizeof(FrameHeader) + body_bytes);
  SetHeader(header, &frame);
  return frame;
}

void SetHeader(FrameHeader header, Bytes* frame) {
  header.body_bytes = frame->size() - sizeof(FrameHeader);
  std::memcpy(frame->data(), &header, sizeof(header));
}

Bytes MakeFrame(FrameHeader header, const std::string& body) {
  Bytes frame = MakeFrame(header, body.size());
  std::memcpy(FrameBody(frame), body.data(), body.size());
  return frame;
}

StatusOr<FrameHeader> ParseHeader(const Bytes& frame) {
  if (frame.size() < sizeof(FrameHeader)) {
    return InvalidInput("frame of ", frame.size(), " bytes is shorter than a header (",
                        sizeof(FrameHeader), " bytes)");
  }
  FrameHeader header;
  std::memcpy(&header, frame.data(), sizeof(header));
  if (header.magic != FrameHeader::kMagic) {
    return InvalidInput("frame begins with ", absl::Hex(header.magic, absl::kZeroPad8),
                        " instead of ", absl::Hex(FrameHeader::kMagic, absl::kZeroPad8),
                        " ('PEPN')");
  }
  if (header.version != FrameHeader::kVersion) {
    return InvalidInput("frame has version ", header.version, ", this program speaks version ",
                        FrameHeader::kVersion, ": start all ranks with the same build");
  }
  if (!KnownType(header.type)) {
    return InvalidInput("frame has unknown type ", static_cast<int>(header.type));
  }
  // Readers of a body rely on this length: here it is compared with the bytes that
  // came.
  if (header.body_bytes != frame.size() - sizeof(FrameHeader)) {
    return InvalidInput("frame announces a body of ", header.body_bytes, " bytes and carries ",
                        frame.size() - sizeof(FrameHeader));
  }
  return header;
}

ParsedFrame::ParsedFrame(const FrameHeader& header, size_t body_bytes)
    : header_(header), bytes_(MakeFrame(header, body_bytes)) {
  header_.body_bytes = body_bytes;
}

StatusOr<ParsedFrame> ParsedFrame::Parse(Bytes frame) {
  PEPNET_ASSIGN_OR_RETURN(const FrameHeader header, ParseHeader(frame));
  return ParsedFrame(header, std::move(frame));
}

size_t PullBodyBytes(size_t table_count, size_t id_count, bool marked) {
  return CountBytes(table_count) +
         (id_count + (marked ? MarkWords(id_count) : 0)) * sizeof(int64_t);
}

// At most 2^32 counts below 2^32: the sum does not overflow.
uint64_t IdCount(std::span<const uint32_t> counts) {
  return std::accumulate(counts.begin(), counts.end(), uint64_t{0});
}

int64_t* WritePullCounts(Bytes& frame, std::span<const uint32_t> counts) {
  FrameHeader header;
  std::memcpy(&header, frame.data(), sizeof(header));
  const bool marked = (header.flags & FrameHeader::kMarked) != 0;
  CHECK_EQ(frame.size(),
           sizeof(FrameHeader) + PullBodyBytes(counts.size(), IdCount(counts), marked));
  uint8_t* body = FrameBody(frame);
  const size_t count_bytes = CountBytes(counts.size());
  if (count_bytes > 0) {
    std::memset(body + count_bytes - 8, 0, 8);  // the padding behind an odd number of counts
    std::memcpy(body, counts.data(), counts.size_bytes());
  }
  return reinterpret_cast<int64_t*>(body + count_bytes);
}

StatusOr<PullBody> ParsePull(const ParsedFrame& frame) {
  const size_t body_bytes = frame.body_bytes(), tables = frame.header().table_count;
  const size_t count_bytes = CountBytes(tables);  // at most 2^34: does not overflow
  if (count_bytes > body_bytes) {
    return InvalidInput("pull announces ", tables, " tables, but its body has only ", body_bytes,
                        " bytes");
  }
  const uint8_t* body = frame.body();
  PullBody pull;
  pull.counts = {reinterpret_cast<const uint32_t*>(body), tables};
  const uint64_t ids = IdCount(pull.counts);
  const bool marked = (frame.header().flags & FrameHeader::kMarked) != 0;
  const size_t id_bytes = body_bytes - count_bytes;
  const uint64_t words = ids + (marked ? MarkWords(ids) : 0);
  if (id_bytes % sizeof(int64_t) != 0 || words != id_bytes / sizeof(int64_t)) {
    return InvalidInput("pull announces ", ids, marked ? " marked" : "", " ids in ", tables,
                        " tables, but carries ", id_bytes, " bytes of ids");
  }
  pull.ids = {reinterpret_cast<const int64_t*>(body + count_bytes), static_cast<size_t>(ids)};
  if (marked) {
    pull.marks = {reinterpret_cast<const uint64_t*>(pull.ids.data() + ids), MarkWords(ids)};
  }
  return pull;
}

Bytes MakeErrorFrame(FrameHeader header, const Status& status) {
  CHECK(!status.ok());
  header.type = MessageType::kError;
  const uint32_t code = static_cast<uint32_t>(status.code());
  Bytes frame = MakeFrame(header, sizeof(code) + status.message().size());
  std::memcpy(FrameBody(frame), &code, sizeof(code));
  std::memcpy(FrameBody(frame) + sizeof(code), status.message().data(), status.message().size());
  return frame;
}

Status ParseErrorFrame(const ParsedFrame& frame) {
  const FrameHeader& header = frame.header();
  uint32_t code = 0;
  if (header.type != MessageType::kError || header.body_bytes < sizeof(code)) {
    return InvalidInput("not an error frame: type ", static_cast<int>(header.type), ", body of ",
                        header.body_bytes, " bytes");
  }
  std::memcpy(&code, frame.body(), sizeof(code));
  // An error must never turn into success.
  if (code == 0) return InvalidInput("error frame with code OK");
  const absl::string_view text(reinterpret_cast<const char*>(frame.body()) + sizeof(code),
                               header.body_bytes - sizeof(code));
  // A newer absl may know codes that this one does not: the text is what matters.
  const bool known = code <= static_cast<uint32_t>(absl::StatusCode::kUnauthenticated);
  return Status(known ? static_cast<absl::StatusCode>(code) : absl::StatusCode::kUnknown, text);
}

}  // namespace pepnet

#include "common/net/message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "absl/strings/escaping.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

std::string Hex(const Bytes& frame) {
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(frame.data()), frame.size()));
}

Bytes Copy(const Bytes& frame, size_t size) {
  Bytes copy(size);
  if (size > 0) std::memcpy(copy.data(), frame.data(), std::min(size, frame.size()));
  return copy;
}

Bytes MakePull(const std::vector<uint32_t>& counts, const std::vector<int64_t>& ids) {
  FrameHeader header;
  header.type = MessageType::kPull;
  header.sender = 3;
  header.table_count = static_cast<uint32_t>(counts.size());
  header.step = 0x0102030405060708;
  header.flags = FrameHeader::kReadOnly;
  Bytes frame = MakeFrame(header, PullBodyBytes(counts.size(), ids.size()));
  int64_t* out = WritePullCounts(frame, counts);
  std::copy(ids.begin(), ids.end(), out);
  return frame;
}

// Frozen: a change is a new FrameHeader::kVersion.
TEST(MessageTest, GoldenBytesOfAPull) {
  EXPECT_EQ(Hex(MakePull({1, 0, 1}, {7, -1})),
            "5045504e"
            "0100"
            "0200"
            "03000000"
            "03000000"
            "0807060504030201"
            "2000000000000000"
            "0000000000000000"
            "0000000000000000"
            "01000000"
            "00000000"
            "0000000000000000"
            "01000000"
            "00000000"
            "01000000"
            "00000000"
            "0700000000000000"
            "ffffffffffffffff");
}

TEST(MessageTest, GoldenBytesOfAPush) {
  FrameHeader header;
  header.type = MessageType::kPush;
  header.sender = 1;
  header.table_count = 1;
  header.step = 5;
  header.lr = 0.5;
  header.update = 6;
  Bytes frame = MakeFrame(header, sizeof(float));
  const float gradient = -2.0f;
  std::memcpy(FrameBody(frame), &gradient, sizeof(gradient));
  EXPECT_EQ(Hex(frame),
            "5045504e"
            "0100"
            "0400"
            "01000000"
            "01000000"
            "0500000000000000"
            "0400000000000000"
            "000000000000e03f"
            "0600000000000000"
            "00000000"
            "00000000"
            "0000000000000000"
            "000000c0");
}

TEST(MessageTest, HeaderSurvivesTheTrip) {
  const Bytes frame = MakeFrame(FrameHeader{.type = MessageType::kStats, .sender = 2, .step = -1}, std::string("body"));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(FrameBody(frame)) % 64, 0u);
  ASSERT_OK_AND_ASSIGN(const auto header, ParseHeader(frame));
  EXPECT_EQ(header.type, MessageType::kStats);
  EXPECT_EQ(header.sender, 2u);
  EXPECT_EQ(header.step, -1);
  EXPECT_EQ(header.body_bytes, 4u);
  EXPECT_EQ(FrameBodyString(frame), "body");
}

TEST(MessageTest, DamagedHeadersAreErrors) {
  const Bytes good = MakeFrame(FrameHeader{}, std::string("12345678"));
  const auto error = [](const Bytes& frame) { return std::string(ParseHeader(frame).status().message()); };
  EXPECT_THAT(error(Bytes()), testing::HasSubstr("shorter than a header"));
  EXPECT_THAT(error(Copy(good, 63)), testing::HasSubstr("shorter than a header"));
  EXPECT_THAT(error(Copy(good, 71)), testing::HasSubstr("announces a body of 8 bytes and carries 7"));
  EXPECT_THAT(error(Copy(good, 64)), testing::HasSubstr("announces a body of 8 bytes and carries 0"));
  struct Damage {
    size_t offset;
    uint8_t value;
    const char* text;
  };
  for (const Damage& damage : {Damage{0, 'Q', "'PEPN'"},
                               {4, 2, "version 2"},
                               {6, 0, "type 0"},
                               {6, 11, "type 11"},
                               {31, 0xff, "announces a body"}}) {
    Bytes bad = Copy(good, good.size());
    bad[damage.offset] = damage.value;
    EXPECT_THAT(error(bad), testing::HasSubstr(damage.text));
  }
}

TEST(MessageTest, PullsOfAllShapes) {
  for (const std::vector<uint32_t>& counts :
       std::vector<std::vector<uint32_t>>{{}, {0}, {3}, {0, 0}, {2, 0, 1}, {1, 2, 3, 4, 5}}) {
    std::vector<int64_t> ids(std::accumulate(counts.begin(), counts.end(), size_t{0}));
    std::iota(ids.begin(), ids.end(), -2);
    const Bytes frame = MakePull(counts, ids);
    ASSERT_OK_AND_ASSIGN(const auto pull, ParsePull(*ParseHeader(frame), frame));
    EXPECT_THAT(pull.counts, testing::ElementsAreArray(counts));
    EXPECT_THAT(pull.ids, testing::ElementsAreArray(ids));
  }
}

TEST(MessageTest, PullsWhoseCountsDisagreeWithTheirLengthAreErrors) {
  const Bytes good = MakePull({1, 1}, {7, 8});
  FrameHeader header = *ParseHeader(good);
  const auto with_table_count = [&](uint32_t n) {
    header.table_count = n;
    return ParsePull(header, good).status().code();
  };
  EXPECT_EQ(with_table_count(2), absl::StatusCode::kOk);
  for (uint32_t n : {0u, 1u, 3u, 6u, 7u, 0x80000000u, 0xffffffffu}) {
    EXPECT_EQ(with_table_count(n), absl::StatusCode::kInvalidArgument) << n;
  }
  header.table_count = 2;
  Bytes many = Copy(good, good.size());
  std::memset(FrameBody(many), 0xff, 8);  // 2 * (2^32 - 1) ids
  EXPECT_EQ(ParsePull(header, many).status().code(), absl::StatusCode::kInvalidArgument);
  for (size_t size = sizeof(FrameHeader); size < good.size(); ++size) {
    EXPECT_EQ(ParsePull(header, Copy(good, size)).status().code(), absl::StatusCode::kInvalidArgument) << size;
  }
}

TEST(MessageTest, ErrorFramesCarryCodeAndText) {
  const Bytes frame = MakeErrorFrame(FrameHeader{.sender = 1}, absl::NotFoundError("no table 'x'"));
  EXPECT_EQ(ParseHeader(frame)->type, MessageType::kError);
  EXPECT_EQ(ParseErrorFrame(frame), absl::NotFoundError("no table 'x'"));
}

TEST(MessageTest, DamagedErrorFrameIsStillAnError) {
  Bytes frame = MakeErrorFrame(FrameHeader{}, absl::NotFoundError("text"));
  FrameBody(frame)[0] = 0;
  EXPECT_EQ(ParseErrorFrame(frame).code(), absl::StatusCode::kInvalidArgument);
  FrameBody(frame)[0] = 99;
  EXPECT_EQ(ParseErrorFrame(frame).code(), absl::StatusCode::kUnknown);
  EXPECT_EQ(ParseErrorFrame(MakeFrame(FrameHeader{.type = MessageType::kError}, std::string("ab"))).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ParseErrorFrame(MakeFrame(FrameHeader{}, std::string("abcdef"))).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace pepnet

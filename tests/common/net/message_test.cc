#include "common/net/message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "absl/strings/escaping.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

std::string Hex(const Bytes& frame) {
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(frame.data()), frame.size()));
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
  const Bytes frame = MakeFrame(FrameHeader{.type = MessageType::kStats, .sender = 2, .step = -1},
                                std::string("body"));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(FrameBody(frame)) % 64, 0u);
  ASSERT_OK_AND_ASSIGN(const auto parsed, ParsedFrame::Parse(Copy(frame, frame.size())));
  EXPECT_EQ(parsed.header().type, MessageType::kStats);
  EXPECT_EQ(parsed.header().sender, 2u);
  EXPECT_EQ(parsed.header().step, -1);
  EXPECT_EQ(parsed.body_bytes(), 4u);
  EXPECT_EQ(parsed.BodyString(), "body");
  EXPECT_EQ(Hex(parsed.bytes()), Hex(frame));
}

TEST(MessageTest, WhatBorrowsFromAFrameStaysGoodWhenTheFrameMoves) {
  auto parsed = ParsedFrame::Parse(MakePull({1, 2}, {7, 8, 9}));
  ASSERT_OK(parsed);
  ASSERT_OK_AND_ASSIGN(const auto pull, ParsePull(*parsed));
  const ParsedFrame moved = *std::move(parsed);
  EXPECT_THAT(pull.ids, testing::ElementsAre(7, 8, 9));
  EXPECT_EQ(reinterpret_cast<const uint8_t*>(pull.counts.data()), moved.body());
}

TEST(MessageTest, AFrameMadeHereIsTheOneThatArrives) {
  ParsedFrame made(FrameHeader{.type = MessageType::kRows, .step = 4}, 8);
  std::memcpy(made.body(), "12345678", 8);
  ASSERT_OK_AND_ASSIGN(const auto parsed,
                       ParsedFrame::Parse(Copy(made.bytes(), made.bytes().size())));
  EXPECT_EQ(parsed.BodyString(), "12345678");
  EXPECT_EQ(std::memcmp(&parsed.header(), &made.header(), sizeof(FrameHeader)), 0);
}

TEST(MessageTest, DamagedHeadersAreErrors) {
  const Bytes good = MakeFrame(FrameHeader{}, std::string("12345678"));
  const auto error = [](const Bytes& frame) {
    const Status status = ParsedFrame::Parse(Copy(frame, frame.size())).status();
    EXPECT_EQ(status, ParseHeader(frame).status());
    return std::string(status.message());
  };
  EXPECT_THAT(error(Bytes()), testing::HasSubstr("shorter than a header"));
  EXPECT_THAT(error(Copy(good, 63)), testing::HasSubstr("shorter than a header"));
  EXPECT_THAT(error(Copy(good, 71)),
              testing::HasSubstr("announces a body of 8 bytes and carries 7"));
  EXPECT_THAT(error(Copy(good, 64)),
              testing::HasSubstr("announces a body of 8 bytes and carries 0"));
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
    ASSERT_OK_AND_ASSIGN(const auto frame, ParsedFrame::Parse(MakePull(counts, ids)));
    ASSERT_OK_AND_ASSIGN(const auto pull, ParsePull(frame));
    EXPECT_THAT(pull.counts, testing::ElementsAreArray(counts));
    EXPECT_THAT(pull.ids, testing::ElementsAreArray(ids));
  }
}

TEST(MessageTest, MarksStandBehindTheIds) {
  for (const size_t ids : {size_t{0}, size_t{1}, size_t{64}, size_t{65}, size_t{200}}) {
    FrameHeader header;
    header.type = MessageType::kPull;
    header.table_count = 1;
    header.flags = FrameHeader::kMarked;
    Bytes bytes = MakeFrame(header, PullBodyBytes(1, ids, /*marked=*/true));
    const uint32_t counts[] = {static_cast<uint32_t>(ids)};
    int64_t* const out = WritePullCounts(bytes, counts);
    std::iota(out, out + ids, 5);
    for (size_t word = 0; word < MarkWords(ids); ++word) {
      out[ids + word] = static_cast<int64_t>(0x1234567 + word);
    }
    ASSERT_OK_AND_ASSIGN(const auto frame, ParsedFrame::Parse(Copy(bytes, bytes.size())));
    ASSERT_OK_AND_ASSIGN(const auto pull, ParsePull(frame));
    EXPECT_EQ(pull.ids.size(), ids);
    ASSERT_EQ(pull.marks.size(), (ids + 63) / 64);
    for (size_t word = 0; word < pull.marks.size(); ++word) {
      EXPECT_EQ(pull.marks[word], 0x1234567 + word);
    }
    if (ids == 0) continue;
    // Without the flag the marks are ids too many, and with it ids without marks are too few.
    header.flags = 0;
    SetHeader(header, &bytes);
    ASSERT_OK_AND_ASSIGN(const auto unmarked, ParsedFrame::Parse(std::move(bytes)));
    EXPECT_THAT(ParsePull(unmarked), IsError(testing::HasSubstr("pull announces")));
    Bytes short_of_marks = MakeFrame(header, PullBodyBytes(1, ids));
    WritePullCounts(short_of_marks, counts);
    header.flags = FrameHeader::kMarked;
    SetHeader(header, &short_of_marks);
    ASSERT_OK_AND_ASSIGN(const auto too_short, ParsedFrame::Parse(std::move(short_of_marks)));
    EXPECT_THAT(ParsePull(too_short),
                IsError(testing::HasSubstr("marked ids in 1 tables, but carries")));
  }
}

TEST(MessageTest, PullsWhoseCountsDisagreeWithTheirLengthAreErrors) {
  const Bytes good = MakePull({1, 1}, {7, 8});
  // The code of the pull in `bytes`, whose header says `tables` and the length that is there.
  const auto code = [](Bytes bytes, uint32_t tables) {
    FrameHeader header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    header.table_count = tables;
    header.body_bytes = bytes.size() - sizeof(header);
    std::memcpy(bytes.data(), &header, sizeof(header));
    const auto frame = ParsedFrame::Parse(std::move(bytes));
    EXPECT_OK(frame);
    return ParsePull(*frame).status().code();
  };
  const auto with_table_count = [&](uint32_t n) { return code(Copy(good, good.size()), n); };
  EXPECT_EQ(with_table_count(2), absl::StatusCode::kOk);
  for (uint32_t n : {0u, 1u, 3u, 6u, 7u, 0x80000000u, 0xffffffffu}) {
    EXPECT_EQ(with_table_count(n), absl::StatusCode::kInvalidArgument) << n;
  }
  Bytes many = Copy(good, good.size());
  std::memset(FrameBody(many), 0xff, 8);  // 2 * (2^32 - 1) ids
  EXPECT_EQ(code(std::move(many), 2), absl::StatusCode::kInvalidArgument);
  for (size_t size = sizeof(FrameHeader); size < good.size(); ++size) {
    EXPECT_EQ(code(Copy(good, size), 2), absl::StatusCode::kInvalidArgument) << size;
  }
}

// The status in an error frame, or why `frame` is none.
Status ErrorIn(Bytes frame) {
  PEPNET_ASSIGN_OR_RETURN(const ParsedFrame parsed, ParsedFrame::Parse(std::move(frame)));
  return ParseErrorFrame(parsed);
}

TEST(MessageTest, ErrorFramesCarryCodeAndText) {
  Bytes frame = MakeErrorFrame(FrameHeader{.sender = 1}, absl::NotFoundError("no table 'x'"));
  EXPECT_EQ(ParseHeader(frame)->type, MessageType::kError);
  EXPECT_EQ(ErrorIn(std::move(frame)), absl::NotFoundError("no table 'x'"));
}

TEST(MessageTest, DamagedErrorFrameIsStillAnError) {
  Bytes frame = MakeErrorFrame(FrameHeader{}, absl::NotFoundError("text"));
  FrameBody(frame)[0] = 0;
  EXPECT_EQ(ErrorIn(Copy(frame, frame.size())).code(), absl::StatusCode::kInvalidArgument);
  FrameBody(frame)[0] = 99;
  EXPECT_EQ(ErrorIn(Copy(frame, frame.size())).code(), absl::StatusCode::kUnknown);
  EXPECT_EQ(ErrorIn(MakeFrame(FrameHeader{.type = MessageType::kError}, std::string("ab"))).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorIn(MakeFrame(FrameHeader{}, std::string("abcdef"))).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace pepnet

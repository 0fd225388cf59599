#include "common/net/packing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::HasSubstr;

Bytes Copy(const Bytes& frame) {
  Bytes copy(frame.size());
  std::memcpy(copy.data(), frame.data(), frame.size());
  return copy;
}

Bytes Pull(std::vector<uint32_t> counts, const std::vector<int64_t>& ids,
           WireDtype wanted = WireDtype::kFloat32) {
  FrameHeader header;
  header.type = MessageType::kPull;
  header.table_count = static_cast<uint32_t>(counts.size());
  header.step = 17;
  header.flags = FrameHeader::kReadOnly | DtypeFlags(wanted);
  Bytes frame = MakeFrame(header, PullBodyBytes(counts.size(), ids.size()));
  std::copy(ids.begin(), ids.end(), WritePullCounts(frame, counts));
  return frame;
}

Bytes Floats(MessageType type, WireDtype dtype, const std::vector<float>& values) {
  FrameHeader header;
  header.type = type;
  header.lr = 0.5;
  header.flags = DtypeFlags(dtype);
  if (dtype == WireDtype::kFloat16) header.exponent = Float16Exponent(values);
  Bytes frame = MakeFrame(header, values.size() * sizeof(float));
  if (!values.empty()) std::memcpy(FrameBody(frame), values.data(), values.size() * sizeof(float));
  return frame;
}
std::vector<float> ValuesOf(const ParsedFrame& frame) {
  std::vector<float> values(frame.body_bytes() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), frame.body(), values.size() * sizeof(float));
  return values;
}
std::vector<float> RoundTrip(WireDtype dtype, const std::vector<float>& values) {
  const Bytes packed = Pack(Floats(MessageType::kPush, dtype, values));
  EXPECT_EQ(packed.size(),
            sizeof(FrameHeader) + values.size() * (dtype == WireDtype::kFloat32 ? 4 : 2));
  const StatusOr<ParsedFrame> plain = Unpack(Copy(packed));
  EXPECT_OK(plain);
  EXPECT_EQ(plain->header().lr, 0.5);
  EXPECT_EQ(DtypeOf(plain->header()), WireDtype::kFloat32);
  EXPECT_EQ(plain->header().exponent, 0);
  return ValuesOf(*plain);
}

bool SameFrame(const Bytes& a, const Bytes& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

TEST(Packing, IdsThatFitTravelInFourBytesAndComeBack) {
  for (const std::vector<int64_t>& ids : {std::vector<int64_t>{}, {0}, {7, 0xffffffff, 3}}) {
    const Bytes plain = Pull({static_cast<uint32_t>(ids.size()), 0, 0}, ids, WireDtype::kBFloat16);
    const Bytes packed = Pack(Copy(plain));
    EXPECT_EQ(packed.size(), plain.size() - 4 * ids.size());
    const StatusOr<ParsedFrame> back = Unpack(Copy(packed));
    ASSERT_OK(back);
    EXPECT_TRUE(SameFrame(back->bytes(), plain));
    EXPECT_EQ(std::memcmp(&back->header(), plain.data(), sizeof(FrameHeader)), 0);
  }
}

TEST(Packing, MarksTravelBehindShortIds) {
  for (const size_t count : {size_t{0}, size_t{1}, size_t{64}, size_t{129}}) {
    FrameHeader header;
    header.type = MessageType::kPull;
    header.table_count = 2;
    header.flags = FrameHeader::kMarked;
    Bytes plain = MakeFrame(header, PullBodyBytes(2, count, /*marked=*/true));
    const uint32_t counts[] = {0, static_cast<uint32_t>(count)};
    int64_t* out = WritePullCounts(plain, counts);
    for (size_t i = 0; i < count; ++i) *out++ = static_cast<int64_t>(3 * i);
    for (size_t word = 0; word < MarkWords(count); ++word) *out++ = -1 - static_cast<int64_t>(word);
    const Bytes packed = Pack(Copy(plain));
    EXPECT_EQ(packed.size(), plain.size() - 4 * count);
    const StatusOr<ParsedFrame> back = Unpack(Copy(packed));
    ASSERT_OK(back);
    EXPECT_TRUE(SameFrame(back->bytes(), plain)) << count;
  }
  // Counts that promise more marks than the frame has.
  FrameHeader header;
  header.type = MessageType::kPull;
  header.table_count = 2;
  header.flags = FrameHeader::kMarked | FrameHeader::kShortIds;
  Bytes lying = MakeFrame(header, size_t{16});
  std::memset(FrameBody(lying), 0xff, 16);
  EXPECT_THAT(Unpack(std::move(lying)),
              IsError(HasSubstr("a packed pull of 2 tables has a body of 16 bytes")));
}

TEST(Packing, OneLongIdKeepsAllLong) {
  for (int64_t id : {int64_t{0x100000000}, int64_t{-1}}) {
    const Bytes plain = Pull({3}, {1, id, 2});
    EXPECT_TRUE(SameFrame(Pack(Copy(plain)), plain));
    EXPECT_TRUE(SameFrame(Unpack(Copy(plain))->bytes(), plain));
  }
}

TEST(Packing, Float32AndOtherFramesStayAsTheyAre) {
  EXPECT_EQ(RoundTrip(WireDtype::kFloat32, {1.1f, -2}), (std::vector<float>{1.1f, -2}));
  FrameHeader ack;
  ack.flags = DtypeFlags(WireDtype::kBFloat16);  // a reply repeats the request's flags
  const Bytes frame = MakeFrame(ack, std::string("body"));
  EXPECT_TRUE(SameFrame(Pack(Copy(frame)), frame));
  EXPECT_TRUE(SameFrame(Unpack(Copy(frame))->bytes(), frame));
}

TEST(Packing, BFloat16RoundsToNearestEven) {
  EXPECT_EQ(RoundTrip(WireDtype::kBFloat16, {}), std::vector<float>{});
  EXPECT_EQ(RoundTrip(WireDtype::kBFloat16, {1, -0.0f, 3e38f, 0x1p-126f}),
            (std::vector<float>{1, -0.0f, 0x1.c4p127f, 0x1p-126f}));
  // 1 + 2^-8 lies between 1 and 1 + 2^-7: the even one is 1; 1 + 3 2^-8 goes up to 1 + 2^-6.
  EXPECT_EQ(RoundTrip(WireDtype::kBFloat16, {1 + 0x1p-8f, 1 + 3 * 0x1p-8f, 1 + 0x1.2p-8f}),
            (std::vector<float>{1, 1 + 0x1p-6f, 1 + 0x1p-7f}));
  EXPECT_TRUE(std::isnan(RoundTrip(WireDtype::kBFloat16, {std::nanf("")})[0]));
  EXPECT_EQ(RoundTrip(WireDtype::kBFloat16, {std::numeric_limits<float>::infinity()})[0],
            std::numeric_limits<float>::infinity());
}

// Every float16 comes back to itself, and any float goes to the nearest one, ties to the even one.
TEST(Packing, Float16IsTheNearest) {
  float before = -1;
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const float value = FromFloat16(static_cast<uint16_t>(bits));
    ASSERT_GT(value, before);
    ASSERT_EQ(ToFloat16(value), bits);
    ASSERT_EQ(ToFloat16(-value), bits | 0x8000);
    if (bits > 0) {
      const float middle = (before + value) / 2;  // exact
      ASSERT_EQ(ToFloat16(middle), bits % 2 == 0 ? bits : bits - 1) << middle;
      ASSERT_EQ(ToFloat16(std::nextafter(middle, 1e9f)), bits);
      ASSERT_EQ(ToFloat16(std::nextafter(middle, -1.0f)), bits - 1);
    }
    before = value;
  }
  EXPECT_EQ(before, 65504);
  EXPECT_EQ(ToFloat16(65519.99f), 0x7bff);
  EXPECT_EQ(ToFloat16(65520), 0x7c00);
  EXPECT_TRUE(std::isnan(FromFloat16(ToFloat16(std::nanf("")))));
}

TEST(Packing, Float16KeepsElevenBitsOfTinyAndOfHugeMessages) {
  std::mt19937_64 random(3);
  std::normal_distribution<float> normal;
  for (float scale : {1e-12f, 1.0f, 1e12f, 0x1p-140f}) {
    std::vector<float> values(1000);
    float largest = 0;
    for (float& v : values) v = scale * normal(random), largest = std::max(largest, std::fabs(v));
    const std::vector<float> back = RoundTrip(WireDtype::kFloat16, values);
    for (size_t i = 0; i < values.size(); ++i) {
      // Half a unit of 11 bits, or of the smallest step next to the largest value: 2^15 / 2^-24.
      ASSERT_LE(std::fabs(back[i] - values[i]),
                std::max(0x1p-11f * std::fabs(values[i]), largest * 0x1p-39f))
          << scale;
    }
  }
  EXPECT_EQ(RoundTrip(WireDtype::kFloat16, {0, 0}), (std::vector<float>{0, 0}));
  EXPECT_EQ(RoundTrip(WireDtype::kFloat16, {3e38f, 1})[0],
            FromFloat16(ToFloat16(std::ldexp(3e38f, 15 - 128))) * std::ldexp(1.0f, 113));
  EXPECT_TRUE(std::isinf(
      // Does not spoil the scale.
      RoundTrip(WireDtype::kFloat16, {std::numeric_limits<float>::infinity(), 1})[0]));
}

TEST(Packing, DamagedBodiesAreErrors) {
  Bytes odd = Pack(Floats(MessageType::kRows, WireDtype::kBFloat16, {1, 2}));
  FrameHeader header = *ParseHeader(odd);
  EXPECT_THAT(Unpack(MakeFrame(header, size_t{3})), IsError(HasSubstr("3 bytes")));
  header.flags = FrameHeader::kDtypeMask;
  EXPECT_THAT(Unpack(MakeFrame(header, size_t{4})), IsError(HasSubstr("unknown number format")));
  FrameHeader pull;
  pull.type = MessageType::kPull;
  pull.table_count = 4;
  pull.flags = FrameHeader::kShortIds;
  EXPECT_FALSE(Unpack(MakeFrame(pull, size_t{8})).ok());   // shorter than its counts
  EXPECT_FALSE(Unpack(MakeFrame(pull, size_t{18})).ok());  // half an id
  EXPECT_OK(Unpack(MakeFrame(pull, size_t{20})));
  EXPECT_FALSE(Unpack(Bytes(7)).ok());
}

TEST(Packing, ExponentBringsTheLargestBelowTheLimit) {
  EXPECT_EQ(Float16Exponent(std::vector<float>{0.75f, -1.5f}), 14);  // 1.5 < 2^1
  EXPECT_EQ(Float16Exponent(std::vector<float>{1}), 14);
  EXPECT_EQ(Float16Exponent(std::vector<float>{0x1p-149f}), 163);
  // The neutral element of a minimum.
  EXPECT_EQ(Float16Exponent({}), Float16Exponent(std::vector<float>{0}));
  EXPECT_GT(Float16Exponent({}), 163);
}

TEST(Packing, NamesOfTheFormats) {
  EXPECT_EQ(*ParseWireDtype("float16"), WireDtype::kFloat16);
  EXPECT_THAT(ParseWireDtype("int8"), IsError(HasSubstr("expected float32, bfloat16 or float16")));
}

}  // namespace
}  // namespace pepnet

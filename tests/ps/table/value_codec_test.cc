#include "ps/table/store/value_codec.h"

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/base/random.h"

namespace pepnet {
namespace {

constexpr ValueKind kNarrow[] = {ValueKind::kFp16, ValueKind::kBf16, ValueKind::kInt8};
constexpr float kInfinity = std::numeric_limits<float>::infinity();

uint32_t BitsOf(float x) { return std::bit_cast<uint32_t>(x); }

std::vector<float> Nearest(ValueKind kind, std::vector<float> values) {
  RoundToNearest(kind, values);
  return values;
}
float Nearest(ValueKind kind, float value) { return Nearest(kind, std::vector<float>{value})[0]; }

std::vector<float> Stochastic(ValueKind kind, const std::vector<float>& values, uint64_t key,
                              int64_t id) {
  const ValueCodec codec(kind, static_cast<int>(values.size()));
  std::vector<float> row(static_cast<size_t>(codec.words())), read(values.size());
  const float* const source = values.data();
  float* const target = row.data();
  codec.WriteRows({&source, 1}, key, {&id, 1}, &target);
  codec.Read(row.data(), read.data());
  return read;
}

// A number of any exponent in [low, high) and its neighbours in float32.
float AnyFloat(uint64_t i, int low, int high) {
  const auto words = Philox4x32(RandomKey(1, RandomPurpose::kTest, 77), i, 0);
  const float size =
      std::ldexp(1.0f + UnitFloat(words[0]), low + static_cast<int>(words[1] % (high - low)));
  return words[2] % 2 == 0 ? size : -size;
}

// The numbers of FP16 and BF16 next to x, towards zero and away from it, by double arithmetic:
// significand bits s and the least exponent.
struct Neighbours {
  double inner, outer;
};
Neighbours NeighboursOf(ValueKind kind, float x) {
  const int bits = kind == ValueKind::kFp16 ? 11 : 8, least = kind == ValueKind::kFp16 ? -14 : -126;
  const double size = std::abs(static_cast<double>(x));
  const int exponent = size == 0 ? least : std::max(least, std::ilogb(size));
  const double quantum = std::ldexp(1.0, exponent - bits + 1);
  const double inner = std::floor(size / quantum) * quantum;
  return {std::copysign(inner, x), std::copysign(inner < size ? inner + quantum : inner, x)};
}

// A block of rows is rounded as each row alone: by its id, not by its place.
TEST(ValueCodecTest, RowsOfABlockAreRoundedAsEachAlone) {
  constexpr uint64_t kKey = 99;
  for (const ValueKind kind : kNarrow) {
    for (const size_t dim : {1, 3, 4, 16, 33}) {
      for (const size_t count : {1, 2, 7, 64}) {
        const ValueCodec codec(kind, static_cast<int>(dim));
        const auto words = static_cast<size_t>(codec.words());
        std::vector<float> values(count * dim), rows(count * words, 7.0f), read(dim);
        std::vector<const float*> sources;
        std::vector<float*> targets;
        std::vector<int64_t> ids;
        for (size_t i = 0; i < count; ++i) {
          for (size_t e = 0; e < dim; ++e) {
            values[i * dim + e] = e % 7 == 5 ? kInfinity : AnyFloat(i * dim + e, -3, 3);
          }
          sources.push_back(values.data() + i * dim);
          targets.push_back(rows.data() + i * words);
          ids.push_back(static_cast<int64_t>(i % 2 == 0 ? i : uint64_t{1} << 61) - 5);
        }
        codec.WriteRows(sources, kKey, ids, targets.data());
        for (size_t i = 0; i < count; ++i) {
          const std::vector<float> row(values.begin() + static_cast<ptrdiff_t>(i * dim),
                                       values.begin() + static_cast<ptrdiff_t>((i + 1) * dim));
          codec.Read(targets[i], read.data());
          const std::vector<float> expected = Stochastic(kind, row, kKey, ids[i]);
          for (size_t e = 0; e < dim; ++e) {
            ASSERT_EQ(BitsOf(read[e]), BitsOf(expected[e])) << i << " of " << count << ", " << e;
          }
        }
      }
    }
  }
}

TEST(ValueCodecTest, RoundsToTheNearerNeighbourAndTiesToEven) {
  for (const ValueKind kind : {ValueKind::kFp16, ValueKind::kBf16}) {
    for (uint64_t i = 0; i < 200'000; ++i) {
      const float x = kind == ValueKind::kFp16 ? AnyFloat(i, -30, 15) : AnyFloat(i, -140, 127);
      const auto [inner, outer] = NeighboursOf(kind, x);
      const double to_inner = std::abs(x - inner), to_outer = std::abs(outer - x);
      const float rounded = Nearest(kind, x);
      ASSERT_TRUE(rounded == inner || rounded == outer) << x << " -> " << rounded;
      if (to_inner != to_outer) {
        ASSERT_EQ(rounded, to_inner < to_outer ? inner : outer) << x;
      }
    }
  }
  // Half-way cases, written down: 1 + 2^-8 lies between 1 and 1 + 2^-7 of BF16, 1 + 3 2^-8 between
  // 1 + 2^-7 and 1 + 2^-6.
  EXPECT_EQ(Nearest(ValueKind::kBf16, 1 + 0x1p-8f), 1);
  EXPECT_EQ(Nearest(ValueKind::kBf16, 1 + 0x3p-8f), 1 + 0x1p-6f);
  EXPECT_EQ(Nearest(ValueKind::kFp16, -1 - 0x1p-11f), -1);
  EXPECT_EQ(Nearest(ValueKind::kFp16, -1 - 0x3p-11f), -1 - 0x1p-9f);
  EXPECT_EQ(Nearest(ValueKind::kFp16, 0x1p-25f), 0);
  EXPECT_EQ(Nearest(ValueKind::kFp16, 0x3p-25f), 0x1p-23f);
  EXPECT_EQ(Nearest(ValueKind::kFp16, 0x1.8p-25f), 0x1p-24f);
}

TEST(ValueCodecTest, EveryNumberOfATypeStays) {
  for (uint32_t code = 0; code < 65536; ++code) {
    const float bf16 = std::bit_cast<float>(code << 16);
    // The value of a half by its definition: (-1)^s 2^(e - 15) (1 + m / 1024), or 2^-14 m / 1024
    // where e = 0.
    const int e = static_cast<int>(code >> 10 & 31), m = static_cast<int>(code & 1023);
    const double size = e == 0 ? std::ldexp(m, -24) : std::ldexp(1024 + m, e - 25);
    const float fp16 =
        e == 31 ? kInfinity : static_cast<float>((code & 0x8000) != 0 ? -size : size);
    for (const auto& [kind, x] : {std::pair(ValueKind::kBf16, bf16), {ValueKind::kFp16, fp16}}) {
      if (std::isnan(x)) continue;
      ASSERT_EQ(BitsOf(Nearest(kind, x)), BitsOf(x)) << x;
      ASSERT_EQ(BitsOf(Stochastic(kind, {x}, code, 1)[0]), BitsOf(x)) << x;
    }
  }
}

TEST(ValueCodecTest, WhatIsTooLargeBecomesTheLargestAndWhatIsNotFiniteStaysSo) {
  const float largest_bf16 = 0x1.FEp127f, largest = std::numeric_limits<float>::max();
  EXPECT_EQ(Nearest(ValueKind::kBf16, largest), largest_bf16);
  EXPECT_EQ(Nearest(ValueKind::kBf16, -largest), -largest_bf16);
  for (const float x : {65504.0f, 65519.0f, 65520.0f, 70000.0f, 1e30f}) {
    EXPECT_EQ(Nearest(ValueKind::kFp16, x), 65504) << x;
    EXPECT_EQ(Nearest(ValueKind::kFp16, -x), -65504) << x;
  }
  for (int64_t id = 0; id < 100; ++id) {
    EXPECT_EQ(Stochastic(ValueKind::kBf16, {largest}, 1, id)[0], largest_bf16);
    EXPECT_EQ(Stochastic(ValueKind::kFp16, {65519.0f}, 1, id)[0], 65504);
  }
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              low_nan = std::bit_cast<float>(0xFF800001u);
  for (const ValueKind kind : {ValueKind::kFp16, ValueKind::kBf16}) {
    for (int64_t id = 0; id < 20; ++id) {
      const std::vector<float> read =
          Stochastic(kind, {kInfinity, -kInfinity, nan, low_nan, 1}, 1, id);
      EXPECT_EQ(read[0], kInfinity);
      EXPECT_EQ(read[1], -kInfinity);
      EXPECT_TRUE(std::isnan(read[2]) && std::isnan(read[3]));
      EXPECT_EQ(read[4], 1);
    }
  }
  for (const float wrong : {kInfinity, -kInfinity, nan, low_nan}) {
    for (const float x : Nearest(ValueKind::kInt8, {1, wrong, 2})) {
      EXPECT_TRUE(std::isnan(x)) << wrong;
    }
    for (const float x : Stochastic(ValueKind::kInt8, {1, wrong, 2}, 1, 1)) {
      EXPECT_TRUE(std::isnan(x)) << wrong;
    }
  }
  EXPECT_THAT(Nearest(ValueKind::kInt8, {largest, -largest, 1}),
              testing::ElementsAre(0x1.FCp127f, -0x1.FCp127f, 0));
  for (int64_t id = 0; id < 100; ++id) {
    EXPECT_EQ(Stochastic(ValueKind::kInt8, {largest}, 1, id)[0], 0x1.FCp127f);
  }
}

TEST(ValueCodecTest, Int8HasTheLeastScaleThatHoldsTheRow) {
  EXPECT_THAT(Nearest(ValueKind::kInt8, {127, 1, -0.4f, 0.5f, 1.5f, 2.5f}),
              testing::ElementsAre(127, 1, 0, 0, 2, 2));
  EXPECT_THAT(Nearest(ValueKind::kInt8, {127.1f, 1, -0.6f}),
              testing::ElementsAre(128, 0, 0));  // scale 2: 1 is half-way
  EXPECT_THAT(Nearest(ValueKind::kInt8, {63.5f, 0.5f, 0.2f}), testing::ElementsAre(63.5, 0.5, 0));
  EXPECT_THAT(Nearest(ValueKind::kInt8, {0, -0.0f}), testing::ElementsAre(0, 0));
  EXPECT_THAT(Nearest(ValueKind::kInt8, {0x1p-126f, 0x1p-127f, 0x1.8p-127f, 0x1p-149f}),
              // No scale below the least normal number.
              testing::ElementsAre(0x1p-126f, 0, 0x1p-126f, 0));
}

TEST(ValueCodecTest, WhatARowReadsIsRoundedToItself) {
  for (const ValueKind kind : kNarrow) {
    for (uint64_t i = 0; i < 20'000; ++i) {
      const int spread = static_cast<int>(i % 12) + 1, top = static_cast<int>(i % 250) - 125;
      std::vector<float> values;
      for (uint64_t e = 0; e < 1 + i % 9; ++e) {
        values.push_back(AnyFloat(i * 9 + e, top - spread, top));
      }
      for (const std::vector<float>& read :
           {Nearest(kind, values), Stochastic(kind, values, 3, static_cast<int64_t>(i))}) {
        ASSERT_EQ(Nearest(kind, read), read) << TypeOf(kind).name << ", row " << i;
        ASSERT_EQ(Stochastic(kind, read, 4, static_cast<int64_t>(i)), read)
            << TypeOf(kind).name << ", row " << i;
        for (size_t e = 0; e < read.size(); ++e) {
          ASSERT_TRUE(read[e] == 0 || std::signbit(read[e]) == std::signbit(values[e]));
        }
      }
    }
  }
}

TEST(ValueCodecTest, RoundsStochasticallyToANeighbourAndToTheValueInTheMean) {
  constexpr int kDraws = 40'000;
  for (const ValueKind kind : kNarrow) {
    // The last is alone in the lowest quantum of each type but BF16.
    const std::vector<float> values = {1.2345f, -0.7071f, 0.001f, 3e-3f, -1e-4f, 2.7182817f, 1e-6f};
    std::vector<double> sum(values.size());
    std::vector<float> low(values.size(), kInfinity), high(values.size(), -kInfinity);
    for (int64_t id = 0; id < kDraws; ++id) {
      const std::vector<float> read = Stochastic(kind, values, 99, id);
      for (size_t e = 0; e < values.size(); ++e) {
        sum[e] += read[e];
        low[e] = std::min(low[e], read[e]);
        high[e] = std::max(high[e], read[e]);
      }
    }
    for (size_t e = 0; e < values.size(); ++e) {
      // Of the two values it takes the mean is x, and has a standard deviation of at most half
      // their distance / sqrt(n).
      const double distance = static_cast<double>(high[e]) - low[e];
      EXPECT_LE(low[e], values[e]);
      EXPECT_GE(high[e], values[e]);
      EXPECT_GT(distance, 0) << TypeOf(kind).name << " " << values[e];
      EXPECT_NEAR(sum[e] / kDraws, values[e], 4.5 * distance / 2 / std::sqrt(kDraws))
          << TypeOf(kind).name << " " << values[e];
      if (kind == ValueKind::kInt8) {
        EXPECT_EQ(distance, 0x1p-5);  // 2.718 takes 87 quanta of 2^-5
      } else {
        const auto [inner, outer] = NeighboursOf(kind, values[e]);
        EXPECT_EQ(distance, std::abs(outer - inner));
      }
    }
  }
}

// Frozen: the draw of element e is word e % 4 of block e / 4, and rounds up below the fraction of a
// quantum.
TEST(ValueCodecTest, ADrawIsTheWordOfTheElement) {
  for (const ValueKind kind : {ValueKind::kFp16, ValueKind::kBf16}) {
    std::vector<float> values;
    for (uint64_t e = 0; e < 11; ++e) values.push_back(AnyFloat(e, -8, 3));
    for (int64_t id = 0; id < 500; ++id) {
      const std::vector<float> read = Stochastic(kind, values, 5, id);
      for (size_t e = 0; e < values.size(); ++e) {
        const uint32_t word = Philox4x32(5, static_cast<uint64_t>(id), e / 4)[e % 4];
        const auto [inner, outer] = NeighboursOf(kind, values[e]);
        const double fraction = outer == inner ? 0 : (values[e] - inner) / (outer - inner);
        ASSERT_EQ(read[e], word < fraction * 0x1p32 ? outer : inner) << id << " " << e;
      }
    }
  }
}

TEST(ValueCodecTest, ARowTakesItsBytesAndNoMore) {
  for (const ValueKind kind : kNarrow) {
    for (int dim = 1; dim <= 9; ++dim) {
      const ValueCodec codec(kind, dim);
      EXPECT_EQ(codec.words() * 4, TypeOf(kind).value_bytes(dim));
      std::vector<float> values(static_cast<size_t>(dim), 1.5f),
          row(static_cast<size_t>(codec.words()) + 1, 7.0f);
      codec.Write(values.data(), row.data());
      EXPECT_EQ(row.back(), 7.0f) << TypeOf(kind).name << ", width " << dim;  // state stands there
      std::vector<float> read(static_cast<size_t>(dim));
      codec.Read(row.data(), read.data());
      EXPECT_EQ(read, values);
    }
  }
}

}  // namespace
}  // namespace pepnet

#include "ps/table/row_initializer.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <tuple>
#include <vector>

#include "common/base/hash.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ps/table/store/value_codec.h"

namespace pepnet {
namespace {

Table MakeTable(const std::string& name, int64_t rows, int dim, Initializer initializer = {}) {
  Table table;
  table.name = name;
  table.rows = rows;
  table.dim = dim;
  table.initializer = initializer;
  return table;
}

std::vector<float> RowOf(const Table& table, uint64_t seed, int64_t id) {
  std::vector<float> row(table.dim, 99.0f);
  RowInitializer(table, seed).Fill(id, row);
  return row;
}

// Frozen: computed from the formulas in the header by an independent program. A change breaks every
// checkpoint that relies on rows not yet created.
TEST(RowInitializerTest, GoldenValuesAreFrozen) {
  const Table user = MakeTable("user_id_emb", 1000, 6);
  EXPECT_THAT(RowOf(user, 42, 0),
              testing::ElementsAre(-0x1.47bc9p-6f, 0x1.bb422p-8f, -0x1.c7e90cp-7f, -0x1.e7cbbp-8f,
                                   0x1.0123p-10f, 0x1.84293p-7f));
  EXPECT_THAT(RowOf(user, 42, 1),
              testing::ElementsAre(0x1.fea0e8p-6f, -0x1.615a6p-10f, 0x1.5185b4p-6f, 0x1.1f5488p-6f,
                                   0x1.1eac78p-7f, 0x1.450a2p-9f));
  EXPECT_THAT(RowOf(user, 42, 999),
              testing::ElementsAre(0x1.fc33bp-6f, -0x1.7aa758p-7f, 0x1.50b3cp-9f, 0x1.2a7e38p-6f,
                                   0x1.02b688p-5f, -0x1.61e4ccp-6f));
  const Table uniform =
      MakeTable("cate_id_emb", int64_t{1} << 41, 3, {InitKind::kUniform, -0.01, 0.01});
  EXPECT_THAT(RowOf(uniform, 7, (int64_t{1} << 40) + 5),
              testing::ElementsAre(0x1.4207acp-7f, 0x1.406488p-7f, -0x1.91a9acp-9f));
  // Logarithm and cosine come from the C library: compared within a few units in the last place.
  const Table normal = MakeTable("n", 10, 6, {InitKind::kNormal, 0.5, 0.02});
  const std::vector<float> row = RowOf(normal, 42, 3);
  const std::vector<float> expected = {0.5043212f,  0.49563727f, 0.49695545f,
                                       0.46566665f, 0.49474114f, 0.48948663f};
  for (int e = 0; e < 6; ++e) EXPECT_FLOAT_EQ(row[e], expected[e]);
}

TEST(RowInitializerTest, DependsOnSeedTableIdAndNothingElse) {
  const Table table = MakeTable("a", 100, 8);
  const std::vector<float> row = RowOf(table, 1, 17);
  EXPECT_EQ(RowOf(table, 1, 17), row);
  EXPECT_NE(RowOf(table, 2, 17), row);
  EXPECT_NE(RowOf(table, 1, 18), row);
  EXPECT_NE(RowOf(MakeTable("b", 100, 8), 1, 17), row);
  // Neither the order of the calls nor the width changes an element.
  const RowInitializer initializer(table, 1);
  std::vector<float> other(8);
  for (int64_t id : {99, 3, 17}) initializer.Fill(id, other);
  EXPECT_EQ(other, row);
  const std::vector<float> narrow = RowOf(MakeTable("a", 100, 5), 1, 17);
  EXPECT_EQ(narrow, std::vector<float>(row.begin(), row.begin() + 5));
}

TEST(RowInitializerTest, DefaultIsUniformWithinOneOverSquareRootOfRows) {
  const Table table = MakeTable("t", 400, 7);
  const RowInitializer initializer(table, 5);
  std::vector<float> row(7);
  double sum = 0, squares = 0, low = 1, high = -1;
  constexpr int kRows = 3000;
  for (int64_t id = 0; id < kRows; ++id) {
    initializer.Fill(id, row);
    for (float x : row) {
      low = std::min<double>(low, x);
      high = std::max<double>(high, x);
      sum += x;
      squares += double{x} * x;
    }
  }
  const double n = kRows * 7, bound = 0.05;
  EXPECT_GE(low, -bound - 1e-8);
  EXPECT_LE(high, bound + 1e-8);
  EXPECT_LT(low, -0.99 * bound);
  EXPECT_GT(high, 0.99 * bound);
  EXPECT_NEAR(sum / n, 0, 5 * bound / std::sqrt(3 * n));
  EXPECT_NEAR(squares / n, bound * bound / 3, 0.03 * bound * bound / 3);
}

TEST(RowInitializerTest, NormalHasItsMeanAndDeviationAndIndependentPairs) {
  const Table table = MakeTable("t", 10, 5, {InitKind::kNormal, 1.5, 0.25});
  const RowInitializer initializer(table, 9);
  std::vector<float> row(5);
  double sum = 0, squares = 0, products = 0;
  constexpr int kRows = 4000;
  for (int64_t id = 0; id < kRows; ++id) {
    initializer.Fill(id, row);
    for (float x : row) {
      ASSERT_TRUE(std::isfinite(x));
      sum += x - 1.5;
      squares += (x - 1.5) * (x - 1.5);
    }
    products += (row[0] - 1.5) * (row[1] - 1.5);
  }
  const double n = kRows * 5;
  EXPECT_NEAR(sum / n, 0, 5 * 0.25 / std::sqrt(n));
  EXPECT_NEAR(std::sqrt(squares / n), 0.25, 0.01);
  EXPECT_NEAR(products / kRows, 0, 5 * 0.0625 / std::sqrt(kRows));
}

TEST(RowInitializerTest, ConstantFillsEveryElement) {
  EXPECT_THAT(RowOf(MakeTable("t", 10, 5, {InitKind::kConstant, 0.25, 1}), 3, 4),
              testing::Each(0.25f));
}

void ExpectFloats(const std::vector<float>& row, const std::vector<float>& expected) {
  ASSERT_EQ(row.size(), expected.size());
  for (size_t e = 0; e < row.size(); ++e) EXPECT_FLOAT_EQ(row[e], expected[e]);
}

struct Moments {
  double mean = 0, variance = 0, least = 1e300, greatest = -1e300;
  double count = 0;
};

// Of the elements of rows 0 to `rows` - 1.
Moments MomentsOf(const Table& table, int64_t rows) {
  const RowInitializer initializer(table, 9);
  std::vector<float> row(table.dim);
  Moments moments;
  double sum = 0, squares = 0;
  for (int64_t id = 0; id < rows; ++id) {
    initializer.Fill(id, row);
    for (const double x : row) {
      sum += x;
      squares += x * x;
      moments.least = std::min(moments.least, x);
      moments.greatest = std::max(moments.greatest, x);
      ++moments.count;
    }
  }
  moments.mean = sum / moments.count;
  moments.variance = squares / moments.count - moments.mean * moments.mean;
  return moments;
}

// Closed forms of the truncated normal distribution: with f the density, F the distribution
// function, y and z the
// bounds in deviations, and s = F(z) - F(y):   mean = m + d (f(y) - f(z)) / s,
// variance = d^2 (1 + (y f(y) - z f(z)) / s - ((f(y) - f(z)) / s)^2).
TEST(RowInitializerTest, TruncatedNormalHasTheMomentsOfTheClosedForm) {
  const Initializer cases[] = {{InitKind::kTruncatedNormal, 0, 1, -2, 2},
                               {InitKind::kTruncatedNormal, 0.5, 0.2, 0.4, 1.5},
                               {InitKind::kTruncatedNormal, 0, 0.01, -2, 2},   // in effect not cut
                               {InitKind::kTruncatedNormal, 0, 1, 3, 8},       // an upper tail
                               {InitKind::kTruncatedNormal, 2, 0.5, -9, -1}};  // a lower tail
  for (const Initializer& cut : cases) {
    const auto density = [](double x) {
      return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi);
    };
    const double y = (cut.low - cut.a) / cut.b, z = (cut.high - cut.a) / cut.b;
    // erfc is precise in the upper tail, so that both bounds are looked at from where the share is.
    const double share =
        y > 0 ? (std::erfc(y / std::numbers::sqrt2) - std::erfc(z / std::numbers::sqrt2)) / 2
              : (std::erfc(-z / std::numbers::sqrt2) - std::erfc(-y / std::numbers::sqrt2)) / 2;
    const double shift = (density(y) - density(z)) / share;
    const double mean = cut.a + cut.b * shift;
    const double variance =
        cut.b * cut.b * (1 + (y * density(y) - z * density(z)) / share - shift * shift);
    const Moments found = MomentsOf(MakeTable("t", 10000, 5, cut), 10000);
    EXPECT_NEAR(found.mean, mean, 5 * std::sqrt(variance / found.count));
    EXPECT_NEAR(found.variance, variance, 0.05 * variance) << cut.low;
    EXPECT_GE(found.least, cut.low);
    EXPECT_LE(found.greatest, cut.high);
  }
}

// Frozen: computed by an independent program (Philox and the formula of the header in Python, whose
// statistics.NormalDist().inv_cdf is another algorithm).
TEST(RowInitializerTest, TruncatedNormalGoldenValuesAreFrozen) {
  const Table table = MakeTable("n", 10, 6, {InitKind::kTruncatedNormal, 0.5, 0.02, 0.49, 0.53});
  ExpectFloats(RowOf(table, 42, 3), {0.491602922f, 0.521130471f, 0.516247762f, 0.514661006f,
                                     0.495327157f, 0.512311836f});
  const Table tail = MakeTable("n", 10, 5, {InitKind::kTruncatedNormal, 0, 1, 6, 9});
  ExpectFloats(RowOf(tail, 42, 7),
               {6.07617209f, 6.02814229f, 6.36204176f, 6.41316517f, 6.08965756f});
}

TEST(RowInitializerTest, EyeIsTheIdentity) {
  const Table table = MakeTable("t", int64_t{1} << 40, 4, {InitKind::kEye});
  EXPECT_THAT(RowOf(table, 1, 0), testing::ElementsAre(1, 0, 0, 0));
  EXPECT_THAT(RowOf(table, 1, 3), testing::ElementsAre(0, 0, 0, 1));
  EXPECT_THAT(RowOf(table, 1, 4), testing::Each(0));
  EXPECT_THAT(RowOf(table, 1, (int64_t{1} << 32) + 1), testing::Each(0));
}

// Each column has ceil(sparsity * rows) zeros, in rows of its own; the other values are those of
// N(0, std).
TEST(RowInitializerTest, SparseHasItsNumberOfZerosInEachColumn) {
  for (const auto& [rows, sparsity, zeros] : {std::tuple{1000, 0.1, 100},
                                              {1000, 0.9001, 901},
                                              {7, 0.5, 4},
                                              {1, 0.3, 1},
                                              {50, 0.0, 0},
                                              {50, 1.0, 50}}) {
    const Table table = MakeTable("t", rows, 6, {InitKind::kSparse, sparsity, 0.02});
    const Table normal = MakeTable("t", rows, 6, {InitKind::kNormal, 0, 0.02});
    std::vector<std::vector<int>> empty(6);  // by column
    for (int id = 0; id < rows; ++id) {
      const std::vector<float> row = RowOf(table, 5, id), full = RowOf(normal, 5, id);
      for (int e = 0; e < 6; ++e) {
        if (row[e] == 0) {
          empty[e].push_back(id);
        } else {
          EXPECT_EQ(row[e], full[e]);
        }
      }
    }
    for (int e = 0; e < 6; ++e) {
      EXPECT_EQ(static_cast<int>(empty[e].size()), zeros) << rows << " " << sparsity;
    }
    EXPECT_TRUE(rows < 1000 || empty[0] != empty[1]);
  }
}

// Of a table that grows, whose ids lie anywhere below 2^62, about that share is zero.
TEST(RowInitializerTest, SparseOfATableThatGrowsHasItsShareOfZeros) {
  const Table table = MakeTable("t", int64_t{1} << 62, 8, {InitKind::kSparse, 0.25, 1});
  int zeros = 0;
  constexpr int kRows = 2000;
  for (uint64_t i = 0; i < kRows; ++i) {
    const auto id = static_cast<int64_t>(Mix64(i) >> 2);
    for (const float x : RowOf(table, 3, id)) zeros += x == 0 ? 1 : 0;
  }
  const double n = kRows * 8;
  EXPECT_NEAR(zeros / n, 0.25, 5 * std::sqrt(0.25 * 0.75 / n));
}

TEST(RowInitializerTest, ATableOfFewerBitsBeginsWithTheNearestValues) {
  for (const ValueKind kind : AllKinds<ValueKind>()) {
    for (const int dim : {8, 5}) {
      Table table = MakeTable("a", 100, dim);
      std::vector<std::vector<float>> expected;
      std::vector<int64_t> ids;
      for (int64_t id = 0; id < 40; ++id) {
        ids.push_back(id);
        expected.push_back(RowOf(table, 3, id));
        RoundToNearest(kind, expected.back());
      }
      table.value_kind = kind;
      std::vector<float> rows(ids.size() * static_cast<size_t>(dim));
      RowInitializer(table, 3).FillRows(ids, dim, rows.data());
      for (size_t i = 0; i < ids.size(); ++i) {
        ASSERT_EQ(RowOf(table, 3, ids[i]), expected[i]) << TypeOf(kind).name;
        ASSERT_EQ(std::vector<float>(rows.begin() + static_cast<ptrdiff_t>(i) * dim,
                                     rows.begin() + static_cast<ptrdiff_t>(i + 1) * dim),
                  expected[i])
            << TypeOf(kind).name;
      }
    }
  }
}

TEST(RowInitializerTest, ManyRowsAtOnceAreTheSameRows) {
  for (const int dim : {1, 4, 6, 8, 12, 16, 20, 32, 36, 64}) {
    for (const InitKind kind : AllKinds<InitKind>()) {
      const Table table = MakeTable("many", int64_t{1} << 50, dim, {kind, 0.25, 0.75});
      std::vector<int64_t> ids;
      for (int64_t i = 0; i < 37; ++i) ids.push_back((i * 7919 << i) % table.rows);
      std::vector<float> rows(ids.size() * static_cast<size_t>(dim)), expected;
      RowInitializer(table, 11).FillRows(ids, dim, rows.data());
      for (const int64_t id : ids) {
        const std::vector<float> row = RowOf(table, 11, id);
        expected.insert(expected.end(), row.begin(), row.end());
      }
      EXPECT_EQ(rows, expected) << dim;
    }
  }
}

}  // namespace
}  // namespace pepnet

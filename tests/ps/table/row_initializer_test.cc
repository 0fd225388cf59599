#include "ps/table/row_initializer.h"

#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

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

// Frozen: computed from the formulas in the header by an independent program. A change breaks every checkpoint that
// relies on rows not yet created.
TEST(RowInitializerTest, GoldenValuesAreFrozen) {
  const Table user = MakeTable("user_id_emb", 1000, 6);
  EXPECT_THAT(RowOf(user, 42, 0), testing::ElementsAre(-0x1.47bc9p-6f, 0x1.bb422p-8f, -0x1.c7e90cp-7f, -0x1.e7cbbp-8f,
                                                       0x1.0123p-10f, 0x1.84293p-7f));
  EXPECT_THAT(RowOf(user, 42, 1), testing::ElementsAre(0x1.fea0e8p-6f, -0x1.615a6p-10f, 0x1.5185b4p-6f, 0x1.1f5488p-6f,
                                                       0x1.1eac78p-7f, 0x1.450a2p-9f));
  EXPECT_THAT(RowOf(user, 42, 999), testing::ElementsAre(0x1.fc33bp-6f, -0x1.7aa758p-7f, 0x1.50b3cp-9f, 0x1.2a7e38p-6f,
                                                         0x1.02b688p-5f, -0x1.61e4ccp-6f));
  const Table uniform = MakeTable("cate_id_emb", int64_t{1} << 41, 3, {InitKind::kUniform, -0.01, 0.01});
  EXPECT_THAT(RowOf(uniform, 7, (int64_t{1} << 40) + 5),
              testing::ElementsAre(0x1.4207acp-7f, 0x1.406488p-7f, -0x1.91a9acp-9f));
  // Logarithm and cosine come from the C library: compared within a few units in the last place.
  const Table normal = MakeTable("n", 10, 6, {InitKind::kNormal, 0.5, 0.02});
  const std::vector<float> row = RowOf(normal, 42, 3);
  const std::vector<float> expected = {0.5043212f, 0.49563727f, 0.49695545f, 0.46566665f, 0.49474114f, 0.48948663f};
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
  EXPECT_THAT(RowOf(MakeTable("t", 10, 5, {InitKind::kConstant, 0.25, 1}), 3, 4), testing::Each(0.25f));
}

TEST(RowInitializerTest, ManyRowsAtOnceAreTheSameRows) {
  for (const int dim : {1, 4, 6, 8, 12, 16, 20, 32, 36, 64}) {
    for (const InitKind kind : {InitKind::kDefault, InitKind::kUniform, InitKind::kNormal, InitKind::kConstant}) {
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

// From the golden CSV files to the reference's group tensors: every rule of spec 3 at once, pooled
// by hand.
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/safetensors.h"
#include "common/config/load.h"
#include "tests/support/paths.h"
#include "tests/support/status_matchers.h"
#include "worker/data/load/batch_loader.h"

namespace pepnet {
namespace {

class GoldenDataTest : public ::testing::TestWithParam<const char*> {};

// One feature's columns of one row: the values of a raw feature, or
//     sum:  sum_i w_i e(id_i)        mean:  sum_i w_i e(id_i) / count
// with w_i = 1 where there are no weights.
std::vector<double> Pool(const Feature& feature, const Batch& batch, size_t f, int64_t row,
                         const std::vector<float>& table) {
  std::vector<double> pooled(feature.dim, 0);
  if (feature.bucketizer == Bucketizer::kNone) {
    for (int d = 0; d < feature.dim; ++d) pooled[d] = batch.values[f][row * feature.dim + d];
    return pooled;
  }
  const IdColumn& column = batch.ids[f];
  const int32_t begin = column.offsets[row], end = column.offsets[row + 1];
  for (int32_t i = begin; i < end; ++i) {
    const double weight = column.weights.empty() ? 1 : column.weights[i];
    for (int d = 0; d < feature.dim; ++d) {
      pooled[d] += weight * table[column.ids[i] * feature.dim + d];
    }
  }
  if (feature.pooling == Pooling::kMean && end > begin) {
    for (double& value : pooled) value /= end - begin;
  }
  return pooled;
}

TEST_P(GoldenDataTest, LawL1GroupTensorsAreTheReferences) {
  const std::string dir = absl::StrCat(SourceDir(), "/tests/golden/", GetParam());
  ASSERT_OK_AND_ASSIGN(const auto config, LoadJobConfig(dir + "/pipeline.config", {}));
  const auto init = SafetensorsReader::Open(dir + "/init.safetensors");
  const auto forward = SafetensorsReader::Open(dir + "/forward.safetensors");
  ASSERT_OK(init);
  ASSERT_OK(forward);

  std::vector<std::vector<float>> tables;
  for (const Table& table : config.tables) {
    ASSERT_OK_AND_ASSIGN(const auto values, (*init)->ReadFloats(TableParameterName(table)));
    ASSERT_EQ(static_cast<int64_t>(values.size()), table.rows * table.dim) << table.name;
    tables.push_back(values);
  }
  std::vector<FeatureGroup> groups = {config.model.main};
  if (config.model.domain) groups.push_back(*config.model.domain);
  if (config.model.uia) groups.push_back(*config.model.uia);
  std::vector<std::vector<float>> expected;
  for (const FeatureGroup& group : groups) {
    ASSERT_OK_AND_ASSIGN(const auto values, (*forward)->ReadFloats("group_" + group.name));
    expected.push_back(values);
  }

  LoaderOptions options;
  options.input_path = dir + "/train.csv";
  options.batch_size = config.data.batch_size;
  ASSERT_OK_AND_ASSIGN(const auto loader, BatchLoader::Open(config, options));
  int64_t rows = 0;
  while (true) {
    ASSERT_OK_AND_ASSIGN(const auto next, loader->Next());
    if (!next.has_value()) break;
    const Batch& batch = *next;
    for (int64_t row = 0; row < batch.rows; ++row) {
      for (size_t g = 0; g < groups.size(); ++g) {
        int64_t at = (rows + row) * groups[g].width;
        for (const int l : groups[g].leaves) {
          const Leaf& leaf = config.leaves[l];
          const Feature& feature = config.features[leaf.feature];
          const std::vector<float> none;
          for (const double value : Pool(feature, batch, leaf.feature, row,
                                         leaf.table >= 0 ? tables[leaf.table] : none)) {
            ASSERT_LT(at, static_cast<int64_t>(expected[g].size()));
            const double reference = expected[g][at++];
            ASSERT_NEAR(value, reference, 1e-5 + 1e-4 * std::abs(reference))
                << "group " << groups[g].name << ", feature " << feature.name << ", "
                << batch.origin << ", row " << row;
          }
        }
      }
    }
    rows += batch.rows;
  }
  for (size_t g = 0; g < groups.size(); ++g) {
    EXPECT_EQ(rows * groups[g].width, static_cast<int64_t>(expected[g].size()));
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenDataTest,
                         ::testing::Values("seed_small", "no_domain", "no_uia", "multi_domain",
                                           "features", "mixed"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace pepnet

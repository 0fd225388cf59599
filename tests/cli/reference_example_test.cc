// The reference's public example, unchanged (its inputs are ODPS tables): trains, evaluates and
// predicts with input paths given on the command line.
#include <arrow/api.h>
#include <arrow/io/file.h>
#include <gtest/gtest.h>
#include <parquet/arrow/writer.h>

#include <map>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "common/config/load.h"
#include "common/file/file.h"
#include "tests/support/cluster.h"
#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

// A column of `rows` random values that fit the feature: integers for ids, text for hashed tokens,
// numbers for raw features.
std::shared_ptr<arrow::Array> RandomColumn(const Feature& feature, int rows,
                                           std::mt19937_64& random) {
  std::shared_ptr<arrow::Array> column;
  if (feature.kind == FeatureKind::kRaw) {
    arrow::DoubleBuilder builder;
    for (int i = 0; i < rows; ++i) {
      EXPECT_OK(builder.Append(static_cast<double>(random() % 30000) / 7));
    }
    EXPECT_OK(builder.Finish(&column));
  } else if (feature.bucketizer == Bucketizer::kHash) {
    arrow::StringBuilder builder;
    for (int i = 0; i < rows; ++i) EXPECT_OK(builder.Append(absl::StrCat("430548_", random() % 4)));
    EXPECT_OK(builder.Finish(&column));
  } else {
    arrow::Int64Builder builder;
    for (int i = 0; i < rows; ++i) {
      EXPECT_OK(builder.Append(static_cast<int64_t>(random() % feature.rows)));
    }
    EXPECT_OK(builder.Finish(&column));
  }
  return column;
}

// Rows for every column the config reads.
void WriteRandomParquet(const JobConfig& config, int rows, const std::string& path) {
  std::mt19937_64 random(11);
  std::map<std::string, std::shared_ptr<arrow::Array>> columns;
  for (const Feature& feature : config.features) {
    columns[feature.column] = RandomColumn(feature, rows, random);
  }
  for (const std::string& label : config.data.labels) {
    if (columns.count(label) > 0) continue;  // a label that is a feature as well
    arrow::Int64Builder builder;
    for (int i = 0; i < rows; ++i) ASSERT_OK(builder.Append(static_cast<int64_t>(random() % 2)));
    ASSERT_OK(builder.Finish(&columns[label]));
  }
  arrow::FieldVector fields;
  arrow::ArrayVector arrays;
  for (const auto& [name, array] : columns) {
    fields.push_back(arrow::field(name, array->type()));
    arrays.push_back(array);
  }
  ASSERT_OK_AND_ASSIGN(auto file, arrow::io::FileOutputStream::Open(path));
  ASSERT_OK(parquet::arrow::WriteTable(*arrow::Table::Make(arrow::schema(fields), arrays),
                                       arrow::default_memory_pool(), file));
  ASSERT_OK(file->Close());
}

class ReferenceExample : public ::testing::TestWithParam<std::string> {};

TEST_P(ReferenceExample, RunsUnchangedWithPathsOnTheCommandLine) {
  const std::string path = GoldenPath("reference_example", GetParam());
  ASSERT_OK_AND_ASSIGN(auto config, LoadJobConfig(path, {}));
  TemporaryDirectory directory;
  const std::string data = directory / "rows.parquet", model_dir = directory / "model";
  WriteRandomParquet(config, 150, data);
  const std::string command =
      absl::StrCat(" --pipeline_config_path ", path, " --model_dir ", model_dir);

  const ProcessResult refused = RunShell(absl::StrCat("$PEPNET train", command));
  EXPECT_EQ(refused.exit_status, 1);
  EXPECT_TRUE(absl::StrContains(refused.Cause(), "OdpsDataset")) << refused.err;

  const ProcessResult trained = RunShell(absl::StrCat(
      "$PEPNET train", command, " --train_input_path ", data, " --eval_input_path ", data));
  ASSERT_EQ(trained.exit_status, 0) << trained.err;
  EXPECT_TRUE(absl::StrContains(trained.out, "auc_ctr")) << trained.out;
  const ProcessResult predicted =
      RunShell(absl::StrCat("$PEPNET predict", command, " --predict_input_path ", data,
                            " --predict_output_path ", directory / "out"));
  ASSERT_EQ(predicted.exit_status, 0) << predicted.err;
  EXPECT_TRUE(PathExists(directory / "out/part-00000.parquet"));
}

INSTANTIATE_TEST_SUITE_P(Files, ReferenceExample,
                         ::testing::Values("pepnet_taobao.config", "pepnet_taobao_older.config"),
                         [](const auto& info) {
                           return info.param == "pepnet_taobao.config" ? "today" : "older";
                         });

}  // namespace
}  // namespace pepnet

#include "worker/eval/prediction_writer.h"

#include <gtest/gtest.h>

#include "common/file/file.h"
#include "tests/support/cluster.h"
#include "tests/support/status_matchers.h"
#include "tests/worker/data/data_files.h"

namespace pepnet {
namespace {

TEST(PredictionWriterTest, ReservedColumnsOfEveryTypeAreValuesInCsv) {
  TemporaryDirectory directory;
  const auto words = arrow::dictionary(arrow::int32(), arrow::utf8());
  const auto rows = MakeRows({
      {"city", JsonArray(words, R"(["a, b", "c", null])")},
      {"list", JsonArray(arrow::list(arrow::int64()), "[[1, null], [], null]")},
      {"tags", JsonArray(arrow::list(words), R"([["x"], ["y", "x"], []])")},
      {"pair", JsonArray(arrow::fixed_size_list(arrow::int32(), 2), "[[1, 2], [3, 4], [5, 6]]")},
      {"map", JsonArray(arrow::map(arrow::utf8(), arrow::int64()), R"([[["k", 2]], [], null])")},
      {"struct", JsonArray(arrow::struct_({arrow::field("x", arrow::int32()),
                                           arrow::field("y", arrow::utf8())}),
                           R"([{"x": 1, "y": "z"}, {"x": null, "y": "w"}, null])")},
  });
  auto writer =
      PredictionWriter::Make(directory / "writing.csv", directory / "part.csv", /*csv=*/true);
  ModelOutput output;
  output.name = "probs_ctr";
  output.values = {0.5f, 0.25f, 1};
  ASSERT_OK(writer->Append(3, {output}, rows));
  ASSERT_OK(writer->Finish({output}, rows->schema()));
  const std::string text = *ReadFile(directory / "writing.csv");
  EXPECT_EQ(text,
            "probs_ctr,city,list,tags,pair,map,struct\n"
            "0.5,\"a, b\",\"[1, null]\",[x],\"[1, 2]\",{k: 2},\"{x: 1, y: z}\"\n"
            "0.25,c,[],\"[y, x]\",\"[3, 4]\",{},\"{x: null, y: w}\"\n"
            "1,,,[],\"[5, 6]\",,\n");
  EXPECT_EQ(writer->bytes(), static_cast<int64_t>(text.size()));
  ASSERT_OK(writer->Publish());
  EXPECT_EQ(*ReadFile(directory / "part.csv"), text);
}

TEST(PredictionWriterTest, APartThatCannotGetItsNameLeavesNothing) {
  TemporaryDirectory directory;
  ASSERT_OK(MakeDirectories(directory / "part.csv/in the way"));
  {
    auto writer =
        PredictionWriter::Make(directory / "writing.csv", directory / "part.csv", /*csv=*/true);
    ModelOutput output;
    output.name = "probs_ctr";
    ASSERT_OK(writer->Finish({output}, nullptr));
    EXPECT_FALSE(writer->Publish().ok());
  }
  EXPECT_EQ(*ListDirectory(directory.path()), std::vector<std::string>{"part.csv"});
}

}  // namespace
}  // namespace pepnet

#include "worker/data/files/input_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "common/job_config/job_config.h"
#include "tests/support/status_matchers.h"
#include "tests/worker/data/data_files.h"

namespace pepnet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

StatusOr<InputFiles> Find(const std::string& input,
                          std::optional<DatasetType> type = DatasetType::kCsv) {
  return FindInputFiles(input, type, "OdpsDataset");
}

std::string ErrorOf(const StatusOr<InputFiles>& found) {
  return std::string(found.status().message());
}

TEST(InputFilesTest, GlobsAndPathsBecomeOneSortedList) {
  TestDirectory dir;
  const std::string b = dir.Write("b.csv", ""), a = dir.Write("a.csv", ""),
                    x = dir.Write("x10.txt", "");
  ASSERT_OK_AND_ASSIGN(const auto found, Find(dir.Path("x*") + ", " + dir.Path("?.csv") + ","));
  EXPECT_THAT(found.paths, ElementsAre(a, b, x));
}

TEST(InputFilesTest, ExistingPathWithGlobCharactersIsTakenLiterally) {
  TestDirectory dir;
  const std::string odd = dir.Write("day[1].csv", "");
  dir.Write("day1.csv", "");
  ASSERT_OK_AND_ASSIGN(const auto found, Find(odd));
  EXPECT_THAT(found.paths, ElementsAre(odd));
}

TEST(InputFilesTest, ErrorsNameThePattern) {
  TestDirectory dir;
  const std::string a = dir.Write("a.csv", "");
  std::filesystem::create_directory(dir.Path("sub"));
  EXPECT_THAT(ErrorOf(Find(dir.Path("no*.csv"))),
              HasSubstr("no file matches the input pattern '" + dir.Path("no*.csv")));
  EXPECT_THAT(ErrorOf(Find(dir.Path("no.csv"))),
              HasSubstr("input path '" + dir.Path("no.csv") + "' cannot be read"));
  EXPECT_THAT(ErrorOf(Find(dir.Path("sub"))), HasSubstr("is a directory"));
  EXPECT_THAT(ErrorOf(Find(dir.Path("*"))), HasSubstr("matches the directory"));
  EXPECT_THAT(ErrorOf(Find(" , ")), HasSubstr("names no file"));
  EXPECT_THAT(ErrorOf(Find(a + "," + dir.Path("*.csv"))), HasSubstr("more than once"));
  EXPECT_THAT(ErrorOf(Find("hdfs://host/a.csv")), HasSubstr("is an address"));
}

TEST(InputFilesTest, WhereARelativePathDoesNotLeadIsSaid) {
  const std::string here =
      "(the current directory is '" + std::filesystem::current_path().string() + "')";
  EXPECT_THAT(ErrorOf(Find("nowhere/a.csv")), HasSubstr("No such file or directory " + here));
  EXPECT_THAT(ErrorOf(Find("nowhere*.csv")), HasSubstr("'nowhere*.csv' " + here));
  EXPECT_THAT(ErrorOf(Find("nowhere/*.csv")), HasSubstr("is not there or cannot be read " + here));
  EXPECT_THAT(ErrorOf(Find("/nowhere/a.csv")), Not(HasSubstr("current directory")));
}

TEST(InputFilesTest, TheFieldThatHasThePathIsNamed) {
  JobConfig config;
  config.train_input_path = "nowhere/train.csv";
  config.eval_input_path = "nowhere/eval.csv";
  EXPECT_THAT(ErrorOf(FindJobFiles(config, "nowhere/train.csv")),
              StartsWith("train_input_path: input path 'nowhere"));
  EXPECT_THAT(ErrorOf(FindJobFiles(config, "nowhere/eval.csv")),
              StartsWith("eval_input_path: input path 'nowhere"));
  EXPECT_THAT(ErrorOf(FindJobFiles(config, "nowhere/other.csv")),
              StartsWith("input path 'nowhere"));
}

TEST(InputFilesTest, OneFileUnderTwoNamesIsFound) {
  TestDirectory dir;
  const std::string a = dir.Write("a.csv", "");
  std::filesystem::create_symlink(a, dir.Path("b.csv"));
  EXPECT_THAT(ErrorOf(Find(a + "," + dir.Path("./a.csv"))),
              HasSubstr("more than once, the other time as"));
  EXPECT_THAT(ErrorOf(Find(dir.Path("*.csv"))),
              HasSubstr("more than once, the other time as '" + a + "'"));
}

TEST(InputFilesTest, MarksOfOtherProgramsAreNoData) {
  TestDirectory dir;
  const std::string part = dir.Write("part-0.csv", ""), success = dir.Write("_SUCCESS", "");
  EXPECT_THAT(Find(dir.Path("*"))->paths, ElementsAre(part));
  EXPECT_THAT(Find(dir.Path("_*"))->paths, ElementsAre(success));
  std::filesystem::remove(part);
  EXPECT_THAT(ErrorOf(Find(dir.Path("*"))), HasSubstr("which are no data"));
}

TEST(InputFilesTest, OtherDatasetTypesGoByTheEndings) {
  TestDirectory dir;
  const std::string a = dir.Write("a.csv", ""), p = dir.Write("p.parquet", ""),
                    t = dir.Write("t.txt", "");
  EXPECT_EQ(Find(a, std::nullopt)->type, DatasetType::kCsv);
  EXPECT_EQ(Find(p, std::nullopt)->type, DatasetType::kParquet);
  EXPECT_EQ(Find(a, DatasetType::kParquet)->type, DatasetType::kParquet);
  EXPECT_THAT(ErrorOf(Find(t, std::nullopt)), HasSubstr("OdpsDataset"));
  EXPECT_THAT(ErrorOf(Find(t, std::nullopt)), HasSubstr("ends neither in .csv nor in .parquet"));
  EXPECT_THAT(ErrorOf(Find(a + "," + p, std::nullopt)), HasSubstr("mix 1 .csv and 1 .parquet"));
}

}  // namespace
}  // namespace pepnet

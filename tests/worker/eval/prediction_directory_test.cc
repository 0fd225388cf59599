#include "worker/eval/prediction_directory.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "common/file/file.h"
#include "tests/support/cluster.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using Names = std::vector<std::string>;

class PredictionDirectoryTest : public ::testing::Test {
 protected:
  std::string Out(const std::string& name = "") const {
    return scratch_ / ("out" + (name.empty() ? "" : "/" + name));
  }
  void Write(const std::string& path, const std::string& text) {
    ASSERT_OK(WriteFileAtomically(path, text));
  }

  // As predict does; `until` 1: writes, 2: lists, 3: renames, 4: all.
  Status Predict(const std::string& text, bool overwrite, int until = 4) {
    PEPNET_ASSIGN_OR_RETURN(const auto directory, PredictionDirectory::Enter(Out(), overwrite));
    Write(directory->writing() + "/part-00000.csv", text);
    const auto size = static_cast<int64_t>(text.size());
    if (until >= 2) PEPNET_RETURN_IF_ERROR(directory->BeginPublishing({{"part-00000.csv", size}}));
    if (until >= 3) {
      PEPNET_RETURN_IF_ERROR(
          RenameAndSync(directory->writing() + "/part-00000.csv", Out("part-00000.csv")));
    }
    return until >= 4 ? directory->EndPublishing() : absl::CancelledError("given up");
  }

  TemporaryDirectory scratch_;
};

TEST_F(PredictionDirectoryTest, AFailureTakesEverythingBack) {
  EXPECT_FALSE(Predict("new", false, 1).ok());
  EXPECT_FALSE(PathExists(Out())) << "it was made for the prediction";
  ASSERT_OK(MakeDirectories(Out()));
  EXPECT_FALSE(Predict("new", false, 1).ok());
  EXPECT_EQ(*ListDirectory(Out()), Names{});
}

TEST_F(PredictionDirectoryTest, AFailureLeavesTheEarlierPrediction) {
  ASSERT_OK(Predict("old", false));
  for (int until : {1, 2}) {
    EXPECT_FALSE(Predict("newer", true, until).ok());
    EXPECT_EQ(*ReadFile(Out("part-00000.csv")), "old");
    EXPECT_EQ(*ListDirectory(Out()), (Names{"_pepnet_prediction.json", "part-00000.csv"}));
  }
  EXPECT_FALSE(Predict("newer", true, 3).ok());
  EXPECT_TRUE(absl::StrContains(*ReadFile(Out("_pepnet_prediction.json")), "\"complete\": false"));
  const Status again = Predict("newest", false);
  EXPECT_TRUE(absl::StrContains(again.message(), "--overwrite")) << again;
  EXPECT_OK(Predict("newest", true));
  EXPECT_EQ(*ReadFile(Out("part-00000.csv")), "newest");
}

TEST_F(PredictionDirectoryTest, TwoPredictionsDoNotMeet) {
  ASSERT_OK_AND_ASSIGN(auto first, PredictionDirectory::Enter(Out(), false));
  const Status second = Predict("new", true);
  EXPECT_TRUE(absl::StrContains(second.message(), "another prediction")) << second;
  EXPECT_TRUE(IsDirectory(first->writing()));
}

TEST_F(PredictionDirectoryTest, AManifestOfOthersOwnsNothing) {
  ASSERT_OK(MakeDirectories(Out("mine")));
  Write(scratch_ / "secret", "mine");
  for (
      const char* text :
      {"{}", "[", R"({"format": "pepnet prediction", "writing": "mine", "parts": []})",
       R"({"format": "pepnet prediction", "writing": "../secret", "parts": []})",
       R"({"format": "pepnet prediction", "writing": "", "parts": [{"file": "../secret", "bytes": 4}]})"}) {
    Write(Out("_pepnet_prediction.json"), text);
    const Status status = Predict("new", true);
    EXPECT_TRUE(absl::StrContains(status.message(), "_pepnet_prediction.json")) << text << status;
    EXPECT_TRUE(IsDirectory(Out("mine")));
    EXPECT_EQ(*ReadFile(scratch_ / "secret"), "mine");
  }
}

}  // namespace
}  // namespace pepnet

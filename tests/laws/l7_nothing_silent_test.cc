// Law L7, nothing silent: what is wrong with the data is an error that names its place.
// Mutants under which a test here must fail are named in common/base/mutant.h.
#include <gtest/gtest.h>

#include <string>

#include "common/file/file.h"
#include "tests/support/cluster.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace pepnet {
namespace {

TEST(L7NothingSilent, AnIdOutOfRangeIsAnErrorThatNamesItsPlace) {
  RandomJobOptions options;
  options.files = 1;
  options.rows = 5;
  TemporaryDirectory directory;
  const JobConfig config = MakeRandomJob(directory.path(), options);
  ASSERT_OK(AppendToFile(directory / "train-0.csv", "1,0,50,1,1,1:1,w1,0,3.5,0.5,3;4,0.5;1\n"));
  const Status status = Train(config, {1, 1, {}}, TestOptions());
  ASSERT_FALSE(status.ok());
  const std::string message(status.message());
  for (const char* part : {"train-0.csv", "row 6", "uid", "50"}) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }
}

// A row number alone would be looked for in whatever stands there now.
TEST(L7NothingSilent, AFileThatChangedSinceItsRowsWereTrainedIsAnError) {
  RandomJobOptions options;
  options.files = 1;
  TemporaryDirectory directory;
  JobConfig config = MakeRandomJob(directory.path(), options);
  config.train.num_epochs = 0;
  config.train.num_steps = 3;
  ASSERT_OK(Train(config, {1, 1, {}}, TestOptions()));
  std::string rows = *ReadFile(directory / "train-0.csv");
  rows[rows.find("\n") + 1] ^= 1;  // the first row's click: 0 is 1, or 1 is 0
  ASSERT_OK(WriteFileAtomically(directory / "train-0.csv", rows));
  config.train.num_steps = 6;
  const Status status = Train(config, {1, 1, {}}, TestOptions(/*continue_train=*/true));
  ASSERT_FALSE(status.ok()) << "rows would be lost or trained twice";
  EXPECT_NE(status.message().find("train-0.csv' has changed"), std::string::npos)
      << status.message();
}

}  // namespace
}  // namespace pepnet

// --share_reader with real processes: the same bits with and without, also through a kill and a
// resume that changes its mind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/cli_job.h"

namespace pepnet {
namespace {

using ::testing::HasSubstr;

TEST(ShareReaderCli, TheSameBitsSharedAloneAndKilledInBetween) {
  RandomJobOptions options;
  options.rows = 301;
  options.files = 5;
  options.batch_size = 4;
  options.num_epochs = 3;
  const CliJob job(
      options,
      "--num_servers=1 --seed=3 --edit_config_json '{\"train_config.save_checkpoints_steps\": 7}'");
  const auto train = [&](const std::string& model, const std::string& flags) {
    return job.Run("$MPIRUN -n 4 $PEPNET", "train", model, flags + " --verbose");
  };
  const ProcessResult alone = train("alone", "--share_reader=off");
  ASSERT_EQ(alone.exit_status, 0) << alone.err;
  EXPECT_THAT(
      alone.err,
      HasSubstr(
          "each worker decodes alone: 1.0 rows decoded for each row used (--share_reader=off)"));
  const ProcessResult shared = train("shared", "--share_reader=on");
  ASSERT_EQ(shared.exit_status, 0) << shared.err;
  EXPECT_THAT(shared.err, HasSubstr("the 3 workers of this host share the decoding"));
  EXPECT_THAT(shared.err, HasSubstr("reading: 1.00 rows decoded"));
  const ProcessResult automatic = train("auto", "");
  ASSERT_EQ(automatic.exit_status, 0) << automatic.err;
  EXPECT_THAT(automatic.err,
              HasSubstr("each worker decodes alone: of CSV files only its own rows are decoded"));

  const ProcessResult killed = train("killed", "--share_reader=on --inject kill:rank=1,step=30");
  ASSERT_NE(killed.exit_status, 0);
  ASSERT_NE(killed.exit_status, 124) << "a dead rank must end the job";
  const nlohmann::json report = job.Report("killed");
  EXPECT_EQ(report["first_cause"]["rank"], 1) << report.dump(1);
  EXPECT_EQ(report["first_cause"]["looks"], "dead") << report.dump(1);
  const ProcessResult resumed = train("killed", "--share_reader=off --continue_train");
  ASSERT_EQ(resumed.exit_status, 0) << resumed.err;

  for (const char* model : {"shared", "auto", "killed"}) {
    EXPECT_EQ(job.Difference("alone", model), "") << model;
  }
}

}  // namespace
}  // namespace pepnet

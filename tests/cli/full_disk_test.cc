// A disk that is really full: a small tmpfs. The save fails by name, the checkpoint before it stays
// loadable, and with room again the job ends in the bits of the undisturbed one. (Injected full
// disks, at every byte: save_faults_test.)
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "tests/support/cluster.h"
#include "tests/support/process.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::HasSubstr;

// A tmpfs of 1 MiB, unmounted with the object.
class SmallDisk {
 public:
  explicit SmallDisk(const std::string& path) : path_(path) {
    EXPECT_OK(MakeDirectories(path));
    error_ = mount("none", path.c_str(), "tmpfs", 0, "size=1m") == 0 ? 0 : errno;
  }
  ~SmallDisk() {
    if (error_ == 0) umount2(path_.c_str(), MNT_DETACH);
  }
  int error() const { return error_; }

 private:
  const std::string path_;
  int error_ = 0;
};

TEST(FullDisk, ASaveThatDoesNotFitFailsByNameAndLosesNothing) {
  TemporaryDirectory directory;
  const std::string disk_path = directory / "disk";
  const SmallDisk disk(disk_path);
  if (disk.error() != 0) {
    GTEST_SKIP() << "a tmpfs cannot be mounted here (this needs root): "
                 << std::strerror(disk.error());
  }
  RandomJobOptions options;
  options.num_epochs = 8;
  ASSERT_OK(
      WriteFileAtomically(directory / "job.config", WriteRandomJob(directory.path(), options)));
  const auto train = [&](const std::string& model_dir, const std::string& flags) {
    return RunShell(absl::StrCat(
        "$PEPNET train --pipeline_config_path ", directory / "job.config",
        " --threads=1 --num_servers=2 ",
        "--edit_config_json '{\"train_config.save_checkpoints_steps\": 20, ",
        "\"train_config.keep_checkpoint_max\": 2}' --model_dir ", model_dir, " ", flags));
  };
  const ProcessResult undisturbed = train(directory / "undisturbed", "");
  ASSERT_EQ(undisturbed.exit_status, 0) << undisturbed.err;

  // The first checkpoint fits (its writing ends before the one of step 40 begins); then the disk is
  // filled but for 8 KiB.
  const std::string model_dir = disk_path + "/model";
  ASSERT_EQ(train(model_dir, "--inject kill:step=45").exit_status, 137);
  const StatusOr<std::string> newest = ResolveCheckpoint(model_dir);
  ASSERT_OK(newest);
  ASSERT_EQ(RunShell(absl::StrCat("free=$(df --output=avail -k ", disk_path,
                                  " | tail -n 1); head -c $(((free - 8) * 1024)) /dev/zero >",
                                  disk_path, "/filler"))
                .exit_status,
            0);
  const ProcessResult full = train(model_dir, "--continue_train");
  EXPECT_EQ(full.exit_status, 1) << full.err;
  EXPECT_THAT(full.Cause(),
              testing::AllOf(HasSubstr("No space left on device"), HasSubstr(disk_path)));
  EXPECT_EQ(*ResolveCheckpoint(model_dir), *newest);
  const ProcessResult verified = RunShell(absl::StrCat("$PEPNET inspect --verify ", *newest));
  EXPECT_EQ(verified.exit_status, 0) << verified.err;

  ASSERT_EQ(RunShell(absl::StrCat("rm ", disk_path, "/filler")).exit_status, 0);
  const ProcessResult resumed = train(model_dir, "--continue_train");
  ASSERT_EQ(resumed.exit_status, 0) << resumed.err;
  EXPECT_EQ(CheckpointDifference(*ResolveCheckpoint(directory / "undisturbed"),
                                 *ResolveCheckpoint(model_dir)),
            "");
}

}  // namespace
}  // namespace pepnet

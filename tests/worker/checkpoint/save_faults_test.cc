// Law L6 under file faults: whichever write, fsync or rename of a training run fails, the run ends
// with an error that names the file, every checkpoint that has its name is whole, and the continued
// run ends in the bits of the undisturbed one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iostream>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "common/process/file_faults.h"
#include "tests/support/cluster.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::HasSubstr;

class SaveFaults : public ::testing::TestWithParam<std::string> {
 protected:
  JobConfig Job(const std::string& model_name) {
    RandomJobOptions options;
    options.rows = 30;
    options.batch_size = 8;
    options.sparse_optimizer = "adagrad_optimizer { lr: 0.05 }";
    JobConfig config = MakeRandomJob(directory_.path(), options, model_name);
    config.train.num_epochs = 0;
    config.train.num_steps = 3;
    config.train.save_checkpoints_steps = 2;  // model.ckpt-2, and at the end model.ckpt-3
    config.train.log_step_count_steps = 1;
    config.eval_input_path.clear();
    return config;
  }
  // True if the fault acted; then all that is promised has been checked.
  bool RunWith(const std::string& fault, const std::string& undisturbed) {
    const JobConfig config = Job("faulty");
    RemoveTree(config.model_dir).IgnoreError();
    int64_t fired = 0;
    Status status;
    {
      const FileFaults faults(
          ParseFaultPlan(absl::StrCat(fault, ",path=", config.model_dir)).value(), 0);
      status = Train(config, {1, 1, {}, {}}, TestOptions());
      fired = faults.fired();
    }
    if (fired == 0) {
      EXPECT_OK(status);
      return false;
    }
    EXPECT_FALSE(status.ok()) << fault << " went unnoticed";
    EXPECT_THAT(status, IsError(HasSubstr(config.model_dir))) << fault;
    const std::vector<int64_t> complete = ListCheckpoints(config.model_dir).value();
    for (int64_t step : complete) {
      const std::string checkpoint = absl::StrCat(config.model_dir, "/", CheckpointName(step));
      const auto manifest = ReadManifest(checkpoint);
      EXPECT_OK(manifest) << fault;
      if (manifest.ok()) {
        const Status whole = VerifyCheckpoint(checkpoint, *manifest, true, /*deep=*/true);
        EXPECT_OK(whole) << fault;
      }
    }
    status = Train(config, {1, 1, {}, {}}, TestOptions(/*continue_train=*/true));
    EXPECT_OK(status) << fault;
    EXPECT_EQ(CheckpointDifference(undisturbed, *ResolveCheckpoint(config.model_dir)), "") << fault;
    return true;
  }
  std::string Undisturbed() {
    const JobConfig config = Job("undisturbed");
    EXPECT_OK(Train(config, {1, 1, {}, {}}, TestOptions()));
    return *ResolveCheckpoint(config.model_dir);
  }

  TemporaryDirectory directory_;
};

TEST_P(SaveFaults, EveryCallOfARunMayFail) {
  const std::string undisturbed = Undisturbed();
  int n = 1;
  while (RunWith(absl::StrCat(GetParam(), ":nth=", n), undisturbed) && !HasFailure()) ++n;
  std::cout << GetParam() << ": each of the " << n - 1
            << " calls of one run failed once, 0 wrong restores\n";
  EXPECT_GT(n, 4);
}

INSTANTIATE_TEST_SUITE_P(Kinds, SaveFaults,
                         ::testing::Values("fail-write", "fail-fsync", "fail-rename"),
                         [](const auto& info) { return info.param.substr(5); });

TEST_F(SaveFaults, TheDiskMayBeFullAtAnyByte) {
  const std::string undisturbed = Undisturbed();
  int runs = 0;
  for (int64_t after = 0;
       RunWith(absl::StrCat("enospc:after=", after), undisturbed) && !HasFailure(); after += 4999)
    ++runs;
  std::cout << "enospc: " << runs << " places, 0 wrong restores\n";
  EXPECT_GT(runs, 5);
}

}  // namespace
}  // namespace pepnet

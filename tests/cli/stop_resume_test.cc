// Signals with real processes: a job that is asked to stop saves its state, ends with status 75,
// and the resumed run ends in the bits of the undisturbed one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/match.h"
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

struct StopCase {
  const char* name;
  const char* start;  // what stands before "train"
  const char* flags;
  const char* signal;
};

class StopResume : public ::testing::TestWithParam<StopCase> {
 protected:
  void SetUp() override {
    RandomJobOptions options;
    options.rows = 301;
    options.batch_size = 4;
    options.num_epochs = 40;
    ASSERT_OK(
        WriteFileAtomically(directory_ / "job.config", WriteRandomJob(directory_.path(), options)));
  }
  std::string Command(const StopCase& stop, const std::string& model_dir) const {
    return absl::StrCat(stop.start, " train --pipeline_config_path ", directory_ / "job.config",
                        " --threads=1 --seed=3 ", stop.flags,
                        " --edit_config_json '{\"train_config.save_checkpoints_steps\": 40, ",
                        "\"train_config.log_step_count_steps\": 10}' --model_dir ",
                        directory_ / model_dir);
  }
  // Starts the command, sends `signal` once `model_dir` holds step 40, and waits for its end.
  ProcessResult Interrupt(const StopCase& stop, const std::string& model_dir,
                          const std::string& signal) const {
    return RunShell(absl::StrCat(
        Command(stop, model_dir), " & job=$!\nfor i in $(seq 600); do [ -e ",
        directory_ / model_dir, "/model.ckpt-40/manifest.json ] && break; sleep 0.02; done\nkill -",
        signal, " $job\nwait $job\n"));
  }

  TemporaryDirectory directory_;
};

TEST_P(StopResume, TheRunIsSavedAndEndsInTheBitsOfTheUndisturbedOne) {
  const StopCase& stop = GetParam();
  const ProcessResult undisturbed = RunShell(Command(stop, "undisturbed"));
  ASSERT_EQ(undisturbed.exit_status, 0) << undisturbed.err;
  const ProcessResult stopped = Interrupt(stop, "stopped", stop.signal);
  ASSERT_EQ(stopped.exit_status, 75) << stopped.err;
  EXPECT_THAT(stopped.err, HasSubstr("is saved, go on with --continue_train"));
  // It prints the last evaluation, under the step of that evaluation.
  EXPECT_FALSE(stopped.out.empty());
  EXPECT_TRUE(absl::EndsWith(*ReadFile(directory_ / "stopped/train_eval_result.txt"), stopped.out))
      << stopped.out;
  const ProcessResult resumed = RunShell(Command(stop, "stopped") + " --continue_train");
  ASSERT_EQ(resumed.exit_status, 0) << resumed.err;
  EXPECT_EQ(CheckpointDifference(*ResolveCheckpoint(directory_ / "undisturbed"),
                                 *ResolveCheckpoint(directory_ / "stopped")),
            "");
  EXPECT_EQ(*ReadFile(directory_ / "undisturbed/train_eval_result.txt"),
            *ReadFile(directory_ / "stopped/train_eval_result.txt"));
}

INSTANTIATE_TEST_SUITE_P(
    Jobs, StopResume,
    ::testing::Values(
        StopCase{"one_process_sigterm", "$PEPNET", "", "TERM"},
        StopCase{"one_process_sigint", "$PEPNET", "--num_servers=2", "INT"},
        StopCase{"mpirun_sigusr1", "$MPIRUN -n 4 $PEPNET", "--num_servers=2", "USR1"},
        StopCase{"colocated_sigusr1", "$MPIRUN -n 3 $PEPNET", "--placement=colocated", "USR1"},
        StopCase{"mpmd_sigusr1", "$MPIRUN -n 1 $PEPNET_PS : -n 2 $PEPNET", "", "USR1"}),
    [](const auto& info) { return info.param.name; });

using Sigterm = StopResume;

TEST_P(Sigterm, UnderMpirunEveryRankSaysWhatItWaitedForAndNothingStays) {
  // mpirun leaves its ranks a second and forwards their last words only while it lives itself: now
  // and then they are lost.
  for (int attempt = 1;; ++attempt) {
    const ProcessResult ended = Interrupt(GetParam(), absl::StrCat("ended", attempt), "TERM");
    ASSERT_NE(ended.exit_status, 0);
    ASSERT_NE(ended.exit_status, 75);
    ASSERT_NE(ended.exit_status, 124);
    const bool heard = absl::StrContains(ended.err, "ended by SIGTERM") &&
                       absl::StrContains(ended.err, "for the next request");  // a server
    if (heard) break;
    ASSERT_LT(attempt, 4) << ended.err;
  }
}

INSTANTIATE_TEST_SUITE_P(Jobs, Sigterm,
                         ::testing::Values(StopCase{"mpirun", "$MPIRUN -n 3 $PEPNET",
                                                    "--num_servers=1", "TERM"}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace pepnet

// Law L4 with real processes: SIGKILL a server, a worker, and a rank that is both, in mid-run; the
// resumed run ends in the bits of the undisturbed one.
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/support/cli_job.h"

namespace pepnet {
namespace {

struct Victim {
  const char* name;
  int rank;
  const char* start;  // what stands before "train"
  const char* flags;
};

class KillResume : public ::testing::TestWithParam<Victim> {};

TEST_P(KillResume, TheResumedRunIsTheUndisturbedRun) {
  RandomJobOptions options;
  options.rows = 301;
  options.batch_size = 4;
  options.num_epochs = 40;
  options.sparse_optimizer = "adagrad_optimizer { lr: 0.05 }";
  const CliJob job(
      options,
      absl::StrCat(GetParam().flags,
                   " --seed=3 --edit_config_json '{\"train_config.save_checkpoints_steps\": 40, "
                   "\"train_config.log_step_count_steps\": 10}'"));

  const ProcessResult undisturbed = job.Run(GetParam().start, "train", "undisturbed");
  ASSERT_EQ(undisturbed.exit_status, 0) << undisturbed.err;

  // Kill once the second checkpoint stands: somewhere in the steps behind it.
  const std::string model_dir = job / "killed";
  const ProcessResult killed = RunShell(absl::StrCat(
      job.Command(GetParam().start, "train", "killed"), " & job=$!\n",
      "for i in $(seq 600); do [ -e ", model_dir,
      "/model.ckpt-80/manifest.json ] && break; sleep 0.05; done\n",
      "for pid in $(pgrep -f -- '--model_dir ", model_dir, "$'); do\n",
      "  if tr '\\0' '\\n' </proc/$pid/environ 2>/dev/null | grep -q '^OMPI_COMM_WORLD_RANK=",
      GetParam().rank, "$'; then kill -9 $pid; fi\n", "done\nwait $job\n"));
  ASSERT_NE(killed.exit_status, 0) << "the kill came too late: " << killed.err;
  ASSERT_NE(killed.exit_status, 124) << "a dead rank must end the job";

  const ProcessResult resumed = job.Run(GetParam().start, "train", "killed", "--continue_train");
  ASSERT_EQ(resumed.exit_status, 0) << resumed.err;
  EXPECT_EQ(job.Difference("undisturbed", "killed"), "");
}

INSTANTIATE_TEST_SUITE_P(
    Victims, KillResume,
    ::testing::Values(Victim{"worker", 1, "$MPIRUN -n 4 $PEPNET", "--num_servers=2"},
                      Victim{"server", 2, "$MPIRUN -n 4 $PEPNET", "--num_servers=2"},
                      Victim{"colocated", 1, "$MPIRUN -n 3 $PEPNET", "--placement=colocated"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace pepnet

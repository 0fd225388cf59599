// A cluster of three hosts (network namespaces: scripts/netns_cluster.sh) with real links: the run over the hosts is the run on
// one machine, a host that drops out ends the job with a sentence, and the restarted job ends in the same bits.
// Skipped, with the reason, where the hosts cannot be made.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/checkpoint/checkpoint.h"
#include "tests/support/cluster.h"
#include "tests/support/process.h"
#include "tests/support/random_job.h"

namespace pepnet {
namespace {

class Hosts : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    Script("down");  // what a killed run of this test left behind
    const ProcessResult up = Script("up 3");
    if (up.exit_status != 0) reason_ = absl::StrCat("the hosts cannot be made here: ", up.err);
  }
  static void TearDownTestSuite() { Script("down"); }

  void SetUp() override {
    if (!reason_.empty()) GTEST_SKIP() << reason_;
    RandomJobOptions options;
    options.rows = 301;
    options.batch_size = 4;
    options.num_epochs = 20;
    ASSERT_TRUE(WriteFileAtomically(directory_ / "job.config", WriteRandomJob(directory_.path(), options)).ok());
  }
  static ProcessResult Script(const std::string& arguments) {
    return RunShell(absl::StrCat("PEPNET_CLUSTER=peptst PEPNET_SUBNET=10.78.0 ", PEPNET_SOURCE_DIR,
                                 "/scripts/netns_cluster.sh ", arguments));
  }
  std::string Job(const std::string& model_dir, const std::string& flags) const {
    return absl::StrCat("train --pipeline_config_path ", directory_ / "job.config",
                        " --threads=1 --seed=3 --model_dir ", directory_ / model_dir,
                        " --edit_config_json '{\"train_config.save_checkpoints_steps\": 40}' ", flags);
  }
  // Workers on h1 and h2, two servers on h3 and one on h2.
  static std::string OverHosts(const std::string& job) {
    return absl::StrCat("run -q -n 6 --host h1:2,h2:2,h3:2 -- $PEPNET ", job, " --num_servers=3");
  }
  std::string Difference(const std::string& a, const std::string& b) const {
    return CheckpointDifference(*ResolveCheckpoint(directory_ / a), *ResolveCheckpoint(directory_ / b));
  }

  static std::string reason_;
  TemporaryDirectory directory_;
};
std::string Hosts::reason_;

TEST_F(Hosts, TheRunOverThreeHostsIsTheRunOnOne) {
  const ProcessResult here = RunShell(absl::StrCat("$MPIRUN -n 4 $PEPNET ", Job("here", "--num_servers=1")));
  ASSERT_EQ(here.exit_status, 0) << here.err;
  const ProcessResult spread = Script(OverHosts(Job("spread", "")));
  ASSERT_EQ(spread.exit_status, 0) << spread.err;
  EXPECT_EQ(Difference("here", "spread"), "");
  EXPECT_EQ(*ReadFile(directory_ / "here/train_eval_result.txt"),
            *ReadFile(directory_ / "spread/train_eval_result.txt"));
}

TEST_F(Hosts, AHostThatDropsOutEndsTheJobAndTheRestartLosesNothing) {
  const ProcessResult undisturbed =
      RunShell(absl::StrCat("$MPIRUN -n 4 $PEPNET ", Job("undisturbed", "--num_servers=1")));
  ASSERT_EQ(undisturbed.exit_status, 0) << undisturbed.err;

  // The plug of h3 (two servers) is pulled behind the first checkpoint. mpirun itself waits for the lost host for ever, so it
  // is ended once its ranks have spoken.
  const std::string cluster =
      absl::StrCat("PEPNET_CLUSTER=peptst PEPNET_SUBNET=10.78.0 ", PEPNET_SOURCE_DIR, "/scripts/netns_cluster.sh ");
  const ProcessResult cut = RunShell(absl::StrCat(
      cluster, OverHosts(Job("cut", "--timeout_s=3 --inject delay:max_ms=5,seed=1")), " 2> ", directory_ / "cut.err",
      " & job=$!\nfor i in $(seq 600); do [ -e ", directory_ / "cut",
      "/model.ckpt-40/manifest.json ] && break; sleep 0.02; done\n", cluster,
      "link h3 down\nsleep 8\nkill -9 $job\nwait $job\n", cluster, "link h3 up\ncat ", directory_ / "cut.err", " >&2"));
  // Whatever comes first: the deadline of a pull, or the end of the heartbeats.
  EXPECT_THAT(cut.err, testing::ContainsRegex("pepnet: .*rank [45].*(waited 3\\..* s for rows of step|hangs)"));
  // What was cut off ends as well: nobody holds model_dir any more.
  const ProcessResult resumed = Script(OverHosts(Job("cut", "--continue_train")));
  ASSERT_EQ(resumed.exit_status, 0) << resumed.err << cut.err;
  EXPECT_EQ(Difference("undisturbed", "cut"), "");
}

}  // namespace
}  // namespace pepnet

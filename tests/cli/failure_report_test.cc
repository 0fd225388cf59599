// Real processes that die, hang and fall behind: every rank ends within seconds, and
// model_dir/job_report.json says who was to blame.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/file/file.h"
#include "nlohmann/json.hpp"
#include "tests/support/cli_job.h"

namespace pepnet {
namespace {

using testing::HasSubstr;

RandomJobOptions Options() {
  RandomJobOptions options;
  options.rows = 301;
  options.batch_size = 4;
  options.num_epochs = 60;
  return options;
}

class FailureReport : public testing::Test {
 protected:
  // `start` stands before "train"; the waits of the steps have 4 s.
  ProcessResult Run(const std::string& start, const std::string& flags) const {
    return job_.Run(start, "train", "model", "--timeout_s=4 " + flags, /*limit_s=*/60);
  }
  nlohmann::json Report() const { return job_.Report("model"); }
  void Clean() const { RemoveTree(job_ / "model").IgnoreError(); }

  const CliJob job_{Options()};
};

constexpr char kFourRanks[] = "$MPIRUN -n 4 $PEPNET";  // ranks 0, 1 work, 2, 3 serve

void ExpectCause(const nlohmann::json& report, const char* looks, int rank, const char* role) {
  ASSERT_EQ(report["status"], "failed") << report;
  const nlohmann::json& cause = report["first_cause"];
  EXPECT_EQ(cause["looks"], looks) << report.dump(1);
  EXPECT_EQ(cause["rank"], rank) << report.dump(1);
  EXPECT_EQ(cause["role"], role) << report.dump(1);
  EXPECT_NE(cause["host"], "") << report.dump(1);
  EXPECT_NE(cause["operation"], "") << report.dump(1);
  EXPECT_GE(cause["step"], 20) << report.dump(1);
  EXPECT_EQ(report["ranks"].size(), 4u);
}

TEST_F(FailureReport, AServerThatHangsIsNamed) {
  const ProcessResult result = Run(kFourRanks, "--num_servers=2 --inject stop:rank=2,step=25");
  EXPECT_NE(result.exit_status, 0);
  ASSERT_NE(result.exit_status, 124) << result.err;
  ExpectCause(Report(), "hung", 2, "server 0");
  EXPECT_THAT(result.Cause(), HasSubstr("its process is stopped"));
}

TEST_F(FailureReport, AWorkerThatHangsIsNamed) {
  const ProcessResult result = Run(kFourRanks, "--num_servers=2 --inject stop:rank=1,step=25");
  EXPECT_NE(result.exit_status, 0);
  ASSERT_NE(result.exit_status, 124) << result.err;
  ExpectCause(Report(), "hung", 1, "worker 1");
}

// mpirun ends the others within seconds and leaves them one for their last words; on a busy machine
// they may miss it.
TEST_F(FailureReport, ARankThatIsKilledIsDead) {
  for (int attempt = 1;; ++attempt) {
    const ProcessResult result = Run(kFourRanks, "--num_servers=2 --inject kill:rank=2,step=25");
    EXPECT_NE(result.exit_status, 0);
    ASSERT_NE(result.exit_status, 124) << result.err;
    if (Report()["status"] == "failed" || attempt == 4) break;
    Clean();
  }
  ExpectCause(Report(), "dead", 2, "server 0");
}

TEST_F(FailureReport, ARankThatFallsBehindIsSlow) {
  const ProcessResult result =
      Run(kFourRanks, "--num_servers=2 --inject 'delay:rank=1,max_ms=60000,seed=2,step=25'");
  EXPECT_NE(result.exit_status, 0);
  ASSERT_NE(result.exit_status, 124) << result.err;
  ExpectCause(Report(), "slow", 1, "worker 1");
  EXPECT_THAT(result.Cause(), HasSubstr("is slow: its last heartbeat came"));
}

// Nobody but the server waits for the only worker.
TEST_F(FailureReport, AServerNoticesThatTheOnlyWorkerHangs) {
  const std::string plan = "--inject stop:rank=1,step=25";
  const ProcessResult result =
      Run(absl::StrCat("$MPIRUN -n 1 $PEPNET_PS ", plan, " : -n 1 $PEPNET"), plan);
  EXPECT_NE(result.exit_status, 0);
  ASSERT_NE(result.exit_status, 124) << result.err;
  EXPECT_THAT(result.Cause(), HasSubstr("pepnet_ps: server 0: "));
  const nlohmann::json report = Report();
  EXPECT_EQ(report["first_cause"]["looks"], "hung") << report.dump(1);
  EXPECT_EQ(report["first_cause"]["role"], "worker 0") << report.dump(1);
}

TEST_F(FailureReport, OneProcessReportsToo) {
  const ProcessResult done =
      Run("$PEPNET",
          "--edit_config_json '{\"train_config.num_epochs\": 0, \"train_config.num_steps\": 3}'");
  ASSERT_EQ(done.exit_status, 0) << done.err;
  EXPECT_EQ(Report()["status"], "done");
  Clean();
  const ProcessResult failed = Run("$PEPNET", "--inject 'fail-write:nth=1,path=dense.safetensors'");
  EXPECT_EQ(failed.exit_status, 1);
  const nlohmann::json report = Report();
  EXPECT_EQ(report["first_cause"]["looks"], "failed") << report.dump(1);
  EXPECT_THAT(report["first_cause"]["message"].get<std::string>(), HasSubstr("dense.safetensors"));
}

// A job that the lock refuses must not speak for the one that runs.
TEST_F(FailureReport, ARefusedJobLeavesTheReportAlone) {
  const ProcessResult both = RunShell(
      absl::StrCat("train() { exec ", job_.Command("$PEPNET", "train", "model"),
                   " --edit_config_json '{\"train_config.num_epochs\": 100000}' $*; }\n",
                   "train & job=$!\nfor i in $(seq 600); do [ -e ", job_ / "model/metrics.jsonl",
                   " ] && break; sleep 0.05; done\n",
                   "(train --continue_train); echo second $?\ncp ", job_ / "model/job_report.json ",
                   job_ / "seen.json", "\nkill -USR1 $job\nwait $job; echo first $?\n"));
  EXPECT_THAT(both.out, testing::AllOf(HasSubstr("second 1"), HasSubstr("first 75"))) << both.err;
  EXPECT_EQ(nlohmann::json::parse(*ReadFile(job_ / "seen.json"))["status"], "running");
  EXPECT_EQ(Report()["status"], "stopped");
}

}  // namespace
}  // namespace pepnet

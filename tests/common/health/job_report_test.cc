#include "common/health/job_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "nlohmann/json.hpp"

#include "common/file/file.h"
#include "common/health/job_watch.h"
#include "common/net/in_process.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace pepnet {
namespace {

class JobReportTest : public testing::Test {
 protected:
  void Write(const std::string& run, const std::string& status, JobReport::Certainty certainty,
             const std::string& message = "") {
    JobReport report;
    report.run = run;
    report.status = status;
    report.certainty = certainty;
    report.message = message;
    const Status written = WriteJobReport(directory_, report);
    EXPECT_OK(written);
  }
  nlohmann::json Read() const {
    return nlohmann::json::parse(*ReadFile(directory_ + "/job_report.json"));
  }

  const TemporaryDirectory temporary_;
  const std::string directory_ = temporary_.path();
};

TEST_F(JobReportTest, TheFirstOfTheSurestStays) {
  Write("a", "running", JobReport::kNone);
  EXPECT_EQ(Read()["status"], "running");
  Write("a", "failed", JobReport::kBystander, "ended by SIGTERM");
  EXPECT_EQ(Read()["first_cause"]["message"], "ended by SIGTERM");
  Write("a", "failed", JobReport::kOwnError, "disk full");
  Write("a", "failed", JobReport::kOwnError, "later");
  Write("a", "failed", JobReport::kPeerBlamed, "rank 1 is dead");
  EXPECT_EQ(Read()["first_cause"]["message"], "disk full");
  EXPECT_EQ(Read()["text"].back(), "disk full");
}

TEST_F(JobReportTest, WhateverStandsThereIsReplaced) {
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += '[';
  for (const std::string& text :
       {std::string(R"({"run": null})"), std::string(R"({"run": {"a": 1}, "status": []})"),
        std::string(R"({"run": "z", "certainty": "x"})"), deep, std::string("not JSON")}) {
    ASSERT_OK(WriteFileAtomically(directory_ + "/job_report.json", text));
    Write("a", "running", JobReport::kNone);
    Write("a", "done", JobReport::kNone);
    EXPECT_EQ(Read()["status"], "done") << text.substr(0, 40);
  }
}

TEST_F(JobReportTest, AnEarlierRunCannotSpeakForALaterOne) {
  Write("a", "running", JobReport::kNone);
  Write("b", "running", JobReport::kNone);
  Write("a", "failed", JobReport::kOwnError, "a straggler");
  EXPECT_EQ(Read()["status"], "running");
  EXPECT_EQ(Read()["run"], "b");
  Write("b", "done", JobReport::kNone);
  EXPECT_EQ(Read()["status"], "done");
}

TEST_F(JobReportTest, ADamagedReportIsReplaced) {
  ASSERT_OK(WriteFileAtomically(directory_ + "/job_report.json", "{ half"));
  Write("a", "failed", JobReport::kOwnError, "x");
  EXPECT_EQ(Read()["status"], "failed");
}

// Two ranks: rank 0 waits for rank 1, which sends heartbeats but does not answer.
TEST_F(JobReportTest, AFailedWaitNamesRankRoleHostOperationPeerAndStep) {
  InProcessHub hub(2);
  JobWatch worker(hub.transport(0), 2, nullptr), server(hub.transport(1), 2, nullptr);
  worker.peers()->SetRole("worker 0");
  server.peers()->SetRole("server 0");
  server.status()->SetStep(17);
  worker.status()->SetStep(18);
  worker.EnterModelDir(directory_ + "/.nonce-1", /*first=*/true);
  EXPECT_EQ(Read()["status"], "running");
  const std::unique_ptr<Transport> transport = worker.Watched(hub.transport(0));
  const Status status =
      transport->Receive(Channel::kRows, 1, After(std::chrono::seconds(1)), "rows of step 18")
          .status();
  worker.Fail(status);
  const nlohmann::json report = Read();
  EXPECT_EQ(report["status"], "failed");
  EXPECT_EQ(report["written_by"], 0);
  const nlohmann::json cause = report["first_cause"];
  EXPECT_EQ(cause["looks"], "slow");
  EXPECT_EQ(cause["rank"], 1);
  EXPECT_EQ(cause["role"], "server 0");
  EXPECT_EQ(cause["host"], ThisProcess().host);
  EXPECT_EQ(cause["step"], 18);
  EXPECT_EQ(cause["operation"], "rows of step 18");
  EXPECT_EQ(cause["peer"], 1);
  EXPECT_GE(cause["waited_s"], 1);
  EXPECT_THAT(cause["message"].get<std::string>(), testing::HasSubstr("rank 0 (worker 0 on host "));
  ASSERT_EQ(report["ranks"].size(), 2u);
  EXPECT_EQ(report["ranks"][1]["state"], "alive");
  worker.Close("done");
  EXPECT_EQ(Read()["status"], "failed") << "a failed job does not become a good one";
}

TEST_F(JobReportTest, WithoutAModelDirNothingIsWritten) {
  JobWatch watch(nullptr, 2, nullptr);
  watch.Fail(absl::InternalError("x"));
  EXPECT_TRUE(ListDirectory(directory_)->empty());
}

}  // namespace
}  // namespace pepnet

// Law L6, never hang, never half: a wait ends at its deadline, an incomplete checkpoint does not
// exist. Mutants under which a test here must fail are named in common/base/mutant.h.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "common/checkpoint/checkpoint.h"
#include "common/health/job_watch.h"
#include "common/net/in_process.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"
#include "worker/sparse/ps_client.h"

namespace pepnet {
namespace {

TEST(L6NeverHalf, ACheckpointThatLacksAFileNeverGetsItsName) {
  TemporaryDirectory directory;
  ASSERT_OK_AND_ASSIGN(auto writer, CheckpointWriter::Begin(directory.path(), 7));
  Manifest manifest;
  manifest.step = 7;
  manifest.files.push_back({"dense.safetensors", 10, 0});
  EXPECT_FALSE(writer.Commit(manifest).ok());
  EXPECT_TRUE(ListCheckpoints(directory.path())->empty());
}

TEST(L6NeverHang, AServerThatNeverAnswersEndsTheJobAtTheDeadline) {
  RandomJobOptions options;
  TemporaryDirectory directory;
  const JobConfig config = MakeRandomJob(directory.path(), options);
  const auto start = Clock::now();
  const Status status = RunRanks(2, {}, [&](int rank, Transport* transport) -> Status {
    if (rank == 1) return absl::OkStatus();  // a server that is gone
    PsClient client(transport, &config, {1}, 0, 0.5);
    return client.Configure({0}, 0, 0);
  });
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_THAT(status, IsError(testing::HasSubstr("server 0 (rank 1)")));
  EXPECT_LT(std::chrono::duration<double>(Clock::now() - start).count(), 10);
}

TEST(L6NeverHang, ARankWithoutHeartbeatsEndsEveryWaitOfTheOthers) {
  InProcessHub hub(3);  // rank 2 never sends a heartbeat
  JobWatch first(hub.transport(0), 0.8, nullptr), second(hub.transport(1), 0.8, nullptr);
  const std::unique_ptr<Transport> transport = first.Watched(hub.transport(0));
  const Status status =
      transport->Receive(Channel::kRows, 1, After(std::chrono::seconds(6)), "rows of step 3")
          .status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(status, IsError(testing::HasSubstr("rank 2 hangs")));
}

}  // namespace
}  // namespace pepnet

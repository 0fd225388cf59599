// Law L6: every kind of wait ends at its deadline with a sentence that names the wait and the peer.
// One test per row of the table "Every wait has a deadline" in docs/reliability.md; heartbeats and
// the watchdog have theirs in peer_watch_test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "common/health/job_watch.h"
#include "common/net/collective.h"
#include "common/net/in_process.h"
#include "ps/server.h"
#include "tests/support/status_matchers.h"
#include "worker/sparse/ps_client.h"

namespace pepnet {
namespace {

using testing::HasSubstr;

constexpr double kTimeout = 0.3;

JobConfig OneTable() {
  JobConfig config;
  config.tables = {{"users", 100, 3, {}, true}};
  config.train.sparse_optimizer.kind = SparseOptimizerKind::kSgd;
  return config;
}

UniqueIds SomeIds() {
  UniqueIds ids;
  ids.ids = {{1, 2, 3}};
  return ids;
}

void ExpectDeadline(const Status& status, const std::string& what, const std::string& peer) {
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_THAT(status, IsError(testing::AllOf(HasSubstr(what), HasSubstr(peer))));
}

// ---- a worker waits for a server ----------------------------------------------------------------

struct ClientWait {
  const char* name;
  std::function<Status(PsClient&)> call;
  const char* what;
};

std::ostream& operator<<(std::ostream& out, const ClientWait& wait) { return out << wait.name; }

class ClientDeadline : public testing::TestWithParam<ClientWait> {};

TEST_P(ClientDeadline, ASilentServerIsNamed) {
  const JobConfig config = OneTable();
  InProcessHub hub(2);  // rank 1, the server, never speaks
  PsClient client(hub.transport(0), &config, {1}, 0, kTimeout, kTimeout);
  ExpectDeadline(GetParam().call(client), GetParam().what, "server 0 (rank 1)");
}

INSTANTIATE_TEST_SUITE_P(
    Waits, ClientDeadline,
    testing::Values(ClientWait{"plan", [](PsClient& c) { return c.Configure({0}, 0, 0); },
                               "acknowledgement of the server plan"},
                    ClientWait{"pull",
                               [](PsClient& c) -> Status {
                                 PEPNET_ASSIGN_OR_RETURN(const PullTicket ticket,
                                                         c.StartPull(SomeIds(), 7, false));
                                 std::vector<AlignedBuffer<float>> rows;
                                 return c.FinishPull(ticket, &rows);
                               },
                               "rows of step 7"},
                    ClientWait{"save",
                               [](PsClient& c) -> Status {
                                 PEPNET_RETURN_IF_ERROR(c.StartSave("/nowhere", 7));
                                 return c.FinishSave(7, false).status();
                               },
                               "saved rows of step 7"},
                    ClientWait{"load", [](PsClient& c) { return c.Load("/nowhere", 7, true, {}); },
                               "rows of /nowhere"},
                    ClientWait{"statistics", [](PsClient& c) { return c.Stats().status(); },
                               "server statistics"},
                    ClientWait{"shutdown", [](PsClient& c) { return c.Shutdown(); },
                               "acknowledgement of the shutdown"}),
    [](const auto& info) { return info.param.name; });

// ---- a worker waits for a worker ----------------------------------------------------------------

struct CollectiveWait {
  const char* name;
  std::function<Status(Collective&)> call;
};

std::ostream& operator<<(std::ostream& out, const CollectiveWait& wait) { return out << wait.name; }

class CollectiveDeadline : public testing::TestWithParam<CollectiveWait> {};

// Worker 1 waits for worker 0, which never joins: the end of data, the gradients, a save, the roles
// at the start.
TEST_P(CollectiveDeadline, ASilentWorkerIsNamed) {
  InProcessHub hub(2);
  const std::unique_ptr<Collective> collective =
      MakeCollective(hub.transport(1), Channel::kControl, {0, 1}, kTimeout);
  ExpectDeadline(GetParam().call(*collective), "'the occasion'",
                 "the part of worker 0 from rank 0");
}

INSTANTIATE_TEST_SUITE_P(
    Waits, CollectiveDeadline,
    testing::Values(
        CollectiveWait{"short_sum",
                       [](Collective& c) {
                         std::vector<double> values(3);
                         return c.AllreduceSum(std::span<double>(values), "the occasion");
                       }},
        CollectiveWait{"long_sum",
                       [](Collective& c) {
                         std::vector<float> values(10000);
                         return c.AllreduceSum(std::span<float>(values), "the occasion");
                       }},
        CollectiveWait{"allgather",
                       [](Collective& c) { return c.Allgather("x", "the occasion").status(); }},
        CollectiveWait{
            "broadcast",
            [](Collective& c) { return c.BroadcastFromFirst("", "the occasion").status(); }},
        CollectiveWait{"barrier", [](Collective& c) { return c.Barrier("the occasion"); }}),
    [](const auto& info) { return info.param.name; });

TEST(GatherDeadline, ASilentWorkerIsNamed) {
  InProcessHub hub(2);
  const std::unique_ptr<Collective> collective =
      MakeCollective(hub.transport(0), Channel::kControl, {0, 1}, kTimeout);
  ExpectDeadline(collective->GatherToFirst("x", "the occasion").status(), "'the occasion'",
                 "the part of worker 1 from rank 1");
}

// ---- a server waits for workers -----------------------------------------------------------------

class ServerDeadline : public testing::Test {
 protected:
  ServerDeadline()
      : config_(OneTable()),
        hub_(2),
        worker_(hub_.transport(0), 2, nullptr),
        server_(hub_.transport(1), 2, nullptr) {
    worker_.peers()->SetRole("worker 0");
    transport_ = server_.Watched(hub_.transport(1));
    thread_ = std::thread([this] {
      ended_ = Server(transport_.get(), &server_).Run();
      done_ = true;
    });
  }
  ~ServerDeadline() override {
    hub_.Abort("the test is over");
    if (thread_.joinable()) thread_.join();
  }
  Status Configure(double timeout_s, double phase_timeout_s) {
    client_ = std::make_unique<PsClient>(hub_.transport(0), &config_, std::vector<int>{1}, 0,
                                         timeout_s, phase_timeout_s);
    return client_->Configure({0}, 0, 0);
  }
  Status End() {
    thread_.join();
    return ended_;
  }

  const JobConfig config_;
  InProcessHub hub_;
  JobWatch worker_, server_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<PsClient> client_;
  Status ended_;
  std::atomic<bool> done_ = false;
  std::thread thread_;
};

TEST_F(ServerDeadline, AWorkerThatBeatsButAsksNothingIsSlow) {
  worker_.status()->SetStep(1);
  ASSERT_OK(Configure(1, 60));
  const Status status = End();
  ExpectDeadline(status, "for the next request", "rank 0 (worker 0 on host ");
  EXPECT_THAT(status, IsError(HasSubstr("is slow: its last heartbeat came")));
}

TEST_F(ServerDeadline, AnAnnouncedPhaseHasItsOwnDeadline) {
  RankStatus::Phase phase(worker_.status(), "evaluation");
  while (!server_.peers()->PhaseAnnounced()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const auto start = Clock::now();
  ASSERT_OK(Configure(0.8, 2));
  ExpectDeadline(End(), "for the next request", "(evaluation)");
  EXPECT_GE(std::chrono::duration<double>(Clock::now() - start).count(), 2);
}

TEST_F(ServerDeadline, BeforeThePlanItWaitsForAsLongAsAVerificationTakes) {
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_FALSE(done_);
  ASSERT_OK(Configure(30, 60));
  ASSERT_OK(client_->Shutdown());
  EXPECT_OK(End());
}

}  // namespace
}  // namespace pepnet

// Run by mpirun with 1, 3 and 5 ranks (CMakeLists.txt): every rank runs the same tests in the same
// order.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>

#include "absl/strings/match.h"

#include "common/base/logging.h"
#include "common/net/cluster.h"
#include "tests/common/net/collective_conformance.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

constexpr size_t kSplitBytes = 3 << 20;  // so that 5 MB travel in pieces

MpiSession* g_session = nullptr;  // set by main() before the tests run

class MpiTransportTest : public testing::Test {
 protected:
  Transport* transport() { return g_session->transport(); }
  Status BarrierOfAll(const std::string& name) {
    return RunCase({name, [](Transport*) { return absl::OkStatus(); }}, transport());
  }
};

TEST_F(MpiTransportTest, TransportConformance) {
  for (const RankCase& rank_case : TransportCases(kSplitBytes)) {
    EXPECT_EQ(RunCase(rank_case, transport()), absl::OkStatus()) << rank_case.name;
  }
}

TEST_F(MpiTransportTest, CollectiveConformance) {
  for (int workers : {1, 2, 3, 5}) {
    if (workers > transport()->size()) continue;
    for (const RankCase& rank_case : CollectiveCases(workers)) {
      EXPECT_EQ(RunCase(rank_case, transport()), absl::OkStatus()) << rank_case.name;
    }
  }
}

// Nobody receives: Send() returns at once, Flush() has a deadline, and once somebody receives
// everything arrives.
TEST_F(MpiTransportTest, SendNeverWaitsForTheReceiver) {
  if (transport()->size() < 2) GTEST_SKIP() << "needs two ranks";
  constexpr size_t kBytes = 8 << 20;
  if (transport()->rank() == 0) {
    const Clock::time_point start = Clock::now();
    for (int i = 0; i < 4; ++i) {
      ASSERT_EQ(transport()->Send(Channel::kRows, 1, PatternBody(0, 1, i, kBytes)),
                absl::OkStatus());
    }
    const Status flushed = transport()->Flush(After(std::chrono::milliseconds(100)));
    EXPECT_EQ(flushed.code(), absl::StatusCode::kDeadlineExceeded) << flushed;
    EXPECT_TRUE(absl::StrContains(flushed.message(), "4 messages")) << flushed;
    EXPECT_LT(std::chrono::duration<double>(Clock::now() - start).count(), 10);
  }
  ASSERT_EQ(BarrierOfAll("flush has given up"), absl::OkStatus());
  // Rank 0 makes no call on this channel any more: its own thread moves the sends on.
  if (transport()->rank() == 1) {
    for (int i = 0; i < 4; ++i) {
      ASSERT_OK_AND_ASSIGN(
          const auto message,
          transport()->Receive(Channel::kRows, 0, After(std::chrono::seconds(30)), "a long body"));
      EXPECT_EQ(CheckPattern(message, 0, 1, i, kBytes), absl::OkStatus());
    }
  }
  ASSERT_EQ(BarrierOfAll("all received"), absl::OkStatus());
  EXPECT_EQ(transport()->Flush(After(std::chrono::seconds(30))), absl::OkStatus());
}

TEST_F(MpiTransportTest, WaitingUsesNextToNoCore) {
  const auto cpu_seconds = [] {
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
  };
  const double before = cpu_seconds();
  const auto nothing =
      transport()->Receive(Channel::kRows, kAnyRank, After(std::chrono::seconds(1)), "work");
  const double share = cpu_seconds() - before;
  EXPECT_EQ(nothing.status().code(), absl::StatusCode::kDeadlineExceeded);
  if (transport()->rank() == 0) std::printf("a waiting rank used %.1f %% of a core\n", 100 * share);
  EXPECT_LT(share, 0.30);
  // A rank that started late must not take the next test's first message for work.
  ASSERT_EQ(BarrierOfAll("all have waited"), absl::OkStatus());
}

// Not a limit, a record: what the transport does to latency and bandwidth on this machine.
TEST_F(MpiTransportTest, PingPong) {
  if (transport()->size() < 2) GTEST_SKIP() << "needs two ranks";
  if (transport()->rank() < 2) {
    const int peer = 1 - transport()->rank();
    for (const auto& [bytes, rounds] : {std::pair<size_t, int>{8, 300},
                                        {4096, 300},
                                        {65536, 100},
                                        {2 << 20, 20},
                                        {32 << 20, 3},
                                        {8, 300}}) {
      const Clock::time_point start = Clock::now();
      for (int i = 0; i < rounds; ++i) {
        if (transport()->rank() == 0) {
          ASSERT_EQ(transport()->Send(Channel::kRows, peer, Bytes(bytes)), absl::OkStatus());
        }
        ASSERT_EQ(transport()
                      ->Receive(Channel::kRows, peer, After(std::chrono::seconds(30)), "ping")
                      .status(),
                  absl::OkStatus());
        if (transport()->rank() == 1) {
          ASSERT_EQ(transport()->Send(Channel::kRows, peer, Bytes(bytes)), absl::OkStatus());
        }
      }
      const double seconds =
          std::chrono::duration<double>(Clock::now() - start).count() / (2 * rounds);
      if (transport()->rank() == 0) {
        std::printf("%9zu bytes one way: %8.1f us, %7.1f MB/s\n", bytes, seconds * 1e6,
                    static_cast<double>(bytes) / seconds / 1e6);
      }
    }
  }
  ASSERT_EQ(BarrierOfAll("end of ping-pong"), absl::OkStatus());
}

TEST_F(MpiTransportTest, RolesAreTheSameOnAllRanks) {
  const int size = transport()->size(), rank = transport()->rank();
  ASSERT_OK_AND_ASSIGN(const auto layout,
                       g_session->ExchangeRoles({false, 1}, g_session->transport()));
  if (size == 1) {
    EXPECT_EQ(layout.worker_ranks, std::vector<int>{0});
    EXPECT_TRUE(layout.server_ranks.empty());
    return;
  }
  EXPECT_EQ(layout.server_ranks, std::vector<int>{size - 1});
  EXPECT_EQ(layout.role, rank == size - 1 ? Role::kServer : Role::kWorker);
  EXPECT_EQ(layout.index, rank == size - 1 ? 0 : rank);
  // MPMD: the first rank is a pepnet_ps.
  ASSERT_OK_AND_ASSIGN(const auto mixed,
                       g_session->ExchangeRoles({rank == 0, 0}, g_session->transport()));
  EXPECT_EQ(mixed.server_ranks, std::vector<int>{0});
  EXPECT_EQ(static_cast<int>(mixed.worker_ranks.size()), size - 1);
  EXPECT_TRUE(absl::StrContains(
      g_session->ExchangeRoles({false, 0}, g_session->transport()).status().message(),
      "no server: add --num_servers=N"));
}

TEST_F(MpiTransportTest, SessionKnowsItsHostAndLauncher) {
  EXPECT_TRUE(MpiSession::StartedByLauncher());
  EXPECT_STREQ(std::getenv("OMPI_MCA_btl_tcp_rdma_pipeline_frag_size"), "262144");
  EXPECT_FALSE(g_session->host().empty());
}

// Ranks other than 0 print failures only, with their rank in front.
class FailuresOnly : public testing::EmptyTestEventListener {
 public:
  explicit FailuresOnly(int rank) : rank_(rank) {}
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::fprintf(stderr, "rank %d: %s:%d: %s\n", rank_,
                 result.file_name() ? result.file_name() : "?", result.line_number(),
                 result.message());
  }

 private:
  const int rank_;
};

}  // namespace
}  // namespace pepnet

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  pepnet::InitLogging(argv[0], "");
  auto session = pepnet::MpiSession::Start({.split_bytes = pepnet::kSplitBytes});
  if (!session.ok()) {
    std::fprintf(stderr, "%s\n", session.status().ToString().c_str());
    return 1;
  }
  pepnet::g_session = session->get();
  const int rank = pepnet::g_session->transport()->rank();
  if (rank != 0) {
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new pepnet::FailuresOnly(rank));
  }
  const int result = RUN_ALL_TESTS();
  if (result != 0) pepnet::g_session->Abort(result);  // others may wait for this rank
  return result;
}

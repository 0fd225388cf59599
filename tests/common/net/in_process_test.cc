#include "common/net/in_process.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <new>
#include <thread>

#include "tests/common/net/transport_conformance.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

constexpr size_t kSplitBytes = 3 << 20;  // means nothing here: the hub does not split
constexpr uint64_t kDelaySeed = 20240607;

using Parameters = std::tuple<int, int>;  // ranks, case
class InProcessConformance : public testing::TestWithParam<std::tuple<int, int, int>> {};

TEST_P(InProcessConformance, Holds) {
  const auto [ranks, max_delay_us, index] = GetParam();
  const RankCase rank_case = TransportCases(kSplitBytes)[static_cast<size_t>(index)];
  SCOPED_TRACE(absl::StrCat(rank_case.name, ", delay seed ", kDelaySeed));
  EXPECT_EQ(RunRanks(ranks, {kDelaySeed, max_delay_us},
                     [&](int, Transport* t) { return RunCase(rank_case, t); }),
            absl::OkStatus());
}
INSTANTIATE_TEST_SUITE_P(
    All, InProcessConformance,
    testing::Combine(testing::Values(1, 2, 3), testing::Values(0, 2000),
                     testing::Range(0, static_cast<int>(TransportCases(kSplitBytes).size()))),
    [](const auto& info) {
      return absl::StrCat(
          TransportCases(kSplitBytes)[static_cast<size_t>(std::get<2>(info.param))].name, "On",
          std::get<0>(info.param), "Ranks", std::get<1>(info.param) > 0 ? "Delayed" : "");
    });

std::string OrderOfSenders(uint64_t seed) {
  std::string order;
  const Status status = RunRanks(4, {seed, 20000}, [&](int rank, Transport* t) -> Status {
    if (rank > 0) return t->Send(Channel::kRows, 0, PatternBody(rank, 0, 0, 1));
    for (int i = 1; i < t->size(); ++i) {
      PEPNET_ASSIGN_OR_RETURN(
          const Message message,
          t->Receive(Channel::kRows, kAnyRank, After(std::chrono::seconds(30)), "x"));
      order += static_cast<char>('0' + message.source);
    }
    return absl::OkStatus();
  });
  EXPECT_EQ(status, absl::OkStatus());
  return order;
}

// The tests of the laws rely on this: some seed lets messages overtake those of other senders.
TEST(InProcessTest, DelaysChangeTheOrderBetweenSenders) {
  std::vector<std::string> orders;
  for (uint64_t seed = 1; seed <= 12; ++seed) orders.push_back(OrderOfSenders(seed));
  std::sort(orders.begin(), orders.end());
  EXPECT_GT(std::unique(orders.begin(), orders.end()) - orders.begin(), 1);
}

TEST(InProcessTest, AbortWakesOpenAndLaterReceives) {
  InProcessHub hub(2);
  Status open;
  std::thread waiter([&] {
    open = hub.transport(0)->Receive(Channel::kRows, 1, Deadline::max(), "rows of step 3").status();
  });
  hub.Abort("server 0 failed: disk full");
  hub.Abort("a later reason");
  waiter.join();
  EXPECT_EQ(open.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(open.message(), "waiting for rows of step 3: server 0 failed: disk full");
  const Status later =
      hub.transport(1)->Receive(Channel::kDense, kAnyRank, Deadline::max(), "a bucket").status();
  EXPECT_EQ(later.message(), "waiting for a bucket: server 0 failed: disk full");
}

TEST(InProcessTest, RunRanksReturnsTheFirstErrorAndEndsTheOthers) {
  const Status status = RunRanks(3, {}, [](int rank, Transport* t) -> Status {
    if (rank == 1) return InvalidInput("bad row 7");
    return t->Receive(Channel::kRows, kAnyRank, Deadline::max(), "never").status();
  });
  EXPECT_EQ(status.message(), "bad row 7");
}

// Each pair of ranks and channel had a queue of half a kilobyte: 9 million of them here.
TEST(InProcessTest, ThousandsOfRanksTakeNoMemoryForThoseThatNeverTalk) {
  constexpr int kRanks = 3000;
  InProcessHub hub(kRanks);
  ASSERT_OK(
      hub.transport(17)->Send(Channel::kRows, kRanks - 1, PatternBody(17, kRanks - 1, 0, 100)));
  ASSERT_OK_AND_ASSIGN(const auto message, hub.transport(kRanks - 1)
                                               ->Receive(Channel::kRows, kAnyRank,
                                                         After(std::chrono::seconds(5)), "x"));
  EXPECT_EQ(message.source, 17);
  struct rusage used;
  ASSERT_EQ(getrusage(RUSAGE_SELF, &used), 0);
  EXPECT_LT(used.ru_maxrss, 1 << 20) << "KiB";
}

TEST(InProcessTest, AThreadThatThrowsIsAnError) {
  const Status status = RunRanks(2, {}, [](int rank, Transport* t) -> Status {
    if (rank == 1) throw std::bad_alloc();
    return t->Receive(Channel::kRows, kAnyRank, Deadline::max(), "never").status();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(status.message().find("not enough memory"), std::string::npos) << status;
}

TEST(InProcessTest, BodiesAreHandedOverNotCopied) {
  InProcessHub hub(2);
  Bytes body = PatternBody(0, 1, 0, 100000);
  const uint8_t* address = body.data();
  ASSERT_OK(hub.transport(0)->Send(Channel::kRows, 1, std::move(body)));
  ASSERT_OK_AND_ASSIGN(
      const auto message,
      hub.transport(1)->Receive(Channel::kRows, 0, After(std::chrono::seconds(5)), "x"));
  EXPECT_EQ(message.body.data(), address);
}

}  // namespace
}  // namespace pepnet

#include "common/net/collective.h"

#include <gtest/gtest.h>

#include "common/net/in_process.h"
#include "tests/common/net/collective_conformance.h"

namespace pepnet {
namespace {

constexpr uint64_t kDelaySeed = 4711;

class CollectiveConformance : public testing::TestWithParam<std::tuple<int, int>> {};

TEST_P(CollectiveConformance, Holds) {
  const auto [workers, max_delay_us] = GetParam();
  for (const RankCase& rank_case : CollectiveCases(workers)) {
    SCOPED_TRACE(absl::StrCat(rank_case.name, ", delay seed ", kDelaySeed));
    // One rank more than workers: a server, which takes no part.
    EXPECT_EQ(RunRanks(workers + 1, {kDelaySeed, max_delay_us},
                       [&](int, Transport* t) { return RunCase(rank_case, t); }),
              absl::OkStatus());
  }
}
INSTANTIATE_TEST_SUITE_P(All, CollectiveConformance,
                         testing::Combine(testing::Values(1, 2, 3, 5), testing::Values(0, 3000)),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param), "Workers",
                                               std::get<1>(info.param) > 0 ? "Delayed" : "");
                         });

TEST(CollectiveTest, WorkerOrderIsTheOrderOfTheRankListNotOfTheRanks) {
  const Status status = RunRanks(3, {}, [](int rank, Transport* t) -> Status {
    const auto c = MakeCollective(t, Channel::kDense, {2, 0, 1}, 30);
    PEPNET_REQUIRE(c->index() == (rank + 1) % 3);
    // (1e8 + -1e8) + 1 = 1 in float, every order that adds the 1 earlier loses it.
    const float values[] = {1e8f, -1e8f, 1.0f};  // by worker
    std::vector<float> data = {values[c->index()]};
    PEPNET_RETURN_IF_ERROR(c->AllreduceSum(std::span<float>(data), "order"));
    PEPNET_REQUIRE(data[0] == 1.0f, data[0]);
    PEPNET_ASSIGN_OR_RETURN(const std::string first,
                            c->BroadcastFromFirst(absl::StrCat("rank ", rank), "first"));
    PEPNET_REQUIRE(first == "rank 2", first);
    return absl::OkStatus();
  });
  EXPECT_EQ(status, absl::OkStatus());
}

TEST(CollectiveTest, ForeignMessageIsNotTakenForAPiece) {
  const Status status = RunRanks(2, {}, [](int rank, Transport* t) -> Status {
    if (rank == 1) return t->Send(Channel::kDense, 0, PatternBody(1, 0, 0, 200));
    const Status garbled = MakeCollective(t, Channel::kDense, {0, 1}, 30)->Barrier("start");
    PEPNET_REQUIRE(garbled.code() == absl::StatusCode::kDataLoss, garbled.ToString());
    return absl::OkStatus();
  });
  EXPECT_EQ(status, absl::OkStatus());
}

}  // namespace
}  // namespace pepnet

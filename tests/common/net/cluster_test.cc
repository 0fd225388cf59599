#include "common/net/cluster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_join.h"

namespace pepnet {
namespace {

// "workers 0 1, servers 2 3" as every rank sees it, or the error.
std::string LayoutText(const std::vector<RoleRequest>& requests) {
  std::string text;
  for (int rank = 0; rank < static_cast<int>(requests.size()); ++rank) {
    const auto layout = LayoutFromRequests(requests, rank);
    std::string mine;
    if (layout.ok()) {
      mine = absl::StrCat("workers ", absl::StrJoin(layout->worker_ranks, " "), ", servers ",
                          absl::StrJoin(layout->server_ranks, " "));
      const auto& peers =
          layout->role == Role::kServer ? layout->server_ranks : layout->worker_ranks;
      EXPECT_EQ(peers.at(static_cast<size_t>(layout->index)), rank);
    } else {
      mine = std::string(layout.status().message());
    }
    if (rank > 0) {
      EXPECT_EQ(mine, text) << "rank " << rank << " sees something else than the one before";
    }
    text = mine;
  }
  return text;
}

std::vector<RoleRequest> Workers(int count, int num_servers) {
  return std::vector<RoleRequest>(static_cast<size_t>(count), {false, num_servers});
}

TEST(ClusterTest, TheLastRanksServe) {
  EXPECT_EQ(LayoutText(Workers(4, 2)), "workers 0 1, servers 2 3");
  EXPECT_EQ(LayoutText(Workers(4, 3)), "workers 0, servers 1 2 3");
  EXPECT_EQ(LayoutText(Workers(2, 1)), "workers 0, servers 1");
}

TEST(ClusterTest, PsRanksServeWhereverTheyStand) {
  EXPECT_EQ(LayoutText({{true, 0}, {false, 0}, {true, 0}, {false, 0}, {false, 0}}),
            "workers 1 3 4, servers 0 2");
  EXPECT_EQ(LayoutText({{true, 0}, {false, 1}}), "workers 1, servers 0");
}

TEST(ClusterTest, OneRankEmbedsItsServers) {
  EXPECT_EQ(LayoutText(Workers(1, 0)), "workers 0, servers ");
  EXPECT_EQ(LayoutText(Workers(1, 2)), "workers 0, servers ");
}

TEST(ClusterTest, ColocatedRanksWorkAndServe) {
  for (int num_servers : {0, 3}) {
    const std::vector<RoleRequest> requests(3, {false, num_servers, true});
    EXPECT_EQ(LayoutText(requests), "workers 0 1 2, servers 0 1 2");
    for (int rank = 0; rank < 3; ++rank) EXPECT_TRUE(LayoutFromRequests(requests, rank)->colocated);
  }
  EXPECT_FALSE(LayoutFromRequests(Workers(3, 1), 0)->colocated);
  // One rank alone embeds its servers, as many as it likes.
  EXPECT_EQ(LayoutText({{false, 2, true}}), "workers 0, servers ");
}

TEST(ClusterTest, ErrorsSayWhatToWrite) {
  EXPECT_EQ(
      LayoutText(Workers(4, 0)),
      "mpirun started 4 ranks but no server: add --num_servers=N (N of the 4 ranks will serve), or "
      "--placement=colocated (each rank works and serves), or start pepnet_ps ranks "
      "beside this program (mpirun -n N pepnet_ps : -n 4 pepnet train ...)");
  EXPECT_THAT(LayoutText(Workers(4, 4)),
              testing::StartsWith("--num_servers=4 of 4 ranks leaves no worker"));
  EXPECT_THAT(LayoutText(Workers(4, 9)),
              testing::StartsWith("--num_servers=9 of 4 ranks leaves no worker"));
  EXPECT_THAT(LayoutText(Workers(4, -1)), testing::StartsWith("--num_servers=-1"));
  EXPECT_THAT(LayoutText({{true, 0}, {false, 2}}),
              testing::StartsWith("--num_servers=2, but 1 pepnet_ps ranks were started"));
  EXPECT_THAT(LayoutText({{true, 0}, {true, 0}}),
              testing::HasSubstr("2 pepnet_ps ranks and no worker"));
  EXPECT_THAT(LayoutText({{false, 1}, {false, 2}, {false, 1}}),
              testing::StartsWith("rank 0 was started with --num_servers=1 and rank 1 with 2"));
  EXPECT_EQ(LayoutText({{false, 2, true}, {false, 2, true}, {false, 2, true}}),
            "--num_servers=2 with --placement=colocated: each of the 3 ranks works and serves, "
            "drop --num_servers or make "
            "it 3");
  EXPECT_EQ(LayoutText({{true, 0, false}, {false, 0, true}}),
            "--placement=colocated lets every worker serve as well, but 1 pepnet_ps ranks were "
            "started: leave them out, or "
            "drop --placement");
  EXPECT_EQ(LayoutText({{false, 0, true}, {false, 0, false}}),
            "rank 0 was started with --placement=colocated and rank 1 with dedicated: give all "
            "workers the same value");
}

}  // namespace
}  // namespace pepnet

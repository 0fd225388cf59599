#include "common/base/thread_team.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include <atomic>
#include <barrier>
#include <set>
#include <stdexcept>

namespace pepnet {
namespace {

TEST(ThreadTeam, EveryMemberDoesItsShareOfEveryPieceOfWork) {
  for (int size : {1, 2, 5}) {
    ThreadTeam team(size, "test");
    EXPECT_EQ(team.size(), size);
    std::vector<int64_t> sums(size);
    for (int64_t round = 0; round < 1000; ++round) {
      team.Run([&](int member) { sums[member] += round; });
    }
    EXPECT_EQ(sums, std::vector<int64_t>(size, 999 * 1000 / 2));
  }
}

// They meet inside the work, which one thread after the other could not.
TEST(ThreadTeam, MembersRunAtTheSameTimeOnThreadsOfTheirOwn) {
  constexpr int kSize = 4;
  ThreadTeam team(kSize, "test");
  std::vector<std::thread::id> ids(kSize);
  std::barrier meeting(kSize);
  team.Run([&](int member) {
    meeting.arrive_and_wait();
    ids[member] = std::this_thread::get_id();
  });
  EXPECT_EQ(ids[0], std::this_thread::get_id());
  EXPECT_EQ(std::set(ids.begin(), ids.end()).size(), static_cast<size_t>(kSize));
  const std::vector<std::thread::id> before = ids;
  team.Run([&](int member) { ids[member] = std::this_thread::get_id(); });
  EXPECT_EQ(ids, before);
}

TEST(ThreadTeam, AnExceptionWaitsForTheOthersAndLeavesTheTeamUsable) {
  ThreadTeam team(3, "test");
  std::atomic<int> ended = 0;
  const auto fail = [&](int member) {
    if (member > 0) throw std::runtime_error("member " + std::to_string(member));
    ++ended;
  };
  for (int round = 0; round < 3; ++round) {
    try {
      team.Run(fail);
      FAIL() << "no exception";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "member 1");
    }
  }
  EXPECT_EQ(ended, 3);
  team.Run([&](int) { ++ended; });
  EXPECT_EQ(ended, 6);
}

TEST(ForEachOnTeam, EveryItemIsDoneOnceByAMember) {
  for (int size : {0, 1, 2, 5}) {
    std::optional<ThreadTeam> team;
    if (size > 0) team.emplace(size, "test");
    for (const size_t count : {0, 1, 2, 100}) {
      std::vector<std::atomic<int>> done(count);
      std::atomic<bool> is_member = true;
      ForEachOnTeam(size > 0 ? &*team : nullptr, count, [&](int member, size_t i) {
        ++done[i];
        if (member < 0 || member >= std::max(1, size)) is_member = false;
      });
      EXPECT_TRUE(is_member);
      for (const std::atomic<int>& times : done) EXPECT_EQ(times, 1);
    }
  }
}

}  // namespace
}  // namespace pepnet

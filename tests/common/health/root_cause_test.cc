// The rank to blame, found from what a rank knows: no thread, no clock, no transport.
#include "common/health/root_cause.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace pepnet {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

constexpr Patience kPatience{0.5, 4, 3};

// A job as rank 0, a worker, sees it; all others are servers that send heartbeats and compute.
JobView Job(int size) {
  JobView job;
  job.period_s = kPatience.period_s;
  for (int rank = 0; rank < size; ++rank) {
    PeerView view;
    view.rank = rank;
    view.role = rank == 0 ? "worker 0" : absl::StrCat("server ", rank - 1);
    view.process = {"h", "space", 100 + rank, 1};
    view.state = PeerState::kAlive;
    view.age_s = 0.5;
    view.step = 7;
    job.ranks.push_back(view);
  }
  return job;
}

RankStatus::WaitView WaitFor(int rank, bool on_server = false, double waited_s = 9) {
  return {"rows of step 7", rank, waited_s, 0, on_server};
}

std::string Cause(const JobView& job, Endpoint peer, bool by_server = false) {
  const Endpoint cause = RootCause(job, peer, by_server);
  return absl::StrCat(cause.rank, cause.server ? " server" : "");
}

std::string Text(const JobView& job, Endpoint peer, bool by_server = false) {
  return CauseText(job, peer, RootCause(job, peer, by_server), by_server);
}

// ---- who is to blame for a wait -----------------------------------------------------------------

TEST(RootCauseTest, ARankThatComputesIsSlow) {
  const JobView job = Job(3);
  EXPECT_EQ(Cause(job, {1}), "1");
  EXPECT_EQ(Text(job, {1}),
            "rank 1 (server 0 on host h, pid 101) is slow: its last heartbeat came 0.5 s ago, in "
            "step 7, computes");
}

TEST(RootCauseTest, AChainOfWaitsEndsAtTheRankThatWaitsForNobody) {
  JobView job = Job(5);
  job.ranks[1].wait = WaitFor(2);
  job.ranks[2].wait = WaitFor(3);
  job.ranks[3].wait = WaitFor(4);
  EXPECT_EQ(Cause(job, {1}), "4");
  EXPECT_EQ(
      Text(job, {1}),
      "rank 1 waits for others, in the end for rank 4 (server 3 on host h, pid 104) is slow: its "
      "last heartbeat came 0.5 s ago, in step 7, computes");
}

TEST(RootCauseTest, AChainEndsAtARankThatDoesNotBeatWhateverItSaidLast) {
  for (const PeerState state : {PeerState::kUnheard, PeerState::kSilent, PeerState::kStopped,
                                PeerState::kDead, PeerState::kFailed, PeerState::kLeft}) {
    JobView job = Job(4);
    job.ranks[1].wait = WaitFor(2);
    job.ranks[2].wait = WaitFor(3);
    job.ranks[2].state = state;
    EXPECT_EQ(Cause(job, {1}), "2") << PeerStateName(state);
  }
}

TEST(RootCauseTest, AWaitShorterThanAPeriodIsNoNewsOfAnother) {
  JobView job = Job(3);
  job.ranks[1].wait = WaitFor(2, false, 0.4);
  EXPECT_EQ(Cause(job, {1}), "1");
  job.ranks[1].wait = WaitFor(2, false, 0.5);
  EXPECT_EQ(Cause(job, {1}), "2");
}

TEST(RootCauseTest, AWaitForAnyRankOrForWorkOfItsOwnEndsTheChain) {
  JobView job = Job(3);
  job.ranks[1].wait = WaitFor(kAnyRank);
  EXPECT_EQ(Cause(job, {1}), "1");
}

TEST(RootCauseTest, WhoWaitsForTheAskerHasLostAMessage) {
  JobView job = Job(3);
  job.ranks[1].wait = WaitFor(0);
  EXPECT_EQ(Cause(job, {1}), "1");
  EXPECT_THAT(
      Text(job, {1}),
      HasSubstr("is alive and waits for this rank: a message between the two is lost; in step 7, "
                "waits 9.0 s for rows of step 7 from rank 0"));
}

TEST(RootCauseTest, AMessageLostAtTheEndOfAChainIsSeen) {
  JobView job = Job(3);
  job.ranks[1].wait = WaitFor(2);
  job.ranks[2].wait = WaitFor(0);
  EXPECT_EQ(Cause(job, {1}), "2");
  EXPECT_THAT(Text(job, {1}), AllOf(StartsWith("rank 1 waits for others, in the end for rank 2 "),
                                    HasSubstr("a message between the two is lost")));
}

TEST(RootCauseTest, ACycleOfOthersEnds) {
  JobView job = Job(4);
  job.ranks[1].wait = WaitFor(2);
  job.ranks[2].wait = WaitFor(3);
  job.ranks[3].wait = WaitFor(1);
  const Endpoint cause = RootCause(job, {1}, false);
  EXPECT_GE(cause.rank, 1);
  EXPECT_LE(cause.rank, 3);
}

TEST(RootCauseTest, ARankThatWaitsForARankThatDoesNotExistBlamesNobody) {
  JobView job = Job(3);
  job.ranks[1].wait = WaitFor(99);
  EXPECT_EQ(Cause(job, {1}), "-1");
  EXPECT_EQ(Text(job, {1}), "");
}

TEST(RootCauseTest, ARankDoesNotBlameItself) {
  JobView job = Job(3);
  job.ranks[0].wait = WaitFor(1);  // where it looks from: not news
  EXPECT_EQ(Cause(job, {0}), "0");
  EXPECT_EQ(Text(job, {0}), "");
}

TEST(RootCauseTest, EveryStateHasItsClause) {
  const auto of = [](PeerState state) {
    JobView job = Job(2);
    job.ranks[1].state = state;
    job.ranks[1].age_s = 6;
    job.ranks[1].failure = "the disk is full";
    return Text(job, {1});
  };
  EXPECT_EQ(of(PeerState::kUnheard), "rank 1 has never been heard of");
  EXPECT_THAT(of(PeerState::kAlive),
              EndsWith(" is slow: its last heartbeat came 6.0 s ago, in step 7, computes"));
  EXPECT_THAT(
      of(PeerState::kSilent),
      EndsWith(" is hung or unreachable: its last heartbeat is 6.0 s old, in step 7, computes"));
  EXPECT_THAT(of(PeerState::kStopped), EndsWith(" is hung: its process is stopped; its last "
                                                "heartbeat is 6.0 s old, in step 7, computes"));
  EXPECT_THAT(
      of(PeerState::kDead),
      EndsWith(
          " is dead: its process is gone; its last heartbeat is 6.0 s old, in step 7, computes"));
  EXPECT_THAT(of(PeerState::kFailed), EndsWith(" has failed: the disk is full"));
  EXPECT_THAT(of(PeerState::kLeft), EndsWith(" has ended already"));
}

// ---- a wait for any rank ------------------------------------------------------------------------

TEST(RootCauseTest, OfAnyRankTheOneThatFailedIsToBlameBeforeTheDead) {
  JobView job = Job(5);
  EXPECT_EQ(Cause(job, {}), "-1");
  job.ranks[1].state = PeerState::kSilent;
  job.ranks[2].state = PeerState::kSilent;
  EXPECT_EQ(Cause(job, {}), "1");
  job.ranks[3].state = PeerState::kDead;
  EXPECT_EQ(Cause(job, {}), "3");
  job.ranks[4].state = PeerState::kFailed;
  EXPECT_EQ(Cause(job, {}), "4");
  job.ranks[4].state = PeerState::kLeft;  // said goodbye: nobody waits for it
  job.ranks[3].state = PeerState::kStopped;
  EXPECT_EQ(Cause(job, {}), "3");
}

// ---- ranks that work and serve ------------------------------------------------------------------

JobView Colocated(int size) {
  JobView job = Job(size);
  for (PeerView& view : job.ranks) {
    view.colocated = true;
    view.role = absl::StrCat("worker and server ", view.rank);
  }
  return job;
}

TEST(RootCauseTest, OfAColocatedRankTheRoleThatIsWaitedForCounts) {
  JobView job = Colocated(3);
  job.ranks[1].wait = WaitFor(2, true);  // its worker waits for the server of rank 2
  EXPECT_EQ(Cause(job, {1, false}), "2 server");
  EXPECT_EQ(Cause(job, {1, true}), "1 server");
}

TEST(RootCauseTest, TheWayLeadsThroughTheOtherRoleOfTheAskingRank) {
  JobView job = Colocated(3);
  // The worker of rank 0 asks; rank 1's worker waits for the server here, which waits for the
  // worker of rank 2.
  job.ranks[1].wait = WaitFor(0, true);
  job.ranks[0].server_wait = WaitFor(2, false);
  EXPECT_EQ(Cause(job, {1, false}, /*by_server=*/false), "2");
}

TEST(RootCauseTest, TheOtherRoleOfTheAskingRankMayBeSlow) {
  JobView job = Colocated(2);
  job.ranks[1].wait = WaitFor(0, true);
  EXPECT_EQ(Cause(job, {1, false}, /*by_server=*/false), "0 server");
  EXPECT_THAT(Text(job, {1, false}, /*by_server=*/false),
              StartsWith("the server of this rank is slow: in step 7"));
  job.ranks[1].wait = WaitFor(0, false);
  EXPECT_THAT(Text(job, {1, false}, /*by_server=*/true),
              StartsWith("the worker of this rank is slow: in step 7"));
}

TEST(RootCauseTest, ACycleThroughBothRolesOfAllRanksEnds) {
  JobView job = Colocated(3);
  for (int rank = 0; rank < 3; ++rank) {
    job.ranks[rank].wait = WaitFor((rank + 1) % 3, true);
    job.ranks[rank].server_wait = WaitFor((rank + 1) % 3, false);
  }
  const Endpoint cause = RootCause(job, {1, true}, false);
  EXPECT_GE(cause.rank, 0);
  EXPECT_LT(cause.rank, 3);
}

// ---- who is lost --------------------------------------------------------------------------------

PeerRecord Heard(PeerState state, int64_t silent_periods) {
  PeerRecord peer;
  peer.view = Job(2).ranks[1];
  peer.view.state = state;
  peer.silent_periods = silent_periods;
  peer.view.age_s = static_cast<double>(silent_periods) * kPatience.period_s;
  return peer;
}

TEST(WhyLostTest, ARankThatBeatsIsNeitherLookedForNorLost) {
  PeerRecord peer = Heard(PeerState::kAlive, 2);
  EXPECT_FALSE(NeedsProbe(peer));
  EXPECT_EQ(WhyLost(ProcessState::kGone, kPatience, &peer), "");
  EXPECT_EQ(peer.view.state, PeerState::kAlive);
}

TEST(WhyLostTest, AProcessMustBeMissingInTwoProbes) {
  PeerRecord peer = Heard(PeerState::kAlive, 3);
  EXPECT_TRUE(NeedsProbe(peer));
  EXPECT_EQ(WhyLost(ProcessState::kGone, kPatience, &peer), "");
  EXPECT_EQ(peer.view.state, PeerState::kSilent);
  EXPECT_EQ(WhyLost(ProcessState::kRunning, kPatience, &peer), "");  // it was there after all
  EXPECT_EQ(WhyLost(ProcessState::kGone, kPatience, &peer), "");
  EXPECT_EQ(WhyLost(ProcessState::kGone, kPatience, &peer), "is dead: its process is gone");
  EXPECT_EQ(peer.view.state, PeerState::kDead);
}

TEST(WhyLostTest, SilenceIsHangingOnceItHasLastedLongEnough) {
  PeerRecord peer = Heard(PeerState::kAlive, 7);  // 3.5 s of 4
  EXPECT_EQ(WhyLost(ProcessState::kRunning, kPatience, &peer), "");
  EXPECT_EQ(peer.view.state, PeerState::kSilent);
  peer = Heard(PeerState::kAlive, 8);
  EXPECT_EQ(WhyLost(ProcessState::kRunning, kPatience, &peer),
            "hangs: its process is there, but is silent");
  peer = Heard(PeerState::kAlive, 8);
  EXPECT_EQ(WhyLost(ProcessState::kStopped, kPatience, &peer),
            "hangs: its process is stopped by a signal or a debugger");
  EXPECT_EQ(peer.view.state, PeerState::kStopped);
  peer = Heard(PeerState::kAlive, 8);
  EXPECT_EQ(WhyLost(ProcessState::kUnknown, kPatience, &peer),
            "hangs or cannot be reached: it is silent");
}

TEST(WhyLostTest, ARankThatWasNeverHeardOfStaysUnheard) {
  PeerRecord peer = Heard(PeerState::kUnheard, 8);
  EXPECT_EQ(WhyLost(ProcessState::kUnknown, kPatience, &peer),
            "hangs or cannot be reached: it is silent");
  EXPECT_EQ(peer.view.state, PeerState::kUnheard);
}

TEST(WhyLostTest, ARankThatFailsHasAWhileToEndTheJobItself) {
  PeerRecord peer = Heard(PeerState::kFailed, 100);
  peer.view.failure = "the disk is full";
  peer.failed_periods = 6;
  EXPECT_EQ(WhyLost(ProcessState::kGone, kPatience, &peer), "");
  peer.failed_periods = 7;
  EXPECT_EQ(WhyLost(ProcessState::kGone, kPatience, &peer), "has failed: the disk is full");
  EXPECT_EQ(peer.view.state, PeerState::kFailed);
}

TEST(WhyLostTest, ARankThatSaidGoodbyeIsNeverLost) {
  PeerRecord peer = Heard(PeerState::kLeft, 1000);
  EXPECT_FALSE(NeedsProbe(peer));
  EXPECT_EQ(WhyLost(ProcessState::kGone, kPatience, &peer), "");
}

TEST(LossTextTest, SaysWhatWasLastHeard) {
  PeerView view = Job(2).ranks[1];
  view.state = PeerState::kDead;
  view.wait = WaitFor(0);
  EXPECT_EQ(LossText(view, "is dead: its process is gone"),
            "rank 1 (server 0 on host h, pid 101) is dead: its process is gone; its last heartbeat "
            "is 0.5 s old: in step "
            "7, waits 9.0 s for rows of step 7 from rank 0");
  view.state = PeerState::kFailed;
  EXPECT_EQ(LossText(view, "has failed: no"),
            "rank 1 (server 0 on host h, pid 101) has failed: no");
  view.state = PeerState::kUnheard;
  EXPECT_EQ(LossText(view, "hangs"),
            "rank 1 hangs; it has not been heard of in the 0.5 s of this rank's life");
}

}  // namespace
}  // namespace pepnet

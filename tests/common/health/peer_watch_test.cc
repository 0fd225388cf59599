// Heartbeats between ranks of one process: who is dead, hung, slow, failed, gone home. A rank falls
// silent when its gate closes.
#include "common/health/peer_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <memory>

#include "common/health/watched_transport.h"
#include "common/net/in_process.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::HasSubstr;

constexpr double kSilence = 0.8;

// Loses the heartbeats of its rank while it is closed.
class Gate : public Transport {
 public:
  explicit Gate(Transport* inner) : inner_(inner) {}
  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  Status Send(Channel channel, int rank, Bytes body) override {
    return closed ? absl::OkStatus() : inner_->Send(channel, rank, std::move(body));
  }
  StatusOr<Message> Receive(Channel channel, int source, Deadline deadline,
                            const std::string& what) override {
    return inner_->Receive(channel, source, deadline, what);
  }
  Status Flush(Deadline deadline) override { return inner_->Flush(deadline); }
  uint64_t bytes_sent(Channel channel) const override { return inner_->bytes_sent(channel); }
  uint64_t bytes_received(Channel channel) const override {
    return inner_->bytes_received(channel);
  }

  std::atomic<bool> closed = false;

 private:
  Transport* const inner_;
};

struct Rank {
  Rank(InProcessHub* hub, int rank, PeerWatchOptions options) : gate(hub->transport(rank)) {
    options.period_s = 0.02;
    options.silence_s = kSilence;
    watch = std::make_unique<PeerWatch>(&gate, &status, std::move(options));
    watch->SetRole(rank == 0 ? "worker 0" : absl::StrCat("server ", rank - 1));
    transport = std::make_unique<WatchedTransport>(hub->transport(rank), &status, watch.get());
  }
  Gate gate;
  RankStatus status;
  std::unique_ptr<PeerWatch> watch;
  std::unique_ptr<WatchedTransport> transport;
};

class PeerWatchTest : public testing::Test {
 protected:
  // Makes rank `r`, with the identity of `process`.
  Rank& Start(int r, ProcessIdentity process = ThisProcess(), PeerWatchOptions options = {}) {
    options.self = std::move(process);
    ranks_[static_cast<size_t>(r)] = std::make_unique<Rank>(&hub_, r, std::move(options));
    return *ranks_[static_cast<size_t>(r)];
  }
  // Until rank 0 has heard of rank `r` in `state`; false after 20 s.
  bool Sees(int r, PeerState state) {
    for (int i = 0; i < 2000; ++i) {
      if (ranks_[0]->watch->Ranks()[static_cast<size_t>(r)].state == state) return true;
      usleep(10 * 1000);
    }
    return false;
  }
  // The error that ends a wait of rank 0 for rank `r`.
  Status WaitFor(int r, double seconds) {
    return ranks_[0]
        ->transport
        ->Receive(Channel::kRows, r, After(std::chrono::duration<double>(seconds)),
                  "rows of step 18")
        .status();
  }

  InProcessHub hub_{3};
  RankStatus servers_[2];  // of colocated ranks
  std::unique_ptr<Rank> ranks_[3];
};

// A child process that does nothing, stopped or killed by the test.
class Child {
 public:
  Child() : pid_(fork()) {
    if (pid_ == 0) {
      while (true) pause();
    }
  }
  ~Child() {
    if (pid_ > 0) Kill();
  }
  ProcessIdentity identity() const {
    ProcessIdentity identity = ThisProcess();
    identity.pid = pid_;
    // Its start time is not this test's business: ask for it by looking at what StateOf compares.
    for (uint64_t ticks = identity.start_ticks; ticks < identity.start_ticks + 1000000; ++ticks) {
      ProcessIdentity guess = identity;
      guess.start_ticks = ticks;
      if (StateOf(guess, ThisProcess()) != ProcessState::kGone) return guess;
    }
    ADD_FAILURE() << "the child's start time was not found";
    return identity;
  }
  void Stop() {
    kill(pid_, SIGSTOP);
    int status = 0;
    waitpid(pid_, &status, WUNTRACED);
  }
  void Kill() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_;
};

TEST_F(PeerWatchTest, ASlowRankIsNamedWithWhatItDoes) {
  Start(0), Start(1), Start(2);
  ranks_[1]->status.SetStep(17);
  ASSERT_TRUE(Sees(1, PeerState::kAlive));
  const Status status = WaitFor(1, 0.3);
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_THAT(status, IsError(testing::AllOf(HasSubstr("for rows of step 18 from rank 1"),
                                             HasSubstr("rank 1 (server 0 on host "),
                                             HasSubstr("is slow: its last heartbeat came"),
                                             HasSubstr("in step 17, computes"))));
}

TEST_F(PeerWatchTest, TheBlameFollowsWhoWaitsForWhom) {
  Start(0), Start(1), Start(2);
  ranks_[2]->status.SetStep(9);
  auto middle = std::async([&] {  // rank 1 waits for any rank, in truth for rank 2
    ranks_[1]->status.Expect(2);
    return ranks_[1]
        ->transport
        ->Receive(Channel::kRows, kAnyRank, After(std::chrono::seconds(2)), "the next request")
        .status();
  });
  const Status status = WaitFor(1, 0.6);
  EXPECT_THAT(status, IsError(testing::AllOf(
                          HasSubstr("rank 1 waits for others, in the end for rank 2 (server 1"),
                          HasSubstr("in step 9, computes"))));
  EXPECT_EQ(ranks_[0]->watch->RootCauseOf({1}).rank, 2);
  EXPECT_TRUE(absl::IsDeadlineExceeded(middle.get()));
}

TEST_F(PeerWatchTest, TwoRanksThatWaitForEachOtherHaveLostAMessage) {
  Start(0), Start(1), Start(2);
  auto other = std::async([&] {
    return ranks_[1]
        ->transport->Receive(Channel::kRows, 0, After(std::chrono::seconds(1)), "the push")
        .status();
  });
  EXPECT_THAT(WaitFor(1, 0.6),
              IsError(HasSubstr("waits for this rank: a message between the two is lost")));
  EXPECT_FALSE(other.get().ok());
}

// Ranks that work and serve: their servers wait for each other's workers, and only worker 1 really
// is late.
TEST_F(PeerWatchTest, TheBlameFollowsFromRoleToRole) {
  Start(0), Start(1), Start(2);
  for (int r : {0, 1}) {
    ranks_[static_cast<size_t>(r)]->watch->SetRole(absl::StrCat("worker ", r, " and server ", r),
                                                   &servers_[r]);
    servers_[r].Expect(1 - r);
  }
  ranks_[1]->status.SetStep(9);
  const Deadline later = After(std::chrono::seconds(60));
  const RankStatus::Wait first(&servers_[0], kAnyRank, later, "the next request");
  const RankStatus::Wait second(&servers_[1], kAnyRank, later, "the next request");
  // Worker 0 waits for its own server, which waits for worker 1, which computes.
  EXPECT_THAT(
      WaitFor(0, 0.6),
      IsError(testing::AllOf(
          HasSubstr(
              "rank 0 waits for others, in the end for rank 1 (worker 1 and server 1 on host "),
          HasSubstr("in step 9, computes; its server waits "))));
  EXPECT_EQ(ranks_[0]->watch->RootCauseOf({0, /*server=*/true}).rank, 1);
  // Server 1 waits for worker 0, which waits for nobody.
  EXPECT_EQ(ranks_[0]->watch->RootCauseOf({1, /*server=*/true}, /*by_server=*/true).rank, 0);
  EXPECT_THAT(ranks_[0]->watch->Explain({1, /*server=*/true}, /*by_server=*/true),
              HasSubstr("the worker of this rank is slow: in step "));
}

TEST_F(PeerWatchTest, AFailingRoleEndsTheWaitsOfTheOtherAndInTheEndTheProcess) {
  PeerWatchOptions options;
  options.grace_s = 0.3;
  std::promise<Status> ended;
  options.end_now = [&](const Status& error) { ended.set_value(error); };
  Start(0, ThisProcess(), options), Start(1), Start(2);
  auto waiting = std::async([&] { return WaitFor(1, 60); });
  ranks_[0]->watch->LoseOwnRank(absl::DeadlineExceededError("server 0 has failed"));
  ranks_[0]->watch->LoseOwnRank(absl::InternalError("and so has its worker"));
  const Status wait = waiting.get();
  // A timeout of its own would read as "nothing has come yet".
  EXPECT_TRUE(absl::IsUnavailable(wait)) << wait;
  EXPECT_THAT(wait, IsError(testing::EndsWith("for rows of step 18: server 0 has failed")));
  EXPECT_EQ(ended.get_future().get().message(), "server 0 has failed");
}

TEST_F(PeerWatchTest, ADeadRankEndsEveryWaitLongBeforeItsDeadline) {
  Child child;
  Start(0), Start(1, child.identity()), Start(2);
  ASSERT_TRUE(Sees(1, PeerState::kAlive));
  ranks_[1]->gate.closed = true;
  child.Kill();
  const auto start = Clock::now();
  const Status status = WaitFor(2, 60);  // any wait, not only one for the dead rank
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(status, IsError(HasSubstr("is dead: its process is gone")));
  EXPECT_LT(std::chrono::duration<double>(Clock::now() - start).count(), 10);
}

TEST_F(PeerWatchTest, AStoppedRankIsHungAndLostAfterTheSilence) {
  Child child;
  Start(0), Start(1, child.identity()), Start(2);
  ranks_[1]->status.SetStep(5);
  while (ranks_[0]->watch->Ranks()[1].step != 5) usleep(1000);
  ranks_[1]->gate.closed = true;
  child.Stop();
  EXPECT_THAT(WaitFor(1, 0.3), IsError(HasSubstr("is hung: its process is stopped")));
  const Status status = WaitFor(1, 60);
  EXPECT_THAT(status, IsError(testing::AllOf(HasSubstr("rank 1 (server 0"),
                                             HasSubstr("hangs: its process is stopped"),
                                             HasSubstr("in step 5"))));
}

TEST_F(PeerWatchTest, ARankThatNeverSpokeIsLostAfterTheSilence) {
  Start(0), Start(1);
  EXPECT_THAT(WaitFor(2, 60),
              IsError(HasSubstr(
                  "rank 2 hangs or cannot be reached: it is silent; it has not been heard of")));
}

TEST_F(PeerWatchTest, AFailingRankIsGivenTimeToSpeakForItself) {
  PeerWatchOptions options;
  options.failure_grace_s = 0.5;
  Start(0, ThisProcess(), options), Start(1), Start(2);
  ranks_[1]->watch->AnnounceFailure("the disk is full");
  ASSERT_TRUE(Sees(1, PeerState::kFailed));
  EXPECT_EQ(ranks_[0]->watch->RootCauseOf({}).rank, 1);  // of a wait for any rank
  EXPECT_OK(ranks_[0]->watch->Lost());
  EXPECT_THAT(WaitFor(2, 60), IsError(HasSubstr("rank 1 (server 0 on host ")));
  EXPECT_THAT(ranks_[0]->watch->Lost(), IsError(HasSubstr("has failed: the disk is full")));
}

TEST_F(PeerWatchTest, ARankThatHasSaidGoodbyeIsNotMissed) {
  Start(0), Start(1), Start(2);
  ranks_[1].reset();
  ASSERT_TRUE(Sees(1, PeerState::kLeft));
  // No verdict, the deadline has passed.
  EXPECT_THAT(WaitFor(2, 2 * kSilence), IsError(HasSubstr("is slow")));
}

TEST_F(PeerWatchTest, PhasesAreAnnounced) {
  Start(0), Start(1), Start(2);
  EXPECT_FALSE(ranks_[0]->watch->PhaseAnnounced());
  {
    RankStatus::Phase phase(&ranks_[1]->status, "evaluation");
    while (!ranks_[0]->watch->PhaseAnnounced()) usleep(1000);
  }
  while (ranks_[0]->watch->PhaseAnnounced()) usleep(1000);
}

// Comes back late from its first receive, as after SIGSTOP and SIGCONT.
class SuspendedOnce : public Gate {
 public:
  using Gate::Gate;
  StatusOr<Message> Receive(Channel channel, int source, Deadline deadline,
                            const std::string& what) override {
    if (++receives == 1) std::this_thread::sleep_for(std::chrono::milliseconds(2800));
    return Gate::Receive(channel, source, deadline, what);
  }
  int receives = 0;
};

TEST(WatchedTransportTest, TimeInWhichTheProcessWasSuspendedDoesNotCount) {
  InProcessHub hub(2);
  SuspendedOnce inner(hub.transport(0));
  RankStatus status;
  WatchedTransport transport(&inner, &status, nullptr);
  const auto late = std::async([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(3100));
    return hub.transport(1)->Send(Channel::kRows, 0, Bytes(1));
  });
  const auto message =
      transport.Receive(Channel::kRows, 1, After(std::chrono::seconds(1)), "rows of step 2");
  EXPECT_OK(message);
}

TEST(PeerWatchdogTest, AWaitThatOutlivesItsDeadlineEndsTheProcess) {
  std::promise<Status> ended;
  PeerWatchOptions options;
  options.period_s = 0.02;
  options.grace_s = 0.1;
  options.end_now = [&](const Status& error) { ended.set_value(error); };
  RankStatus status;
  PeerWatch watch(nullptr, &status, options);  // a job of one process
  const std::string what = "the next batch of the input files";
  RankStatus::Wait stuck(&status, kAnyRank, After(std::chrono::milliseconds(100)), what);
  EXPECT_THAT(ended.get_future().get(),
              IsError(HasSubstr("for the next batch of the input files, which is longer")));
}

TEST(RankStatusTest, ShowsStepPhaseAndTheLongestWaitFirst) {
  RankStatus status;
  status.SetStep(3);
  RankStatus::Phase phase(&status, "checkpoint");
  const std::string first = "a", second = "b";
  RankStatus::Wait one(&status, 1, After(std::chrono::hours(1)), first);
  {
    RankStatus::Wait two(&status, kAnyRank, After(std::chrono::seconds(-5)), second);
    const RankStatus::View view = status.view();
    EXPECT_EQ(view.step, 3);
    EXPECT_EQ(view.phase, "checkpoint");
    ASSERT_EQ(view.waits.size(), 2u);
    EXPECT_EQ(view.waits[0].what, "a");
    EXPECT_LT(view.waits[0].overdue_s, 0);
    EXPECT_GE(view.waits[1].overdue_s, 5);
    two.Fail(absl::DeadlineExceededError("waited for b"));
  }
  const auto failed = status.FailedWait("server 1: waited for b");
  ASSERT_TRUE(failed.has_value());
  EXPECT_EQ(failed->what, "b");
  EXPECT_FALSE(status.FailedWait("the disk is full").has_value());
}

}  // namespace
}  // namespace pepnet

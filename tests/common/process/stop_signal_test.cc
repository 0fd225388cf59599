#include "common/process/stop_signal.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <thread>

namespace pepnet {
namespace {

// Waits for another thread's store; false after 10 s.
bool Becomes(const std::atomic<int>& value, int expected) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (value != expected) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

TEST(StopSignalTest, TheFirstSignalIsARequestAndTheSecondTermEndsAtOnce) {
  std::atomic<int> ended = 0;
  StopSignal stop(/*under_mpirun=*/false, [&](int signal) { ended = signal; });
  EXPECT_EQ(stop.requested(), 0);
  ASSERT_EQ(::kill(::getpid(), SIGINT), 0);
  EXPECT_TRUE(Becomes(stop.requested(), SIGINT));
  EXPECT_EQ(ended, 0);
  ASSERT_EQ(::kill(::getpid(), SIGTERM), 0);
  EXPECT_TRUE(Becomes(ended, SIGTERM));
}

TEST(StopSignalTest, SigusrAsksAgainAndAgain) {
  std::atomic<int> ended = 0;
  StopSignal stop(/*under_mpirun=*/true, [&](int signal) { ended = signal; });
  for (int i = 0; i < 3; ++i) ASSERT_EQ(::kill(::getpid(), SIGUSR1), 0);
  EXPECT_TRUE(Becomes(stop.requested(), SIGUSR1));
  EXPECT_EQ(ended, 0);
}

TEST(StopSignalTest, UnderMpirunSigtermLeavesNoTime) {
  std::atomic<int> ended = 0;
  StopSignal stop(/*under_mpirun=*/true, [&](int signal) { ended = signal; });
  ASSERT_EQ(::kill(::getpid(), SIGTERM), 0);
  EXPECT_TRUE(Becomes(ended, SIGTERM));
  EXPECT_EQ(stop.requested(), 0);
}

TEST(StopSignalTest, ThreadsStartedLaterDoNotMeetTheSignal) {
  StopSignal stop(/*under_mpirun=*/false, [](int) {});
  std::thread worker([] {
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
    for (int signal : {SIGUSR1, SIGTERM, SIGINT}) {
      EXPECT_EQ(sigismember(&blocked, signal), 1) << SignalName(signal);
    }
  });
  worker.join();
}

TEST(StopSignalTest, AStopIsNotAFailureLikeOthers) {
  EXPECT_TRUE(IsStoppedOnRequest(StoppedOnRequest("saved")));
  EXPECT_FALSE(IsStoppedOnRequest(absl::CancelledError("saved")));
  EXPECT_FALSE(IsStoppedOnRequest(absl::OkStatus()));
}

}  // namespace
}  // namespace pepnet

#include "common/base/mutex.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <thread>
#include <vector>

namespace pepnet {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

struct Queue {
  Mutex mutex;
  CondVar changed;
  std::deque<int> items ABSL_GUARDED_BY(mutex);
};

TEST(MutexTest, OneThreadAtATimeIsInside) {
  Mutex mutex;
  int inside = 0, most = 0, total = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10000; ++i) {
        MutexLock lock(&mutex);
        most = std::max(most, ++inside);
        ++total;
        --inside;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(most, 1);
  EXPECT_EQ(total, 40000);
}

TEST(MutexTest, ALockLetsGoBetweenUnlockAndLockAndAtItsEnd) {
  Mutex mutex;
  const auto another_gets_it = [&] {
    std::atomic<bool> got = false;
    std::thread([&] {
      MutexLock lock(&mutex);
      got = true;
    }).join();  // hangs if it does not
    return got.load();
  };
  {
    MutexLock lock(&mutex);
    lock.Unlock();
    EXPECT_TRUE(another_gets_it());
    lock.Lock();
    lock.Unlock();
  }
  EXPECT_TRUE(another_gets_it());  // the end of a scope does not unlock twice
}

TEST(CondVarTest, WaitLetsGoOfTheMutexUntilItIsNotified) {
  Queue queue;
  std::thread giver([&] {
    for (int i = 0; i < 1000; ++i) {
      MutexLock lock(&queue.mutex);
      queue.items.push_back(i);
      queue.changed.NotifyOne();
    }
  });
  for (int i = 0; i < 1000; ++i) {
    MutexLock lock(&queue.mutex);
    while (queue.items.empty()) queue.changed.Wait(&queue.mutex);
    EXPECT_EQ(queue.items.front(), i);
    queue.items.pop_front();
  }
  giver.join();
}

TEST(CondVarTest, WaitUntilSaysWhetherTheDeadlineHasPassedAndHoldsTheMutexAgain) {
  Queue queue;
  const auto deadline = steady_clock::now() + milliseconds(20);
  {
    MutexLock lock(&queue.mutex);
    while (queue.changed.WaitUntil(&queue.mutex, deadline)) {
    }
    EXPECT_GE(steady_clock::now(), deadline);
    queue.items.push_back(1);
  }
  std::thread giver([&] {
    MutexLock lock(&queue.mutex);
    queue.items.push_back(2);
    queue.changed.NotifyAll();
  });
  MutexLock lock(&queue.mutex);
  while (queue.items.size() < 2) {
    ASSERT_TRUE(queue.changed.WaitUntil(&queue.mutex, steady_clock::time_point::max()));
  }
  lock.Unlock();
  giver.join();
}

}  // namespace
}  // namespace pepnet

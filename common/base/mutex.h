// Mutex, MutexLock and CondVar: std::mutex, a lock of it for a scope, and std::condition_variable,
// with the annotations by which clang proves that what a mutex guards is only touched under it
// (absl/base/thread_annotations.h; the preset `clang` compiles with -Wthread-safety -Werror). Other
// compilers see the standard classes and nothing else.
//
// A wait is a loop, because the analysis does not look into the predicate of a wait through the
// standard library:
//
//     MutexLock lock(&mutex_);
//     while (queue_.empty()) changed_.Wait(&mutex_);
//
// absl::Mutex was considered. It spins before it sleeps, which takes the core from the computing
// threads; its waits until a deadline take the wall clock, which jumps; and Debian builds it
// without the hooks by which the thread sanitizer sees its order.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"

namespace pepnet {

class ABSL_LOCKABLE Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }
  // Tells the analysis that this thread holds the mutex, where it cannot see that. Checks nothing
  // and costs nothing: the caller says beside it why it is so.
  void AssertHeld() const ABSL_ASSERT_EXCLUSIVE_LOCK() {}

 private:
  friend class CondVar;
  std::mutex mutex_;
};

// Holds the mutex from its construction to its destruction, except between Unlock() and Lock().
class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex* mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) {
    mutex_->Lock();
  }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() {
    if (held_) mutex_->Unlock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  void Unlock() ABSL_UNLOCK_FUNCTION() {
    mutex_->Unlock();
    held_ = false;
  }
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    mutex_->Lock();
    held_ = true;
  }

 private:
  Mutex* const mutex_;
  bool held_ = true;
};

// All waits let go of the mutex while they sleep, hold it again when they return, and may wake for
// no reason.
class CondVar {
 public:
  CondVar() = default;
  CondVar(const CondVar&) = delete;
  CondVar& operator=(const CondVar&) = delete;

  void Wait(Mutex* mutex) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    std::unique_lock<std::mutex> lock(mutex->mutex_, std::adopt_lock);
    wakes_.wait(lock);
    lock.release();
  }
  // False if `deadline` has passed.
  bool WaitUntil(Mutex* mutex, std::chrono::steady_clock::time_point deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    std::unique_lock<std::mutex> lock(mutex->mutex_, std::adopt_lock);
    const std::cv_status status = wakes_.wait_until(lock, deadline);
    lock.release();
    return status == std::cv_status::no_timeout;
  }
  void NotifyOne() { wakes_.notify_one(); }
  void NotifyAll() { wakes_.notify_all(); }

 private:
  std::condition_variable wakes_;
};

}  // namespace pepnet

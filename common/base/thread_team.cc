#include "common/base/thread_team.h"

#include <atomic>

#include "absl/strings/str_cat.h"

#include "common/base/threads.h"

namespace pepnet {

// Member 0 is the thread that calls Run(), so one thread fewer is started. If one cannot be
// started, those that run are ended before the error goes on.
ThreadTeam::ThreadTeam(int size, const std::string& name) : errors_(size) {
  try {
    for (int member = 1; member < size; ++member) {
      threads_.push_back(
          StartThread(absl::StrCat(name, "-", member), [this, member] { Serve(member); }));
    }
  } catch (...) {
    End();
    throw;
  }
}

ThreadTeam::~ThreadTeam() { End(); }

void ThreadTeam::End() {
  {
    MutexLock lock(&mutex_);
    leaving_ = true;
  }
  begun_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadTeam::Run(const std::function<void(int)>& body) {
  {
    MutexLock lock(&mutex_);
    body_ = &body;
    running_ = static_cast<int>(threads_.size());
    ++work_;
  }
  begun_.NotifyAll();
  Call(body, 0);
  MutexLock lock(&mutex_);
  while (running_ > 0) ended_.Wait(&mutex_);
  body_ = nullptr;
  // The exception of the lowest member goes on, so that a failure does not depend on timing.
  std::exception_ptr first;
  for (std::exception_ptr& error : errors_) {
    if (first == nullptr) first = error;
    error = nullptr;
  }
  if (first != nullptr) std::rethrow_exception(first);
}

void ThreadTeam::Serve(int member) {
  int64_t done = 0;
  MutexLock lock(&mutex_);
  while (true) {
    // A number of the work and not a flag: a member that is late must neither miss a piece nor do
    // it twice.
    while (!leaving_ && work_ == done) begun_.Wait(&mutex_);
    if (leaving_) return;
    done = work_;
    // The reference stays good without the lock: Run() returns only when every member is done.
    const std::function<void(int)>& body = *body_;
    lock.Unlock();
    Call(body, member);
    lock.Lock();
    if (--running_ == 0) ended_.NotifyOne();
  }
}

void ThreadTeam::Call(const std::function<void(int)>& body, int member) {
  try {
    body(member);
  } catch (...) {
    // Each member has a place of its own, and Run() reads them when running_ is 0: no lock is
    // needed.
    errors_[member] = std::current_exception();
  }
}

void ForEachOnTeam(ThreadTeam* team, size_t count,
                   const std::function<void(int member, size_t i)>& body) {
  if (team == nullptr || team->size() == 1 || count < 2) {
    for (size_t i = 0; i < count; ++i) body(0, i);
    return;
  }
  // Work is handed out piece by piece: a member that is ready takes the next one. The result must
  // not depend on which member that is, so a piece is never split (law L3).
  std::atomic<size_t> next = 0;
  team->Run([&](int member) {
    for (size_t i = next++; i < count; i = next++) body(member, i);
  });
}

}  // namespace pepnet

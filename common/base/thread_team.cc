#include "common/base/thread_team.h"

#include <pthread.h>

#include "absl/strings/str_cat.h"

namespace pepnet {

ThreadTeam::ThreadTeam(int size, const std::string& name) : errors_(size) {
  for (int member = 1; member < size; ++member) {
    threads_.emplace_back([this, member] { Serve(member); });
    pthread_setname_np(threads_.back().native_handle(), absl::StrCat(name, "-", member).c_str());
  }
}

ThreadTeam::~ThreadTeam() {
  {
    const std::lock_guard lock(mutex_);
    leaving_ = true;
  }
  begun_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadTeam::Run(const std::function<void(int)>& body) {
  {
    const std::lock_guard lock(mutex_);
    body_ = &body;
    running_ = static_cast<int>(threads_.size());
    ++work_;
  }
  begun_.notify_all();
  Call(body, 0);
  std::unique_lock lock(mutex_);
  ended_.wait(lock, [this] { return running_ == 0; });
  body_ = nullptr;
  std::exception_ptr first;
  for (std::exception_ptr& error : errors_) {
    if (first == nullptr) first = error;
    error = nullptr;
  }
  if (first != nullptr) std::rethrow_exception(first);
}

void ThreadTeam::Serve(int member) {
  int64_t done = 0;
  std::unique_lock lock(mutex_);
  while (true) {
    begun_.wait(lock, [&] { return leaving_ || work_ > done; });
    if (leaving_) return;
    done = work_;
    const std::function<void(int)>& body = *body_;
    lock.unlock();
    Call(body, member);
    lock.lock();
    if (--running_ == 0) ended_.notify_one();
  }
}

void ThreadTeam::Call(const std::function<void(int)>& body, int member) {
  try {
    body(member);
  } catch (...) {
    errors_[member] = std::current_exception();
  }
}

}  // namespace pepnet

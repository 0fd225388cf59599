// ThreadTeam: a fixed number of threads that do the shares of one piece of work after another.
//
// Run(body) calls body(0) on the calling thread and body(1) .. body(size - 1) each on a thread of its own, and returns when
// all have returned; member i is always the same thread. Members sleep in between.
// Threads:   Run by one thread at a time, not from inside a body.
// Failure:   an exception that leaves a body leaves Run, when all bodies have ended; of several the one of the lowest member.
// Ownership: the threads end with the object.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace pepnet {

class ThreadTeam {
 public:
  // size >= 1; `name` is what debuggers and traces call the threads ("<name>-1", ...; at most 12 letters).
  ThreadTeam(int size, const std::string& name);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int size() const { return static_cast<int>(threads_.size()) + 1; }
  void Run(const std::function<void(int)>& body);

 private:
  void Serve(int member);
  void Call(const std::function<void(int)>& body, int member);

  std::mutex mutex_;
  std::condition_variable begun_, ended_;
  const std::function<void(int)>* body_ = nullptr;  // of the work under way; guarded by mutex_, as all below
  int64_t work_ = 0;                                // pieces of work begun so far
  int running_ = 0;                                 // members that have not ended the work under way
  bool leaving_ = false;
  std::vector<std::exception_ptr> errors_;  // by member; each written by its member while it runs
  std::vector<std::thread> threads_;        // of members 1 ..
};

}  // namespace pepnet

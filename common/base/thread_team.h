// ThreadTeam: a fixed number of threads that do the shares of one piece of work after another.
//
// Run(body) calls body(0) on the calling thread and body(1) .. body(size - 1) each on a thread of
// its own, and returns when all have returned; member i is always the same thread. Members sleep in
// between.
// Threads:   Run by one thread at a time, not from inside a body.
// Failure:   an exception that leaves a body leaves Run, when all bodies have ended; of several the
//            one of the lowest member. A thread that cannot be started is an exception of the
//            constructor (threads.h).
// Ownership: the threads end with the object.
#pragma once

#include <cstddef>
#include <exception>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "common/base/mutex.h"

namespace pepnet {

class ThreadTeam {
 public:
  // size >= 1; `name` is what debuggers and traces call the threads ("<name>-1", ...; at most 12
  // letters).
  ThreadTeam(int size, const std::string& name);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int size() const { return static_cast<int>(threads_.size()) + 1; }
  void Run(const std::function<void(int)>& body);

 private:
  void Serve(int member);
  void Call(const std::function<void(int)>& body, int member);
  void End();  // of all threads that were started

  Mutex mutex_;
  CondVar begun_, ended_;
  const std::function<void(int)>* body_ ABSL_GUARDED_BY(mutex_) = nullptr;  // of the work under way
  // Pieces of work begun so far.
  int64_t work_ ABSL_GUARDED_BY(mutex_) = 0;
  int running_ ABSL_GUARDED_BY(mutex_) = 0;  // members that have not ended the work under way
  bool leaving_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::exception_ptr>
      // By member; each written by its member while it runs, read by Run when all have ended.
      errors_;
  std::vector<std::thread> threads_;  // of members 1 ..
};

// Calls body(member, i) once for every i in [0, count), in order of i as members get free. Without
// a team (null) on the calling thread, as member 0.
void ForEachOnTeam(ThreadTeam* team, size_t count,
                   const std::function<void(int member, size_t i)>& body);

}  // namespace pepnet

// PagesAhead: a thread that runs ahead of a writer through its memory. It has the system map and
// clear each page, so that the writer need not wait for that. Clearing the pages of a server's rows
// takes as long as reading them from a checkpoint.
//
// Memory:  all that is handed in is taken, written or not. Contents stay. The memory outlives the
//          object. New pages lie on the memory node where the thread runs.
// Failure: a system without a further thread, or that refuses (Linux before 5.14), costs time
//          alone.
// Threads: owns the thread "pages"; the destructor ends it, at most some milliseconds later.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <thread>
#include <vector>

namespace pepnet {

class PagesAhead {
 public:
  explicit PagesAhead(std::vector<std::span<uint8_t>> memory);
  ~PagesAhead();
  PagesAhead(const PagesAhead&) = delete;
  PagesAhead& operator=(const PagesAhead&) = delete;

 private:
  void Run(const std::vector<std::span<uint8_t>>& memory);

  std::atomic<bool> stopped_ = false;
  std::thread thread_;
};

}  // namespace pepnet

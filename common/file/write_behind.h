// WriteBehind: a FileWriter whose writing happens on a thread of its own, so that the next bytes
// are made meanwhile. For large files that nobody reads soon: they go past the page cache
// (FileWriter::BypassCache).
//
// Threads:  one appends. Owns a thread "write", at the priority of the thread that called Create();
//           the destructor joins it.
// Memory:   kBlocks blocks of kBlockBytes. When all are full Append() waits for the disk.
// Failure:  the first error of the writing is returned by a later Append() and by Finish(), at the
//           latest.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <deque>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"

#include "common/base/mutex.h"
#include "common/base/status.h"
#include "common/file/file.h"

namespace pepnet {

class WriteBehind {
 public:
  static constexpr size_t kBlockBytes = size_t{2} << 20, kBlocks = 3;

  static StatusOr<std::unique_ptr<WriteBehind>> Create(const std::string& path);
  // Closes without syncing if Finish() was not called; what is not written yet is dropped.
  ~WriteBehind();

  Status Append(const void* data, size_t bytes);
  // Waits until all is written, fsyncs and closes.
  Status Finish();
  int64_t bytes() const { return bytes_; }  // appended so far
  uint32_t crc32c() const { return crc32c_; }

 private:
  struct Free {
    void operator()(uint8_t* data) const { std::free(data); }
  };
  struct Block {
    std::unique_ptr<uint8_t[], Free> data;  // kBlockBytes, page-aligned
    size_t size = 0;
    uint32_t crc32c = 0;  // of the file with this block
  };
  static Block MakeBlock();

  explicit WriteBehind(std::unique_ptr<FileWriter> file);
  void Write();  // body of the thread "write"
  // Hands the block over and takes an empty one.
  Status HandOver();

  const std::unique_ptr<FileWriter> file_;  // used by "write" until it has ended
  int64_t bytes_ = 0;
  uint32_t crc32c_ = 0;
  Block block_;  // being filled

  Mutex mutex_;
  CondVar changed_;
  std::deque<Block> full_ ABSL_GUARDED_BY(mutex_), empty_ ABSL_GUARDED_BY(mutex_);
  Status error_ ABSL_GUARDED_BY(mutex_);
  bool complete_ ABSL_GUARDED_BY(mutex_) = false;  // no block comes any more
  bool dropped_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread write_;  // started by the constructor, joined by Finish() or the destructor
};

}  // namespace pepnet

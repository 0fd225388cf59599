#include "common/file/write_behind.h"

#include <pthread.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "common/base/threads.h"
#include "common/file/crc32c.h"

namespace pepnet {
namespace {

constexpr size_t kPieceBytes = size_t{64} << 10;  // is copied and summed while it is in the cache

}  // namespace

StatusOr<std::unique_ptr<WriteBehind>> WriteBehind::Create(const std::string& path) {
  PEPNET_ASSIGN_OR_RETURN(auto file, FileWriter::Create(path));
  return std::unique_ptr<WriteBehind>(new WriteBehind(std::move(file)));
}

WriteBehind::Block WriteBehind::MakeBlock() {
  Block block;
  block.data.reset(static_cast<uint8_t*>(std::aligned_alloc(FileWriter::kPageBytes, kBlockBytes)));
  if (block.data == nullptr) throw std::bad_alloc();
  return block;
}

WriteBehind::WriteBehind(std::unique_ptr<FileWriter> file)
    : file_(std::move(file)), block_(MakeBlock()) {
  {
    MutexLock lock(&mutex_);
    for (size_t i = 1; i < kBlocks; ++i) empty_.push_back(MakeBlock());
  }
  file_->BypassCache();
  write_ = StartThread("write", [this] { Write(); });
}

WriteBehind::~WriteBehind() {
  {
    MutexLock lock(&mutex_);
    dropped_ = true;
  }
  changed_.NotifyAll();
  if (write_.joinable()) write_.join();
}

Status WriteBehind::Append(const void* data, size_t bytes) {
  if (!write_.joinable()) {
    return absl::FailedPreconditionError("a file that is finished cannot be written");
  }
  const char* next = static_cast<const char*>(data);
  bytes_ += static_cast<int64_t>(bytes);
  while (bytes > 0) {
    const size_t piece = std::min({bytes, kPieceBytes, kBlockBytes - block_.size});
    uint8_t* const to = block_.data.get() + block_.size;
    std::memcpy(to, next, piece);
    // The checksum is taken of the copy, which is in the cache and which nobody changes any more:
    // what is written is what was summed.
    crc32c_ = ExtendCrc32c(crc32c_, to, piece);
    next += piece;
    bytes -= piece;
    block_.size += piece;
    if (block_.size == kBlockBytes) PEPNET_RETURN_IF_ERROR(HandOver());
  }
  return absl::OkStatus();
}

Status WriteBehind::HandOver() {
  block_.crc32c = crc32c_;
  MutexLock lock(&mutex_);
  full_.push_back(std::move(block_));
  changed_.NotifyAll();
  // All blocks are on their way: the disk is slower than the thread that appends, and sets the
  // pace.
  while (empty_.empty()) changed_.Wait(&mutex_);
  block_ = std::move(empty_.front());
  empty_.pop_front();
  block_.size = 0;
  return error_;
}

Status WriteBehind::Finish() {
  if (!write_.joinable()) return absl::FailedPreconditionError("a file is finished twice");
  block_.crc32c = crc32c_;
  {
    MutexLock lock(&mutex_);
    full_.push_back(std::move(block_));
    complete_ = true;
  }
  changed_.NotifyAll();
  write_.join();
  {
    MutexLock lock(&mutex_);
    PEPNET_RETURN_IF_ERROR(error_);
  }
  return file_->Finish();
}

// After an error blocks are taken and dropped, so that nobody waits for one.
void WriteBehind::Write() {
  pthread_setname_np(pthread_self(), "write");
  MutexLock lock(&mutex_);
  for (;;) {
    while (full_.empty() && !complete_ && !dropped_) changed_.Wait(&mutex_);
    if (dropped_ || full_.empty()) return;
    Block block = std::move(full_.front());
    full_.pop_front();
    if (error_.ok()) {
      lock.Unlock();
      const Status status = file_->AppendChecksummed(block.data.get(), block.size, block.crc32c);
      lock.Lock();
      error_ = status;
    }
    empty_.push_back(std::move(block));
    changed_.NotifyAll();
  }
}

}  // namespace pepnet

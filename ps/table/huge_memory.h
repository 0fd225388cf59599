// HugeMemory: a move-only block of uninitialised bytes. A block of several MiB starts on a 2 MiB boundary and asks for
// 2 MiB pages: with 4 KiB pages half the time of a random row access goes into finding the page.
//
// Pages that were never written take no memory.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

namespace pepnet {

class HugeMemory {
 public:
  static constexpr size_t kHugePageBytes = size_t{2} << 20;

  HugeMemory() = default;
  explicit HugeMemory(size_t bytes) : bytes_(bytes) {
    const bool huge = bytes >= 2 * kHugePageBytes;
    const size_t alignment = huge ? kHugePageBytes : 64;
    data_ = static_cast<uint8_t*>(std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment));
    if (data_ == nullptr && bytes > 0) throw std::bad_alloc();
    // Only whole pages, so that the block's end costs no memory that it does not use. A kernel that says no costs time
    // alone.
    if (huge) madvise(data_, bytes / kHugePageBytes * kHugePageBytes, MADV_HUGEPAGE);
  }
  HugeMemory(HugeMemory&& other) noexcept { *this = std::move(other); }
  HugeMemory& operator=(HugeMemory&& other) noexcept {
    if (this != &other) {
      std::free(data_);
      data_ = std::exchange(other.data_, nullptr);
      bytes_ = std::exchange(other.bytes_, 0);
    }
    return *this;
  }
  ~HugeMemory() { std::free(data_); }

  uint8_t* data() { return data_; }
  const uint8_t* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace pepnet

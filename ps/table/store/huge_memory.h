// HugeMemory: a move-only block of uninitialised bytes. A block of several MiB starts on a 2 MiB
// boundary and asks for 2 MiB pages: with 4 KiB pages half the time of a random row access goes
// into finding the page.
//
// Pages that were never written take no memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "common/base/block_cache.h"

namespace pepnet {

class HugeMemory {
 public:
  HugeMemory() = default;
  explicit HugeMemory(size_t bytes)
      : data_(static_cast<uint8_t*>(AllocatePages(bytes))), bytes_(bytes) {}
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

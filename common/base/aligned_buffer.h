// AlignedBuffer<T>: a 64-byte-aligned, move-only array of trivially copyable T. Kernels give
// different bits for differently aligned inputs (design section 10), so every array handed to one
// is one of these.
//
// Threads:   as std::vector.
// Contents:  Resize() keeps the first min(old, new) elements and leaves the rest uninitialised;
//            ResizeZeroed() clears all.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <type_traits>
#include <utility>

#include "common/base/block_cache.h"

namespace pepnet {

template <typename T>
class AlignedBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t size) { Resize(size); }
  AlignedBuffer(AlignedBuffer&& other) noexcept { *this = std::move(other); }
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    if (this != &other) {
      Free();
      data_ = std::exchange(other.data_, nullptr);
      size_ = std::exchange(other.size_, 0);
      capacity_ = std::exchange(other.capacity_, 0);
      bytes_ = std::exchange(other.bytes_, 0);
    }
    return *this;
  }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  ~AlignedBuffer() { Free(); }

  void Resize(size_t size) {
    if (size > capacity_) Reallocate(size);
    size_ = size;
  }
  void ResizeZeroed(size_t size) {
    Resize(size);
    if (size > 0) std::memset(static_cast<void*>(data_), 0, size * sizeof(T));
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return size_; }
  size_t bytes() const { return size_ * sizeof(T); }
  bool empty() const { return size_ == 0; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }
  std::span<T> span() { return {data_, size_}; }
  std::span<const T> span() const { return {data_, size_}; }

 private:
  void Reallocate(size_t size) {
    size_t bytes = (size * sizeof(T) + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
    void* fresh = AllocateBlock(&bytes);
    if (size_ > 0) std::memcpy(fresh, data_, size_ * sizeof(T));
    Free();
    data_ = static_cast<T*>(fresh);
    capacity_ = bytes / sizeof(T);
    bytes_ = bytes;
  }
  void Free() { FreeBlock(data_, bytes_); }

  T* data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
  size_t bytes_ = 0;  // of the block
};

}  // namespace pepnet

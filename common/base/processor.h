// This header asks the processor for wide vectors, and for cache lines ahead of their use.
//
// PEPNET_SIMD_CLONES: compiles a function once for baseline x86-64 and once for AVX2; the loader
// picks. Values do not depend on the choice: the loops are element by element, and contraction to
// multiply-add is off in the whole build.
//
// PrefetchRead(), PrefetchWrite(): bring the cache line of an address, or all lines of some bytes,
// into the cache. A loop over random addresses waits for memory at every one of them unless it has
// asked for them some iterations before. Any address is legal.
#pragma once

#include <cstddef>

// The sanitizers' runtimes are not up yet when the loader asks which clone to take.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(PEPNET_SANITIZED)
#define PEPNET_SIMD_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define PEPNET_SIMD_CLONES
#endif

// For the bodies that clones share: each clone needs its own copy.
#define PEPNET_SIMD_INLINE [[gnu::always_inline]] inline

namespace pepnet {

inline constexpr size_t kCacheLineBytes = 64;

// GCC leaves out the call of a function that does nothing but __builtin_prefetch, since it computes
// nothing. The empty assembly makes these functions, and those that call them, ones that do
// something.
inline void PrefetchRead(const void* address) {
  __builtin_prefetch(address, 0);
  asm volatile("");
}

inline void PrefetchWrite(const void* address) {
  __builtin_prefetch(address, 1);
  asm volatile("");
}

// Precondition: bytes > 0. The last byte is asked for by itself: memory need not begin with a line.
inline void PrefetchRead(const void* memory, size_t bytes) {
  const char* const first = static_cast<const char*>(memory);
  for (size_t at = 0; at < bytes; at += kCacheLineBytes) PrefetchRead(first + at);
  PrefetchRead(first + bytes - 1);
}

inline void PrefetchWrite(const void* memory, size_t bytes) {
  const char* const first = static_cast<const char*>(memory);
  for (size_t at = 0; at < bytes; at += kCacheLineBytes) PrefetchWrite(first + at);
  PrefetchWrite(first + bytes - 1);
}

}  // namespace pepnet

// Memory of buffers: small blocks from the allocator, blocks of a megabyte and more from a cache of
// freed ones.
//
// Messages and gradients of tens of megabytes are made and freed in every step. The allocator gives
// such memory back to the system at once, and memory that comes from the system is found and
// cleared page by page: a third of the processor time of a job whose work is rows. A freed block
// serves the next request of about its size; blocks that come new from the system ask for 2 MiB
// pages.
//
// Memory:  the cache keeps at most kMostCachedBytes; beyond them the block that was freed first
//          goes back.
// Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pepnet {

inline constexpr size_t kBufferAlignment = 64;
inline constexpr size_t kLargeBlockBytes = size_t{1} << 20;
inline constexpr uint64_t kMostCachedBytes = uint64_t{256} << 20;

// False under the address sanitizer, which sees a use after free only if blocks are really freed.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kCachesBlocks = false;
#else
inline constexpr bool kCachesBlocks = true;
#endif

// Memory that comes new from the allocator, uninitialised, to be given to std::free(). From 4 MiB
// on it begins at a multiple of 2 MiB and asks for pages of that size, but not for a part of one:
// its end costs no memory that it does not use. Else it begins at a multiple of kBufferAlignment.
// Throws std::bad_alloc.
void* AllocatePages(size_t bytes);

// A block of at least `bytes` bytes, a multiple of kBufferAlignment that is not 0, at a multiple of
// kBufferAlignment, uninitialised. *bytes becomes its size, which FreeBlock() is told. Throws
// std::bad_alloc.
void* AllocateBlock(size_t* bytes);
// Null is legal.
void FreeBlock(void* block, size_t bytes);
// Bytes in the cache.
uint64_t CachedBytes();

}  // namespace pepnet

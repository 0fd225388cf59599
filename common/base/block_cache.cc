#include "common/base/block_cache.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <new>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "common/base/mutex.h"

namespace pepnet {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;

struct Block {
  void* data;
  size_t bytes;
};

// Freed blocks for the next step, which asks for nearly the same sizes: giving them back to the
// kernel and taking new ones costs a page fault per page (decision 0006).
class BlockCache {
 public:
  // A block of `bytes` bytes; null: none.
  void* Take(size_t bytes) {
    MutexLock lock(&mutex_);
    // The youngest first: its pages may still be in the processor's caches.
    const auto found = std::find_if(blocks_.rbegin(), blocks_.rend(),
                                    [=](const Block& b) { return b.bytes == bytes; });
    if (found == blocks_.rend()) return nullptr;
    void* const data = found->data;
    bytes_ -= bytes;
    blocks_.erase(std::next(found).base());
    return data;
  }

  void Keep(Block block) {
    // The oldest go first, and outside of the lock: nobody waits for the kernel.
    std::vector<Block> old;
    {
      MutexLock lock(&mutex_);
      blocks_.push_back(block);
      bytes_ += block.bytes;
      while (bytes_ > kMostCachedBytes) {
        old.push_back(blocks_.front());
        bytes_ -= blocks_.front().bytes;
        blocks_.erase(blocks_.begin());
      }
    }
    for (const Block& b : old) std::free(b.data);  // takes the kernel milliseconds
  }

  uint64_t bytes() {
    MutexLock lock(&mutex_);
    return bytes_;
  }

 private:
  Mutex mutex_;
  std::vector<Block> blocks_ ABSL_GUARDED_BY(mutex_);  // by age
  uint64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Never destroyed: buffers of static objects may outlive it.
BlockCache& Cache() {
  static BlockCache* const cache = new BlockCache;
  return *cache;
}

// Four sizes between two powers of two, so that the buffers of one step fit those of the next.
size_t SizeClass(size_t bytes) {
  // A message of the next step is seldom as long as that of this one, to the byte. With classes it
  // still finds a freed block, at the cost of up to a quarter more memory.
  const size_t step = std::bit_floor(bytes) / 4;
  return (bytes + step - 1) / step * step;
}

}  // namespace

void* AllocatePages(size_t bytes) {
  // Blocks of two huge pages and more waste less than half when they are rounded up to whole ones,
  // and pages of 2 MiB save faults and TLB entries.
  const bool is_huge = bytes >= 2 * kHugePageBytes;
  const size_t alignment = is_huge ? kHugePageBytes : kBufferAlignment;
  void* const data = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (data == nullptr && bytes > 0) throw std::bad_alloc();
  // A kernel that says no costs time alone.
  if (is_huge) madvise(data, bytes / kHugePageBytes * kHugePageBytes, MADV_HUGEPAGE);
  return data;
}

void* AllocateBlock(size_t* bytes) {
  if (*bytes >= kLargeBlockBytes) {
    *bytes = SizeClass(*bytes);
    if (void* const cached = Cache().Take(*bytes); cached != nullptr) return cached;
  }
  return AllocatePages(*bytes);
}

void FreeBlock(void* block, size_t bytes) {
  // `bytes` is the size that AllocateBlock() has set, so a block comes back in its class.
  if (kCachesBlocks && block != nullptr && bytes >= kLargeBlockBytes && bytes <= kMostCachedBytes) {
    return Cache().Keep({block, bytes});
  }
  std::free(block);
}

uint64_t CachedBytes() { return Cache().bytes(); }

}  // namespace pepnet

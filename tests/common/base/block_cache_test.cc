#include "common/base/block_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

#include "common/base/aligned_buffer.h"

namespace pepnet {
namespace {

TEST(BlockCacheTest, ALargeBlockServesTheNextRequestOfAboutItsSize) {
  if (!kCachesBlocks) GTEST_SKIP() << "the address sanitizer wants blocks freed";
  size_t bytes = (size_t{5} << 20) + 64;
  void* const first = AllocateBlock(&bytes);
  EXPECT_GE(bytes, (size_t{5} << 20) + 64);
  EXPECT_LE(bytes, size_t{6} << 20);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % (size_t{2} << 20), 0u);
  const uint64_t before = CachedBytes();
  FreeBlock(first, bytes);
  EXPECT_EQ(CachedBytes(), before + bytes);
  size_t again = (size_t{5} << 20) + 4096;
  void* const second = AllocateBlock(&again);
  EXPECT_EQ(second, first);
  EXPECT_EQ(CachedBytes(), before);
  FreeBlock(second, again);
}

TEST(BlockCacheTest, SmallBlocksAreNotKept) {
  const uint64_t before = CachedBytes();
  size_t bytes = kLargeBlockBytes - 64;
  void* const block = AllocateBlock(&bytes);
  EXPECT_EQ(bytes, kLargeBlockBytes - 64);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % kBufferAlignment, 0u);
  FreeBlock(block, bytes);
  FreeBlock(nullptr, 0);
  EXPECT_EQ(CachedBytes(), before);
}

TEST(BlockCacheTest, TheOldestGoWhenThereAreTooMany) {
  std::vector<AlignedBuffer<uint8_t>> buffers;
  for (int i = 0; i < 40; ++i) buffers.emplace_back(size_t{16} << 20);
  buffers.clear();
  EXPECT_LE(CachedBytes(), kMostCachedBytes);
  if (kCachesBlocks) {
    EXPECT_GT(CachedBytes(), kMostCachedBytes / 2);
  }
}

TEST(BlockCacheTest, ThreadsNeverShareABlock) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int round = 0; round < 50; ++round) {
        AlignedBuffer<uint8_t> buffer(size_t{1} << 20);
        std::memset(buffer.data(), t, buffer.size());
        for (size_t i = 0; i < buffer.size(); i += 4096) ASSERT_EQ(buffer[i], t);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace pepnet
